"""A look at an SQLite database that changes nothing: is it one of ours, is it whole, does its log get shorter?"""

# apsw's annotations name a type that Python 3.11 hasn't.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import apsw

from autocron.errors import StoreError
from autocron.store.moved import check_moved, marker_query
from autocron.store.sqlite_errors import ERRORS, explain
from autocron.store.sqlite_open import check_header, header, latest_version

if TYPE_CHECKING:
    from collections.abc import Iterator

BUSY_LIMIT = 2000  # milliseconds
STEPS = 10_000  # of SQLite's machine between two looks at the time
READ_LOCKS = range(123, 128)  # bytes of the -shm file that those hold who read
SAFE_VERSION = (3, 51, 3)  # earlier ones can damage a write-ahead log


@dataclass(frozen=True)
class FileHealth:
    """What was found in the file.

    Attributes:
        version: of its schema.
        latest: the version that this autocron knows.
        damage: what `pragma quick_check` says; empty when it is whole, as far as it was looked through.
        complete: the check came to its end in time.
        waiting: bytes of the write-ahead log that are not in the database's file yet.
        readers: processes that hold a read transaction open just now.
        sqlite: the version of SQLite in use.
    """

    version: int
    latest: int
    damage: list[str]
    complete: bool
    waiting: int
    readers: list[int]
    sqlite: tuple[int, ...]


def look_into(path: Path, seconds: float) -> FileHealth:
    """Look into a file for some seconds.

    Raises:
        StoreError: it cannot be used; the kind and the text are those that an application would get.
    """
    try:
        connection = apsw.Connection(str(path), apsw.SQLITE_OPEN_READONLY)
        try:
            return _look(connection, path, seconds)
        finally:
            connection.close()
    except ERRORS as error:
        raise explain(error, str(path)) from error


def _look(connection: apsw.Connection, path: Path, seconds: float) -> FileHealth:
    connection.set_busy_timeout(BUSY_LIMIT)
    application, version, journal = header(connection)
    check_header(connection, str(path), application, version)
    if not version or journal != "wal":
        raise StoreError(f"{path} has no tables yet, or no write-ahead log. An application completes it at its start.")
    check_moved(list(connection.execute(marker_query())), str(path))
    readers = list(_readers(path))
    in_log, copied = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
    waiting = max(0, in_log - copied) * int(connection.pragma("page_size"))
    damage, complete = _quick_check(connection, seconds)
    sqlite = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    return FileHealth(version, latest_version(), damage, complete, waiting, readers, sqlite)


def _quick_check(connection: apsw.Connection, seconds: float) -> tuple[list[str], bool]:
    deadline = monotonic() + seconds
    connection.set_progress_handler(lambda: monotonic() > deadline, STEPS)
    found = list[str]()
    try:
        found += (str(text) for (text,) in connection.execute("pragma quick_check(5)"))
    except apsw.InterruptError:
        return found, False
    finally:
        connection.set_progress_handler(None)
    return [text for text in found if text != "ok"], True


def _readers(path: Path) -> Iterator[int]:
    """Give the processes that have a lock on one of the bytes for readers, as far as the system tells."""
    try:
        found = os.stat(f"{path}-shm")
        locks = Path("/proc/locks").read_text("ascii")
    except OSError:  # nobody uses it, or this is not Linux
        return
    file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in locks.splitlines():
        words = line.split()
        if words[-3] == file and words[-2].isdigit() and int(words[-2]) in READ_LOCKS and int(words[-4]) != os.getpid():
            yield int(words[-4])
