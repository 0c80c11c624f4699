"""The store on SQLite: one connection per process and driver, behind a mutex and the gate."""

# The classes of this file know each other; apsw's annotations name a type that Python 3.11 hasn't.
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false

from __future__ import annotations

import ctypes
import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from threading import Lock
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import apsw

from autocron.errors import SchemaTooNew, StoreBusy, StoreCorrupt, StoreError, StoreGone
from autocron.store.base import CALL_LIMIT, BadRow, Parameters, Row, Store, load_statements
from autocron.store.files import Identity, check_suitable, create_private, identity
from autocron.store.gate import gate_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from autocron.model import Durability

APPLICATION_ID = int.from_bytes(b"acrn")  # says in the file's header that it is ours
PAGE_SIZE = 2048  # bytes; the log takes whole pages, and with these a call costs a fifth less than with 4096
SMALL_LOG = 4 << 20  # bytes of the write-ahead log that are not worth a checkpoint
LOG_KEPT = 128 << 20  # bytes; longer logs are cut, shorter ones written over, which costs a third less
FIRST_PAUSE, LONGEST_PAUSE = 0.001, 0.025  # seconds between attempts while a stranger holds the database
FORK_LIMIT = 2 * CALL_LIMIT  # seconds that a fork waits for a call that is under way
SHARED_LOCKS = (("", 0x40000002, 510), ("-shm", 128, 1))  # what an open connection holds, by SQLite's file format
UNCONVERTIBLE = (UnicodeError, OverflowError)  # texts and numbers
ERRORS = (apsw.Error, *UNCONVERTIBLE)
ERRORS_OF_A_ROW = (apsw.ConstraintError, apsw.TooBigError, apsw.MismatchError, *UNCONVERTIBLE)
_data_sync = getattr(os, "fdatasync", os.fsync)


def open_store(path: Path, *, durability: Durability = "normal", autocheckpoint: int = 16000) -> Store:
    """Give the store in a database file; it is created when it is first used."""
    return Store(SqliteDriver(path, durability=durability, autocheckpoint=autocheckpoint))


@dataclass(eq=False)
class _Session:
    """What belongs to one process: after a fork nothing of it may be used."""

    pid: int = field(default_factory=os.getpid)
    mutex: Lock = field(default_factory=Lock)
    connection: apsw.Connection | None = None
    opened: dict[str, Identity] = field(default_factory=dict[str, Identity])
    inherited: dict[str, Identity] = field(default_factory=dict[str, Identity])  # SQLite still has these in mind
    data_version: int | None = None
    deadline: float = 0.0  # of the call that is under way
    heirs: dict[int, _Session] = field(default_factory=dict[int, "_Session"])

    def close(self) -> None:
        """Close the connection; whoever calls this holds the mutex."""
        if self.connection:
            self.connection.close(True)
        self.connection, self.opened, self.data_version = None, {}, None

    def wait(self, attempts: int) -> bool:
        """Wait a little for another program that holds the database; False when the call has no time left.

        SQLite's own waiting would hold up all of a process whose threads are greenlets, and Ctrl-C.
        """
        left = self.deadline - monotonic()
        sleep(min(FIRST_PAUSE * (attempts + 1), LONGEST_PAUSE, max(left, 0)))
        return left > 0

    def heir(self, path: str) -> _Session:
        """Give the session of a forked child.

        Closing the parent's connection there, even as garbage, would disturb the parent: it is kept for ever.
        SQLite believes the child to hold the locks of that connection, and so it must.
        """
        if self.connection:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.connection))
            _hold_shared(path)
        return self.heirs.setdefault(os.getpid(), _Session(inherited=self.opened or self.inherited))


