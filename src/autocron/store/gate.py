"""The gate: writers of all processes take turns here rather than in SQLite's own sleeping and retrying."""

from __future__ import annotations

import errno
import fcntl
import os
from random import uniform
from threading import Lock
from time import monotonic, sleep

from autocron.errors import StoreBusy, StoreError
from autocron.store.files import identity, open_private

GATE_BYTE, NEXT_BYTE = 0, 1
SHORTEST_PAUSE, LONGEST_PAUSE = 0.0002, 0.001  # seconds between attempts
NEXT_PAUSE = 0.0001  # of the one that is next
PATIENCE = 0.003  # seconds; for so long the last one lets others go first, who may be stopped


class Gate:
    """A lock on the file beside a database, and before it one among the threads of this process.

    It is polled: a blocking lock has no time limit, so that one stopped process would hang all others. Applications
    take it as it comes: whoever leaves may be back before the others look again, and that is faster than turns. But a
    node, which has something to store all the time, does not pass while an application waits and has the second byte.
    """

    def __init__(self, database: str) -> None:
        self._database = database
        self._path = f"{database}.gate"
        self._descriptor = -1
        # By process: in a child that was forked without hooks the parent's lock may be held for ever.
        self._mutexes: dict[int, Lock] = {}

    def acquire(self, limit: float, *, last: bool = False) -> None:
        """Pass the gate.

        Args:
            limit: seconds.
            last: let those go first who wait and are not last.

        Raises:
            StoreBusy: it takes longer than `limit`.
        """
        mutex = self._mutex()
        if not mutex.acquire(blocking=False):
            began = monotonic()
            if not mutex.acquire(timeout=max(limit, 0)):
                raise self._busy(limit, "another thread of this process")
            limit -= monotonic() - began
        try:
            if last:
                self._pass_last(limit)
            elif not self._lock(GATE_BYTE):
                self._wait(limit)
        except BaseException:
            mutex.release()
            raise

    def release(self) -> None:
        """Let the next one pass."""
        try:
            self._unlock(GATE_BYTE)
        finally:
            self._mutex().release()

    def is_replaced(self) -> bool:
        """Is the file that others find by now another one?"""
        if self._descriptor < 0:
            return False
        found = os.fstat(self._descriptor)
        return identity(self._path) != (found.st_dev, found.st_ino)

    def _mutex(self) -> Lock:
        pid = os.getpid()
        return self._mutexes.get(pid) or self._mutexes.setdefault(pid, Lock())

    def _wait(self, limit: float) -> None:
        deadline, is_next = monotonic() + limit, False
        try:
            while monotonic() < deadline:
                is_next = is_next or self._lock(NEXT_BYTE)
                sleep(NEXT_PAUSE if is_next else uniform(SHORTEST_PAUSE, LONGEST_PAUSE))
                if self._lock(GATE_BYTE):
                    return
        finally:
            if is_next:
                self._unlock(NEXT_BYTE)
        raise self._busy(limit, "another process")

    def _pass_last(self, limit: float) -> None:
        began = monotonic()
        while not self._lock(GATE_BYTE, 2):
            waited = monotonic() - began
            if waited > PATIENCE and self._lock(GATE_BYTE):
                return
            if waited > limit:
                raise self._busy(limit, "another process")
            sleep(NEXT_PAUSE)
        self._unlock(NEXT_BYTE)

    def _lock(self, first: int, count: int = 1) -> bool:
        if self._descriptor < 0:
            # Never closed: closing any descriptor of a file drops all locks that the process has on it.
            self._descriptor = open_private(self._path, self._owned_like())
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, count, first)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            if error.errno == errno.EDEADLK:
                return True  # the gate makes it fast; SQLite's own locks make it safe
            raise StoreError(f"{self._path} cannot be locked: {error.strerror}. Is it on a local disk?") from error
        return True

    def _unlock(self, byte: int) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, byte)

    def _owned_like(self) -> str:
        exists = os.path.exists(self._database)  # noqa: PTH110 - see files.identity
        return self._database if exists else os.path.dirname(self._database)  # noqa: PTH120

    def _busy(self, limit: float, who: str) -> StoreBusy:
        return StoreBusy(
            f"{self._database} was not free within {max(limit, 0):.1f} s: {who} is writing to it, or is stopped "
            f"while it does. Nothing was stored; try again. `fuser {self._path}` names the processes that use it."
        )


_gates: dict[str, Gate] = {}


def gate_of(database: str) -> Gate:
    """Give the gate of a database: one for each path, as a process must have one descriptor of its file only."""
    gate = _gates.setdefault(database, Gate(database))
    if gate.is_replaced():
        gate = _gates[database] = Gate(database)
    return gate
