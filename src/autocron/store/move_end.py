"""One side of a move, in the SQL that both databases share. It knows tables and columns from the schema alone."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import msgspec

from autocron.store.moved import Marker, Stage, marker_of, marker_query, raised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

Row = tuple[Any, ...]
PAGE = 500  # rows that are read, or written in one transaction, at a time
# What belongs to one database: its own version and move, and who works on it now.
OWN_TABLES = {"joining", "move", "nodes", "version"}
OWN_COLUMNS = {("jobs", "node"), ("jobs", "awaited")}


class Table(msgspec.Struct, frozen=True):
    """A table as the schema has it.

    Attributes:
        name: without the schema.
        columns: those that a move takes along.
        key: of these, the primary key.
    """

    name: str
    columns: list[str]
    key: list[str]


class Summary(msgspec.Struct, frozen=True):
    """What is in a table: two that hold the same rows, in whatever order, have the same one."""

    rows: int
    checksum: str


class End(ABC):
    """A database that is moved, or moved to. Methods may raise StoreError.

    Args:
        name: of the database, for people.
    """

    prefix = ""  # before the names of tables
    slot = "?"  # for a parameter

    def __init__(self, name: str) -> None:
        self.name = name

    # What each kind of database does in its own way

    @abstractmethod
    def run(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run a statement."""

    @abstractmethod
    def add(self, table: Table, rows: Sequence[Row]) -> None:
        """Store rows."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """Run what is in the block as one."""

    @abstractmethod
    def tables(self) -> dict[str, Table]:
        """Give what there is to move."""

    @abstractmethod
    def fit(self, value: Any) -> Any:
        """Give a value as this database stores it."""

    @abstractmethod
    def hold(self) -> str:
        """Keep nodes and other moves away until close(); say who is still there, or nothing when it is done."""

    @abstractmethod
    def refuse_changes(self, notice: str) -> None:
        """Let every change of what can be moved fail with this notice, except in a writable target."""

    @abstractmethod
    def allow_changes(self) -> None:
        """Undo that, and see that new rows come after the moved ones."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the database."""

    # The marker

    def marker(self) -> Marker | None:
        """Give what the database says of itself."""
        return marker_of(self.run(marker_query(self.prefix)))

    def mark(self, marker: Marker) -> None:
        """Let the database say this of itself; it can be used accordingly."""
        with self.transaction():
            self._store(marker)
            if notice := marker.notice(self.name):
                self.refuse_changes(raised(notice))

    def unmark(self, *, empty: bool = False) -> None:
        """Let the database be like any other one again; emptied, perhaps, of what a move has brought."""
        with self.transaction():
            self.allow_changes()
            self.run(f"delete from {self.prefix}move")
            for table in reversed(in_order(self.tables())) if empty else ():
                self.run(f"delete from {self.prefix}{table.name}")

    def _store(self, marker: Marker) -> None:
        self.run(f"delete from {self.prefix}move")
        values = msgspec.structs.astuple(marker)
        self.run(f"insert into {self.prefix}move values ({', '.join([self.slot] * len(values))})", values)

    # Rows

    def is_filled(self) -> str:
        """Name a table in which something is; nothing when all are empty."""
        found = (name for name in self.tables() if self.run(f"select 1 from {self.prefix}{name} limit 1"))
        return next(found, "")

    def page(self, table: Table, after: Sequence[Any] | None) -> list[Row]:
        """Give the rows that follow a key, in the order of the keys."""
        key = ", ".join(_quoted(table.key))
        where = f"where ({key}) > ({', '.join([self.slot] * len(table.key))})" if after else ""
        columns = ", ".join(_quoted(table.columns))
        return self.run(
            f"select {columns} from {self.prefix}{table.name} {where} order by {key} limit {PAGE}", after or ()
        )

    def fill(self, marker: Marker, table: Table, rows: Sequence[Row]) -> None:
        """Store rows in this target, and how far it has been filled by that."""
        with self.transaction():
            self._store(msgspec.structs.replace(marker, stage=Stage.WRITABLE))
            self.add(table, rows)
            self._store(marker)

    def summary(self, table: Table, fit: Callable[[Any], Any]) -> Summary:
        """Sum up the rows of a table, with their values as they are stored in the target."""
        count = total = 0
        for row in self._all(table):
            text = msgspec.json.encode([fit(value) for value in row])
            total += int.from_bytes(hashlib.blake2b(text, digest_size=16).digest())
            count += 1
        return Summary(count, f"{total % (1 << 128):032x}")

    def _all(self, table: Table) -> Iterator[Row]:
        after = None
        while rows := self.page(table, after):
            yield from rows
            after = key_of(table, rows[-1])


def in_order(tables: dict[str, Table]) -> list[Table]:
    """Give the tables in the order in which they are filled: others refer to the jobs."""
    return [tables[name] for name in sorted(tables, key=lambda name: (name != "jobs", name))]


def key_of(table: Table, row: Row) -> list[Any]:
    """Give the primary key of a row."""
    return [row[table.columns.index(name)] for name in table.key]


def _quoted(names: Sequence[str]) -> list[str]:
    return [f'"{name}"' for name in names]