class SqliteDriver:
    """Runs the statements on a database file.

    Args:
        path: the file; created at the first use.
        durability: "normal" may lose the last moments at a power cut, "full" waits for the disk at each commit.
        autocheckpoint: pages after which a writer shortens the log itself; 0 for the node, which calls checkpoint().
    """

    def __init__(self, path: Path, *, durability: Durability = "normal", autocheckpoint: int = 16000) -> None:
        self._path = str(path.resolve())
        self._log = f"{self._path}-wal"
        self._durability = durability
        self._autocheckpoint = autocheckpoint
        self._statements = load_statements("sqlite")
        self._gate = gate_of(self._path)
        self._known: Identity | None = None  # the file that was opened first; no other one is written to
        self._session = _Session()
        with _fork.mutex:
            _fork.drivers.add(self)

    def read(self, name: str, parameters: Parameters = ()) -> list[Row]:
        """Run a statement that changes nothing."""
        session, connection = self._enter(CALL_LIMIT)
        try:
            return list(connection.execute(self._statements[name], parameters))
        except ERRORS as error:
            raise explain(error, self._path) from error
        finally:
            session.mutex.release()

    def write(self, name: str, parameters: Parameters, limit: float) -> int:
        """Run one changing statement in a transaction of its own; give the number of changed rows."""
        session, connection = self._enter_gate(limit)
        try:
            connection.execute(self._statements[name], parameters)
            return connection.changes()
        except ERRORS as error:
            raise explain(error, self._path, committing=True) from error
        finally:
            self._leave_gate(session)

    def transaction(self, limit: float = CALL_LIMIT) -> _Transaction:
        """Run several statements as one; nothing of it is kept when the block raises."""
        return _Transaction(self, limit)

    def changed(self) -> bool:
        """Has another connection changed the database since the last time this was asked?"""
        session, connection = self._enter(CALL_LIMIT)
        try:
            before, session.data_version = session.data_version, connection.pragma("data_version")
            return before != session.data_version
        except apsw.Error as error:
            raise explain(error, self._path) from error
        finally:
            session.mutex.release()

    def check(self) -> None:
        """Raise StoreGone when the files are no longer those that were opened."""
        session = self._current_session()
        if self._known:
            self._check_files({self._path: self._known})
        if session.mutex.acquire(blocking=False):  # otherwise a call is under way, which has checked them itself
            try:
                self._check_files(session.opened)
            finally:
                session.mutex.release()

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
        session, connection = self._enter(CALL_LIMIT)
        try:
            left = _checkpoint(connection)
            if left:
                self._gate.acquire(CALL_LIMIT)
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
        session = self._current_session()
        with session.mutex:
            session.close()

    # Entering and leaving

    def _current_session(self) -> _Session:
        if self._session.pid != os.getpid():  # forked where no hooks ran
            self._session = self._session.heir(self._path)
        return self._session

    def _enter(self, limit: float) -> tuple[_Session, apsw.Connection]:
        deadline = monotonic() + limit
        session = self._current_session()
        if not session.mutex.acquire(timeout=max(limit, 0)):
            raise StoreBusy(f"Another thread of this process has used {self._path} for {limit:.1f} s. Try again.")
        try:
            connection = session.connection or self._open(session, deadline)
            self._check_files(session.opened)
            session.deadline = deadline
        except BaseException:
            session.mutex.release()
            raise
        return session, connection

    def _enter_gate(self, limit: float) -> tuple[_Session, apsw.Connection]:
        deadline = monotonic() + limit
        session, connection = self._enter(limit)
        try:
            self._gate.acquire(deadline - monotonic())
        except BaseException:
            session.mutex.release()
            raise
        return session, connection

    def _leave_gate(self, session: _Session) -> None:
        try:
            self._gate.release()
        finally:
            session.mutex.release()

    def _check_files(self, opened: dict[str, Identity]) -> None:
        for path, known in opened.items():
            if identity(path) != known:
                raise StoreGone(
                    f"{path} was deleted or replaced while it was in use. Nothing more is written: it would be "
                    "lost. Put the file back if you can, then restart all processes that use it."
                )

    # Opening

    def _open(self, session: _Session, deadline: float) -> apsw.Connection:
        check_suitable(self._path)
        if self._known:
            self._check_files({self._path: self._known})
        self._check_files(session.inherited)
        try:
            connection = self._open_ready(session, deadline) or self._open_prepared(session, deadline)
            names = (self._path, self._log, f"{self._path}-shm")
            session.opened = {name: found for name in names if (found := identity(name))}
        except apsw.Error as error:
            raise explain(error, self._path) from error
        self._known = session.opened.get(self._path)
        session.connection = connection
        return connection

    def _open_ready(self, session: _Session, deadline: float) -> apsw.Connection | None:
        """Open a database that needs nothing more; readers need no gate for that."""
        with suppress(FileNotFoundError, apsw.BusyError):
            if Path(self._path).stat().st_size:
                connection = self._connect(session, deadline)
                if _header(connection) == (APPLICATION_ID, latest_version(), "wal"):
                    return connection
                connection.close()
        return None

    def _open_prepared(self, session: _Session, deadline: float) -> apsw.Connection:
        """Create or migrate the database; not even SQLite does that safely for several processes at once."""
        self._gate.acquire(deadline - monotonic())
        try:
            with suppress(FileExistsError):
                os.close(create_private(self._path, os.path.dirname(self._path)))  # noqa: PTH120
            connection = self._connect(session, deadline)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            return connection
        finally:
            self._gate.release()

    def _connect(self, session: _Session, deadline: float) -> apsw.Connection:
        connection = apsw.Connection(self._path, apsw.SQLITE_OPEN_READWRITE)
        if connection.readonly("main"):
            connection.close()
            raise StoreError(f"{self._path} is read-only. Make it and its folder writable for uid {os.geteuid()}.")
        session.deadline = deadline
        connection.set_busy_handler(session.wait)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, int(self._autocheckpoint > 0))
        connection.wal_autocheckpoint(self._autocheckpoint)
        connection.pragma("mmap_size", 0)
        connection.pragma("synchronous", self._durability)
        connection.pragma("journal_size_limit", LOG_KEPT)
        return connection

    def _prepare(self, connection: apsw.Connection) -> None:
        application, version, _ = _header(connection)
        if application != APPLICATION_ID and (application or connection.pragma("schema_version")):
            raise StoreCorrupt(
                f"{self._path} is not a database of autocron 2, but something else is in it; it was left as it is. "
                "Give another path, or move the file away."
            )
        if version > latest_version():
            raise SchemaTooNew(
                f"{self._path} has schema version {version}, but this autocron knows versions up to "
                f"{latest_version()}. Upgrade autocron, or use another database."
            )
        if 0 < version < latest_version():
            self._back_up(connection, version)
        connection.pragma("page_size", PAGE_SIZE)  # of a new database; another keeps its own
        connection.pragma("journal_mode", "wal")
        _migrate(connection, version)

    def _back_up(self, connection: apsw.Connection, version: int) -> None:
        backup = f"{self._path}.backup-v{version}"
        partial = f"{backup}.partial"
        Path(partial).unlink(missing_ok=True)
        descriptor = create_private(partial, self._path)
        try:
            connection.execute("vacuum into ?", (partial,))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        Path(partial).replace(backup)


