"""The opening of a database file: it is created, or migrated after a back-up, when it needs that."""

# apsw's annotations name a type that Python 3.11 hasn't.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import apsw

from autocron.errors import SchemaTooNew, StoreCorrupt, StoreError
from autocron.store.files import create_private
from autocron.store.sqlite_errors import explain

if TYPE_CHECKING:
    from collections.abc import Callable

    from autocron.model import Durability
    from autocron.store.gate import Gate

APPLICATION_ID = int.from_bytes(b"acrn")  # says in the file's header that it is ours
PAGE_SIZE = 2048  # bytes; the log takes whole pages, and with these a call costs a fifth less than with 4096
# Pages of the log after which an application shortens it, for want of a node. A log that grows takes twice as long to
# reach the disk as one that is written over.
AUTOCHECKPOINT = {"normal": 16000, "full": 1000}
LOG_KEPT = 128 << 20  # bytes; longer logs are cut, shorter ones written over, which costs a third less


class Opener:
    """Opens connections to a database file.

    Args:
        path: the file.
        gate: passed by whoever creates or migrates it.
        durability: as for the driver.
        background: as for the driver.
    """

    def __init__(self, path: str, gate: Gate, durability: Durability, background: bool) -> None:
        self._path = path
        self._gate = gate
        self._durability = durability
        self._background = background

    def open(self, wait: Callable[[int], bool], deadline: float) -> apsw.Connection:
        """Give a connection to a database with the latest schema.

        Args:
            wait: called while another program holds the database, until it gives False.
            deadline: the moment of the monotonic clock until which it may take.
        """
        try:
            return self._open_ready(wait) or self._open_prepared(wait, deadline)
        except apsw.Error as error:
            raise explain(error, self._path) from error

    def _open_ready(self, wait: Callable[[int], bool]) -> apsw.Connection | None:
        """Open a database that needs nothing more; readers need no gate for that."""
        with suppress(FileNotFoundError, apsw.BusyError):
            if Path(self._path).stat().st_size:
                connection = self._connect(wait)
                if header(connection) == (APPLICATION_ID, latest_version(), "wal"):
                    return connection
                connection.close()
        return None

    def _open_prepared(self, wait: Callable[[int], bool], deadline: float) -> apsw.Connection:
        """Create or migrate the database; not even SQLite does that safely for several processes at once."""
        self._gate.acquire(deadline - monotonic())
        try:
            with suppress(FileExistsError):
                os.close(create_private(self._path, os.path.dirname(self._path)))  # noqa: PTH120
            connection = self._connect(wait)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            return connection
        finally:
            self._gate.release()

    def _connect(self, wait: Callable[[int], bool]) -> apsw.Connection:
        connection = apsw.Connection(self._path, apsw.SQLITE_OPEN_READWRITE)
        if connection.readonly("main"):
            connection.close()
            raise StoreError(f"{self._path} is read-only. Make it and its folder writable for uid {os.geteuid()}.")
        connection.set_busy_handler(wait)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, int(not self._background))
        connection.wal_autocheckpoint(0 if self._background else AUTOCHECKPOINT[self._durability])
        # Else whatever could use a partial index is prepared anew each time, which takes longer than most statements.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        connection.pragma("mmap_size", 0)
        connection.pragma("temp_store", "memory")  # lists in statements would each get a cache for a file: 0.2 ms
        connection.pragma("synchronous", self._durability)
        connection.pragma("journal_size_limit", LOG_KEPT)
        return connection

    def _prepare(self, connection: apsw.Connection) -> None:
        application, version, _ = header(connection)
        check_header(connection, self._path, application, version)
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


@cache
def latest_version() -> int:
    """Give the schema version of this autocron: the number of its last migration."""
    names = (file.name for file in files("autocron.store").joinpath("schema").iterdir())
    return max(int(name[7:-4]) for name in names if name.startswith("sqlite-"))


def check_header(connection: apsw.Connection, path: str, application: int, version: int) -> None:
    """Refuse what is not ours, or of a newer autocron."""
    if application != APPLICATION_ID and (application or connection.pragma("schema_version")):
        raise StoreCorrupt(
            f"{path} is not a database of autocron 2, but something else is in it; it was left as it is. "
            "Give another path, or move the file away."
        )
    if version > latest_version():
        raise SchemaTooNew(
            f"{path} has schema version {version}, but this autocron knows versions up to "
            f"{latest_version()}. Upgrade autocron, or use another database."
        )


def header(connection: apsw.Connection) -> tuple[int, int, str]:
    """Give the application's number, the version of the schema and the kind of the journal."""
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
