"""What a database says of itself when what is in it is being moved, or was: who may use it, what others are told."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from autocron.errors import StoreMoved

if TYPE_CHECKING:
    from collections.abc import Sequence

_MARK = "autocron-move: "  # begins what the database raises by itself


class Role(StrEnum):
    """Which side of a move a database is."""

    SOURCE = "source"
    TARGET = "target"


class Stage(StrEnum):
    """How far a move has come."""

    DRAINING = "draining"  # nodes end; calls are still stored
    FROZEN = "frozen"  # nothing changes any more: it is copied, or being filled
    WRITABLE = "writable"  # a target, inside of the transaction that fills it
    MOVED = "moved"


class Marker(msgspec.Struct, frozen=True):
    """The row of the table `move`.

    Attributes:
        id: of the move; the same on both sides.
        role: of this database.
        other: the other one, without secrets.
        stage: how far it has come.
        progress: JSON: up to where a target has been filled.
    """

    id: str
    role: Role
    other: str
    stage: Stage
    progress: str | None = None

    def notice(self, name: str) -> str | None:
        """Say why the database of this name cannot be used; None while it can."""
        if self.stage is Stage.DRAINING:
            return None
        if self.stage is Stage.MOVED:
            return f"{name} was moved to {self.other}: give that to autocron.start() and to the admin tool"
        if self.role is Role.TARGET:
            return f"{name} is not complete: what is in {self.other} is being moved to it. Wait until that is done"
        return (
            f"{name} is being moved to {self.other}: nothing was stored. When that is done, start the application with "
            "the new database; if the move has stopped, run `autocron ... move` again, or with --cancel"
        )


def marker_query(prefix: str = "") -> str:
    """Give what reads the marker, which is there as long as there is a move."""
    return f"select {', '.join(Marker.__struct_fields__)} from {prefix}move"


def marker_of(rows: Sequence[tuple[Any, ...]]) -> Marker | None:
    """Give the marker that was read."""
    return msgspec.convert(dict(zip(Marker.__struct_fields__, rows[0], strict=True)), Marker) if rows else None


def check_moved(rows: Sequence[tuple[Any, ...]], name: str) -> None:
    """Raise StoreMoved if the marker that was read says that this database cannot be used."""
    if (marker := marker_of(rows)) and (notice := marker.notice(name)):
        raise StoreMoved(f"{notice}.")


def raised(notice: str) -> str:
    """Give the text that the database raises for this notice."""
    return f"{_MARK}{notice}"


def notice_in(error: Exception) -> str:
    """Give the notice that the database has raised; empty when the error is another one."""
    return str(error).partition(_MARK)[2].partition("\n")[0]