class _Transaction:
    """Several statements, all of them or none."""

    __slots__ = ("_connection", "_driver", "_limit", "_session")

    def __init__(self, driver: SqliteDriver, limit: float) -> None:
        self._driver = driver
        self._limit = limit

    def __enter__(self) -> _Transaction:
        self._session, self._connection = self._driver._enter_gate(self._limit)
        try:
            self._execute("begin immediate")
        except BaseException:
            self._driver._leave_gate(self._session)
            raise
        return self

    def run(self, name: str, parameters: Parameters = ()) -> list[Row]:
        """Run a statement."""
        return self._execute(self._driver._statements[name], parameters)

    def value(self, name: str, parameters: Parameters = ()) -> Any:
        """Run a statement that gives one value."""
        ((value,),) = self.run(name, parameters)
        return value

    def many(self, name: str, rows: Sequence[Parameters]) -> None:
        """Run a statement once for each row."""
        try:
            self._connection.executemany(self._driver._statements[name], rows)
        except ERRORS as error:
            raise explain(error, self._driver._path) from error

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
                self._driver._leave_gate(self._session)

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # after some errors SQLite has done it by itself
            with suppress(apsw.Error):
                self._connection.execute("rollback")

    def _execute(self, statement: str, parameters: Parameters = (), *, committing: bool = False) -> list[Row]:
        try:
            return list(self._connection.execute(statement, parameters))
        except ERRORS as error:
            raise explain(error, self._driver._path, committing=committing) from error


