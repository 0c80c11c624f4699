"""Moving everything from one database to another: paused, resumable, checked before the first one is given up."""

from __future__ import annotations

from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import msgspec

from autocron.errors import MoveRefused
from autocron.names import new_uuid
from autocron.store.move_end import End, Table, in_order, key_of
from autocron.store.moved import Marker, Role, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from autocron.store.place import Place

_PAUSE = 0.1  # seconds between two looks whether nodes have ended


def open_end(place: Place) -> End:
    """Give a side of a move; the database is created when it is missing."""
    if place.is_file:
        from autocron.store.move_sqlite import SqliteEnd  # loading a driver is left to those who need it

        return SqliteEnd(place.files)
    from autocron.store.move_postgres import PostgresEnd

    return PostgresEnd(place.address)


class Move:
    """A move from one database to another one. Whatever stops it, the same move goes on where it was.

    Args:
        source: what is to be moved.
        target: where to.
        say: is told what happens.
        patience: seconds for which nodes may finish what they run.
    """

    def __init__(self, source: End, target: End, say: Callable[[str], None], patience: float) -> None:
        self._source = source
        self._target = target
        self._say = say
        self._patience = patience

    def run(self) -> None:
        """Move everything.

        Raises:
            MoveRefused: something would be lost, or nodes do not end; the text says what to do.
            StoreError: one of the databases cannot be used.
        """
        marker = self._begin()
        if marker.stage is not Stage.MOVED:
            self._drain()
            marker = self._freeze(marker)
            self._copy(marker)
            self._check()
            self._source.mark(msgspec.structs.replace(marker, stage=Stage.MOVED))
        elif self._target.marker() is None:
            self._say(f"{self._source.name} was moved to {marker.other} before")
            return
        self._target.unmark()
        self._say(
            f"{self._source.name} was moved to {marker.other}: start the application with that. What is left in the old"
            " one is a copy, for reading only"
        )

    def cancel(self) -> None:
        """Give up a move that is not complete: the source can be used again, and the target is emptied.

        Raises:
            MoveRefused: there is none between these two, or it is complete.
        """
        marker = self._of_source()
        if marker is None or marker.other != self._target.name or marker.stage is Stage.MOVED:
            raise MoveRefused(f"no unfinished move goes from {self._source.name} to {self._target.name}")
        if marker.stage is Stage.FROZEN:
            self._wait(self._source, "another process ends", 0.0)
        if (theirs := self._target.marker()) and theirs.id == marker.id:
            self._target.unmark(empty=True)
        self._source.unmark()
        self._say(f"{self._source.name} can be used again; nothing is left in {self._target.name}")

    def _begin(self) -> Marker:
        """Announce the move, or find the one that has begun."""
        marker, target = self._of_source(), self._target.marker()
        if marker and marker.other != self._target.name:
            raise MoveRefused(
                f"{self._source.name} {'was' if marker.stage is Stage.MOVED else 'is being'} moved to {marker.other}; "
                "move it there, or give that up with --cancel"
            )
        if marker and marker.stage is Stage.MOVED:
            return marker
        if target and target.stage is Stage.MOVED:
            raise MoveRefused(
                f"{self._target.name} holds only the copy that was left when everything was moved to {target.other}. "
                "Delete it first, or give a target that does not exist yet"
            )
        if target and not (marker and target.id == marker.id and target.role is Role.TARGET):
            raise MoveRefused(target.notice(self._target.name) or f"{self._target.name} is being moved itself")
        self._plan()
        if not target and (filled := self._target.is_filled()):
            raise MoveRefused(
                f"{self._target.name} is not empty: there is something in its table {filled}. Give a database that "
                "does not exist yet; for PostgreSQL, ?schema=... names another schema"
            )
        if marker is None:
            marker = Marker(new_uuid(), Role.SOURCE, self._target.name, Stage.DRAINING)
            self._source.mark(marker)
        return marker

    def _of_source(self) -> Marker | None:
        marker = self._source.marker()
        if marker and marker.role is Role.TARGET:
            raise MoveRefused(f"{marker.notice(self._source.name)}")
        return marker

    def _plan(self) -> list[Table]:
        """Give the tables to copy: both sides must have the same ones, with the same columns."""
        ours, theirs = self._source.tables(), self._target.tables()
        for name in ours.keys() | theirs.keys():
            columns = [set(side[name].columns) if name in side else set[str]() for side in (ours, theirs)]
            if odd := columns[0] ^ columns[1]:
                raise MoveRefused(
                    f"{self._source.name} and {self._target.name} have different schemas: only one has {name}."
                    f"{min(odd)}. Let the same version of autocron use both"
                )
        return in_order(ours)

    def _drain(self) -> None:
        """Wait until no node works on either side any more."""
        for end in (self._source, self._target):
            self._wait(end, "the nodes end", self._patience)

    def _wait(self, end: End, what: str, patience: float) -> None:
        deadline = monotonic() + patience
        said = ""
        while who := end.hold():
            if who != said:
                self._say(f"waiting until {what}: {who} works on {end.name}")
                said = who
            if monotonic() > deadline:
                raise MoveRefused(
                    f"{who} still works on {end.name} after {patience:.0f} s. End the applications that use it and run "
                    "this again, or give the move up with --cancel"
                )
            sleep(_PAUSE)

    def _freeze(self, marker: Marker) -> Marker:
        """Let nothing change on either side any more."""
        if self._source.marker() != marker:
            raise MoveRefused(f"another process has gone on with the move of {self._source.name}; run this again")
        marker = msgspec.structs.replace(marker, stage=Stage.FROZEN)
        self._source.mark(marker)
        if self._target.marker() is None:
            self._target.mark(msgspec.structs.replace(marker, role=Role.TARGET, other=self._source.name))
            if filled := self._target.is_filled():  # between the first look and this
                self._target.unmark()
                raise MoveRefused(f"{self._target.name} is used by others: there is something in its table {filled}")
        return marker

    def _copy(self, marker: Marker) -> None:
        """Copy what the target has not got yet, table by table, in the order of their keys."""
        target = self._target.marker()
        assert target
        done, after = msgspec.json.decode(target.progress) if target.progress else ("", None)
        plan = self._plan()
        names = [table.name for table in plan]
        for table in plan[names.index(done) if done else 0 :]:
            start: list[Any] | None = after if table.name == done else None
            while rows := self._source.page(table, start):
                start = key_of(table, rows[-1])
                progress = msgspec.json.encode((table.name, start)).decode()
                target = msgspec.structs.replace(target, progress=progress)
                fitting = [tuple(map(self._target.fit, row)) for row in rows]
                self._target.fill(target, table, fitting)

    def _check(self) -> None:
        """See that both sides hold the same."""
        for table in self._plan():
            ours, theirs = (end.summary(table, self._target.fit) for end in (self._source, self._target))
            if ours != theirs:
                raise MoveRefused(
                    f"the table {table.name} has {ours.rows} rows with the checksum {ours.checksum} in "
                    f"{self._source.name}, but {theirs.rows} with {theirs.checksum} in {self._target.name}: somebody "
                    "has changed it. Give the move up with --cancel and begin anew"
                )
            self._say(f"{table.name}: {ours.rows} rows, checksum {ours.checksum}")
