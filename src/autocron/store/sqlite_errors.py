"""What SQLite's errors mean to those who use autocron."""

import os

import apsw

from autocron.errors import StoreBusy, StoreCorrupt, StoreError, StoreGone, StoreMoved
from autocron.store.moved import notice_in
from autocron.store.rows import BadRow

_UNCONVERTIBLE = (UnicodeError, OverflowError)  # texts and numbers
_ERRORS_OF_A_ROW = (apsw.ConstraintError, apsw.TooBigError, apsw.MismatchError, *_UNCONVERTIBLE)
ERRORS = (apsw.Error, *_UNCONVERTIBLE)


def explain(error: Exception, path: str, *, committing: bool = False) -> StoreError:
    """Say what happened, why, and what to do next."""
    said = f"{error} ({type(error).__name__})"
    if getattr(error, "extendedresult", 0) == apsw.SQLITE_READONLY_DBMOVED:
        return StoreGone(f"{path} was moved while it was in use: {said}. Put it back and restart what uses it.")
    if notice := notice_in(error):
        return StoreMoved(f"{notice}.")
    match error:
        case apsw.BusyError() | apsw.LockedError():
            return StoreBusy(
                f"{path} was locked for too long by another program: {said}. Nothing was stored; try again. Close "
                "database browsers and long transactions that hold it."
            )
        case apsw.CorruptError() | apsw.NotADBError():
            return StoreCorrupt(
                f"{path} is damaged or not a database: {said}. It was left as it is. Give another path, or move it "
                "away with its -wal and -shm files and restore a backup; `sqlite3 FILE .recover` may save what is "
                "readable."
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
                f"Reading or writing {path} failed: {said}. {kept}See whether the disk is full, and what the system's "
                "log says.",
                maybe_stored=committing,
            )
        case _ if isinstance(error, _ERRORS_OF_A_ROW) or "JSON" in said:  # a blob has no place in JSON
            return BadRow(f"One row of {path} could not be stored or read: {said}.")
        case _:
            return StoreError(f"{path} could not be used: {said}.")
