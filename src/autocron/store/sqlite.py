"""The store on SQLite: one connection per process and driver, behind a mutex and the gate."""

# apsw's annotations name a type that Python 3.11 hasn't.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import os
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

import apsw

from autocron.errors import StoreBusy, StoreError
from autocron.store.base import Store, load_statements
from autocron.store.driver import CALL_LIMIT, Parameters, Step, T
from autocron.store.files import Identity, check_suitable, check_unchanged, identity
from autocron.store.gate import Gate, gate_of
from autocron.store.moved import check_moved, marker_query
from autocron.store.placing import columns, plain_part, row
from autocron.store.sqlite_errors import ERRORS, explain
from autocron.store.sqlite_open import Opener
from autocron.store.sqlite_session import Session, Sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

    from autocron.model import Call, Durability, NewJob
    from autocron.store.rows import Row


CHECK_EVERY = 0.001  # seconds; who calls more often need not pay each time for a look at the files
SMALL_LOG = 4 << 20  # bytes of the write-ahead log that are not worth a checkpoint
_data_sync = getattr(os, "fdatasync", os.fsync)


def open_store(path: Path, *, durability: Durability = "normal", background: bool = False) -> Store:
    """Give the store in a database file; it is created when it is first used."""
    return Store(SqliteDriver(path, durability=durability, background=background))