def explain(error: Exception, path: str, *, committing: bool = False) -> StoreError:
    """Say what happened, why, and what to do next."""
    said = f"{error} ({type(error).__name__})"
    if getattr(error, "extendedresult", 0) == apsw.SQLITE_READONLY_DBMOVED:
        return StoreGone(f"{path} was moved while it was in use: {said}. Put it back and restart what uses it.")
    match error:
        case apsw.BusyError() | apsw.LockedError():
            return StoreBusy(
                f"{path} was locked for too long by another program: {said}. Nothing was stored; try again. Close "
                "database browsers and long transactions that hold it."
            )
        case apsw.CorruptError() | apsw.NotADBError():
            return StoreCorrupt(
                f"{path} is damaged or not a database: {said}. It was left as it is. Move it away with its -wal and "
                "-shm files and restore a backup; `sqlite3 FILE .recover` may save what is readable."
            )
        case apsw.FullError():
            return StoreError(f"The disk is full, so {path} was not changed: {said}. Free space, then try again.")
        case apsw.ReadOnlyError() | apsw.PermissionsError() | apsw.CantOpenError():
            return StoreError(
                f"{path} cannot be written by uid {os.geteuid()}: {said}. Make the file, its folder and its -wal and "
                "-shm files writable, and check that the disk is not read-only or full."
            )
        case apsw.IOError():
            kept = "It is unknown whether the last change was stored. " if committing else ""
            return StoreError(
                f"Reading or writing {path} failed: {said}. {kept}Check the disk and the system's log.",
                maybe_stored=committing,
            )
        case _ if isinstance(error, ERRORS_OF_A_ROW) or "JSON" in said:  # a blob has no place in JSON
            return BadRow(f"One row of {path} could not be stored or read: {said}.")
        case _:
            return StoreError(f"{path} could not be used: {said}.")


@cache
def latest_version() -> int:
    """Give the schema version of this autocron: the number of its last migration."""
    names = (file.name for file in files("autocron.store").joinpath("schema").iterdir())
    return max(int(name[7:-4]) for name in names if name.startswith("sqlite-"))


def _header(connection: apsw.Connection) -> tuple[int, int, str]:
    return (
        connection.pragma("application_id"),
        connection.pragma("user_version"),
        connection.pragma("journal_mode"),
    )


def _migrate(connection: apsw.Connection, version: int) -> None:
    schema = files("autocron.store").joinpath("schema")
    connection.execute("begin immediate")
    try:
        for number in range(version + 1, latest_version() + 1):
            connection.execute(schema.joinpath(f"sqlite-{number}.sql").read_text("utf-8"))
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", latest_version())
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise


def _checkpoint(connection: apsw.Connection) -> int:
    """Copy what can be copied without waiting; give the number of pages that could not."""
    try:
        in_log, copied = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    except apsw.BusyError:  # another connection is at it
        return 0
    return in_log - copied


def _hold_shared(path: str) -> None:
    for ending, start, length in SHARED_LOCKS:
        with suppress(OSError):  # when the file is gone, opening it says so
            descriptor = os.open(f"{path}{ending}", os.O_RDONLY | os.O_CLOEXEC)  # never closed: that would unlock
            fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, length, start)


class _Fork:
    """Closes the connections of all drivers around a fork.

    SQLite's knowledge of its own locks is copied into the child while the locks are not: with a connection open, the
    child's would be unprotected, and what it stores could be lost.
    """

    def __init__(self) -> None:
        self.mutex = Lock()
        self.drivers = WeakSet[SqliteDriver]()
        self._held: list[_Session] = []
        os.register_at_fork(before=self._before, after_in_parent=self._release, after_in_child=self._after_in_child)

    def _before(self) -> None:
        self.mutex.acquire()
        for driver in self.drivers:
            session = driver._session
            if session.mutex.acquire(timeout=FORK_LIMIT):  # otherwise the child forgets it, as where no hooks run
                self._held.append(session)
                with suppress(apsw.Error):
                    session.close()

    def _release(self) -> None:
        for session in self._held:
            session.mutex.release()
        self._held.clear()
        self.mutex.release()

    def _after_in_child(self) -> None:
        for driver in self.drivers:
            driver._session = driver._session.heir(driver._path)
        self._release()


_fork = _Fork()
