"""A side of a move that is an SQLite file."""

# apsw's annotations name a type that Python 3.11 hasn't.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from autocron.store import paths
from autocron.store.files import check_suitable
from autocron.store.gate import gate_of
from autocron.store.move_end import OWN_TABLES, End, Row, Table
from autocron.store.sqlite_errors import ERRORS, explain
from autocron.store.sqlite_open import Opener

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

LIMIT = 10.0  # seconds that a move waits for others
_PAUSE = 0.01  # seconds between two attempts


class SqliteEnd(End):
    """An SQLite file; it is created when it is missing."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        self._gate = gate_of(self.name)
        check_suitable(self.name)
        self._connection = Opener(self.name, self._gate, "full", background=False).open(_wait, monotonic() + LIMIT)

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run a statement."""
        try:
            return list(self._connection.execute(statement, parameters))
        except ERRORS as error:
            raise explain(error, self.name) from error

    def add(self, table: Table, rows: Sequence[Row]) -> None:
        """Store rows."""
        names = ", ".join(f'"{name}"' for name in table.columns)
        statement = f"insert into {table.name} ({names}) values ({', '.join('?' * len(table.columns))})"
        for row in rows:
            self.run(statement, row)

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Run what is in the block as one."""
        self._gate.acquire(LIMIT)
        try:
            self.run("begin immediate")
            try:
                yield
                self.run("commit")
            finally:
                if self._connection.in_transaction:
                    self.run("rollback")
        finally:
            self._gate.release()

    def tables(self) -> dict[str, Table]:
        """Give what there is to move."""
        names = [name for (name,) in self.run("select name from sqlite_schema where type = 'table' order by name")]
        kept = [name for name in names if name not in OWN_TABLES and not name.startswith("sqlite_")]
        return {name: self._table(name) for name in kept}

    def _table(self, name: str) -> Table:
        found = self.run("select name, pk from pragma_table_info(?) order by cid", (name,))
        key = sorted((place, column) for column, place in found if place)
        return Table(name, [column for column, _ in found], [column for _, column in key])

    def fit(self, value: Any) -> Any:
        """Give a value as SQLite stores it: it has no type for truth."""
        return int(value) if isinstance(value, bool) else value

    def hold(self) -> str:
        """Take the lock of the node."""
        if paths.try_lock(self._path, paths.NODE_BYTE):
            return ""
        return f"process {paths.lock_holder(self._path, paths.NODE_BYTE)}"

    def refuse_changes(self, notice: str) -> None:
        """Let triggers refuse them: also processes that have the database open obey these."""
        self.allow_changes()
        unless = "when not exists (select 1 from move where stage = 'writable')"
        text = notice.replace("'", "''")
        for table in self.tables():
            for change in ("insert", "update", "delete"):
                self.run(
                    f"create trigger move_refuses_{change}_{table} before {change} on {table} {unless}"
                    f" begin select raise(abort, '{text}'); end"
                )

    def allow_changes(self) -> None:
        """Undo that."""
        for (name,) in self.run("select name from sqlite_schema where type = 'trigger' and name like 'move_refuses_%'"):
            self.run(f"drop trigger {name}")

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()
        paths.unlock(self._path, paths.NODE_BYTE)


def _wait(attempts: int) -> bool:
    sleep(_PAUSE)
    return attempts * _PAUSE < LIMIT