class SqliteDriver:
    """Runs the statements on a database file.

    Args:
        path: the file; created at the first use.
        durability: "normal" may lose the last moments at a power cut, "full" waits for the disk at each commit.
        background: for a node, which lets applications go first, and calls checkpoint() itself.
    """

    is_remote = False

    def __init__(self, path: Path, *, durability: Durability = "normal", background: bool = False) -> None:
        self._path = str(path.resolve())
        self._log = f"{self._path}-wal"
        self._statements = load_statements("sqlite")
        self._gate = gate_of(self._path)
        self._background = background
        opener = Opener(self._path, self._gate, durability, background)
        self._connections = Connections(self._path, self._gate, opener, background)

    def read(self, name: str, parameters: Parameters = ()) -> list[Row]:
        """Run a statement that changes nothing."""
        session, connection = self._connections.enter(CALL_LIMIT)
        try:
            return list(connection.execute(self._statements[name], parameters))
        except ERRORS as error:
            raise explain(error, self._path) from error
        finally:
            session.mutex.release()

    def insert(self, job: NewJob, limit: float) -> bool:
        """Keep a call that waits for nothing but a worker; False when the autocron lock is on."""
        return self.write("insert", columns(job), limit) == 1

    def write(self, name: str, parameters: Parameters, limit: float) -> int:
        """Run one changing statement in a transaction of its own; give the number of changed rows."""
        session, connection = self._connections.enter_gate(limit)
        try:
            connection.execute(self._statements[name], parameters)
            return connection.changes()
        except ERRORS as error:
            raise explain(error, self._path, committing=True) from error
        finally:
            self._connections.leave_gate(session)

    def batch(self, steps: Sequence[Step], read: Callable[[list[list[Row]]], T]) -> T:
        """Run statements as one transaction; nothing is kept when `read` raises."""
        with self.transaction() as transaction:
            return read(transaction.run_all(steps))

    def transaction(self, limit: float = CALL_LIMIT) -> _Transaction:
        """Run several statements as one; nothing of it is kept when the block raises."""
        return _Transaction(self._connections, self._statements, limit)

    def join(self, connection: object) -> None:
        """No connection of others passes the gate."""

    def tell_nodes(self) -> None:
        """The one node sees it."""

    def changed(self) -> bool:
        """Has another connection changed the database since the last time this was asked?"""
        session, connection = self._connections.enter(CALL_LIMIT)
        try:
            before, session.data_version = session.data_version, connection.pragma("data_version")
            return before != session.data_version
        except apsw.Error as error:
            raise explain(error, self._path) from error
        finally:
            session.mutex.release()

    def check(self) -> None:
        """Raise StoreGone when the files are no longer those that were opened."""
        self._connections.check()

    def sync(self) -> None:
        """Make what is committed safe against power loss."""
        try:
            # Unlike the database's own file, the log has no locks that closing a descriptor would drop.
            descriptor = os.open(self._log, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                _data_sync(descriptor)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return  # all is in the database file
        except OSError as error:
            text = f"{self._log} could not be written to the disk: {error.strerror}. Check the disk."
            raise StoreError(text, maybe_stored=True) from error

    def checkpoint(self) -> int:
        """Keep the write-ahead log short: most of it beside the writers, the rest while they wait.

        Returns:
            The bytes in it that could not be copied, as somebody still reads an older state of the database.
        """
        try:
            small = os.stat(self._log).st_size < SMALL_LOG
        except FileNotFoundError:
            return 0
        if small:
            return 0
        session, connection = self._connections.enter(CALL_LIMIT)
        try:
            left = _checkpoint(connection)
            if left:
                self._gate.acquire(CALL_LIMIT, last=self._background)
                try:
                    left = _checkpoint(connection)
                finally:
                    self._gate.release()
            return left * int(connection.pragma("page_size"))
        except apsw.Error as error:
            raise explain(error, self._path) from error
        finally:
            session.mutex.release()

    def close(self) -> None:
        """Close the connection; the next use opens one again."""
        self._connections.close()


class Connections:
    """Lends the connection of this process to one call at a time.

    Args:
        path: the database file.
        gate: passed by those who write.
        opener: opens the connection at its first use.
        background: as for the driver.
    """

    def __init__(self, path: str, gate: Gate, opener: Opener, background: bool) -> None:
        self.path = path
        self.sessions = Sessions(path)
        self._gate = gate
        self._opener = opener
        self._background = background
        self._known: Identity | None = None  # the file that was opened first; no other one is written to

    def enter(self, limit: float) -> tuple[Session, apsw.Connection]:
        """Take the connection, within `limit` seconds; whoever does it releases the session's mutex."""
        now = monotonic()
        session = self.sessions.current()
        if not session.mutex.acquire(timeout=max(limit, 0)):
            raise StoreBusy(f"Another thread of this process has used {self.path} for {limit:.1f} s. Try again.")
        try:
            session.deadline = now + limit
            connection = session.connection or self._open(session)
            if now >= session.checked_at + CHECK_EVERY:
                check_unchanged(session.opened)
                session.checked_at = now
        except BaseException:
            session.mutex.release()
            raise
        return session, connection

    def enter_gate(self, limit: float) -> tuple[Session, apsw.Connection]:
        """Take the connection and pass the gate, to write."""
        deadline = monotonic() + limit
        session, connection = self.enter(limit)
        try:
            self._gate.acquire(deadline - monotonic(), last=self._background)
        except BaseException:
            session.mutex.release()
            raise
        return session, connection

    def leave_gate(self, session: Session) -> None:
        """Give both back."""
        try:
            self._gate.release()
        finally:
            session.mutex.release()

    def check(self) -> None:
        """Raise StoreGone when the files are no longer those that were opened."""
        session = self.sessions.current()
        if self._known:
            check_unchanged({self.path: self._known})
        if session.mutex.acquire(blocking=False):  # otherwise a call is under way, which has checked them itself
            try:
                check_unchanged(session.opened)
            finally:
                session.mutex.release()

    def close(self) -> None:
        """Close the connection; the next use opens one again."""
        session = self.sessions.current()
        with session.mutex:
            session.close()

    def _open(self, session: Session) -> apsw.Connection:
        check_suitable(self.path)
        if self._known:
            check_unchanged({self.path: self._known})
        check_unchanged(session.inherited)
        connection = self._opener.open(session.wait, session.deadline)
        try:
            check_moved(list(connection.execute(marker_query())), self.path)
        except BaseException:
            connection.close()
            raise
        names = (self.path, f"{self.path}-wal", f"{self.path}-shm")
        session.opened = {name: found for name in names if (found := identity(name))}
        self._known = session.opened.get(self.path)
        session.connection = connection
        return connection


class _Transaction:
    """Several statements, all of them or none."""

    __slots__ = ("_connection", "_connections", "_limit", "_session", "_statements")

    def __init__(self, connections: Connections, statements: dict[str, str], limit: float) -> None:
        self._connections = connections
        self._statements = statements
        self._limit = limit

    def __enter__(self) -> _Transaction:
        self._session, self._connection = self._connections.enter_gate(self._limit)
        try:
            self._execute("begin immediate")
        except BaseException:
            self._connections.leave_gate(self._session)
            raise
        return self

    def defer(self) -> bool:
        """Nobody waits for single rows."""
        return False

    def run(self, name: str, parameters: Parameters = ()) -> list[Row]:
        """Run a statement."""
        return self._execute(self._statements[name], parameters)

    def run_all(self, steps: Sequence[Step]) -> list[list[Row]]:
        """Run statements; give the rows of each."""
        return [self._execute(self._statements[name], parameters) for name, parameters in steps]

    def many(self, name: str, rows: Sequence[Parameters]) -> None:
        """Run a statement once for each row."""
        try:
            self._connection.executemany(self._statements[name], rows)
        except ERRORS as error:
            raise explain(error, self._connections.path) from error

    def insert(self, calls: Sequence[Call], now: float) -> int:
        """Keep the calls up to the first whose place is not PLAIN; give how many."""
        plain = plain_part(calls)
        self.many("insert_many", [row(call, now) for call in plain])
        return len(plain)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._execute("commit", committing=True)
        finally:
            try:
                self._roll_back()
            finally:
                self._connections.leave_gate(self._session)

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # after some errors SQLite has done it by itself
            with suppress(apsw.Error):
                self._connection.execute("rollback")

    def _execute(self, statement: str, parameters: Parameters = (), *, committing: bool = False) -> list[Row]:
        try:
            return list(self._connection.execute(statement, parameters))
        except ERRORS as error:
            raise explain(error, self._connections.path, committing=committing) from error


def _checkpoint(connection: apsw.Connection) -> int:
    """Copy what can be copied without waiting; give the number of pages that could not."""
    try:
        in_log, copied = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    except apsw.BusyError:  # another connection is at it
        return 0
    return in_log - copied
