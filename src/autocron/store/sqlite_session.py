"""What belongs to one process, and what becomes of it at a fork."""

# apsw's annotations name a type that Python 3.11 hasn't.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import ctypes
import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic, sleep
from weakref import WeakSet

import apsw

from autocron.store.driver import CALL_LIMIT
from autocron.store.files import Identity

FORK_LIMIT = 2 * CALL_LIMIT  # seconds that a fork waits for a call that is under way
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.025  # seconds between attempts while a stranger holds the database
_SHARED_LOCKS = (("", 0x40000002, 510), ("-shm", 128, 1))  # what an open connection holds, by SQLite's file format


@dataclass(eq=False)
class Session:
    """A connection and what goes with it: after a fork nothing of it may be used."""

    pid: int = field(default_factory=os.getpid)
    mutex: Lock = field(default_factory=Lock)
    connection: apsw.Connection | None = None
    opened: dict[str, Identity] = field(default_factory=dict[str, Identity])
    checked_at: float = 0.0
    inherited: dict[str, Identity] = field(default_factory=dict[str, Identity])  # SQLite still has these in mind
    data_version: int | None = None
    deadline: float = 0.0  # of the call that is under way
    heirs: dict[int, Session] = field(default_factory=dict[int, "Session"])

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
        sleep(min(_FIRST_PAUSE * (attempts + 1), _LONGEST_PAUSE, max(left, 0)))
        return left > 0

    def heir(self, path: str) -> Session:
        """Give the session of a forked child.

        Closing the parent's connection there, even as garbage, would disturb the parent: it is kept for ever.
        SQLite believes the child to hold the locks of that connection, and so it must.
        """
        if self.connection:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.connection))
            _hold_shared(path)
        return self.heirs.setdefault(os.getpid(), Session(inherited=self.opened or self.inherited))


def _hold_shared(path: str) -> None:
    for ending, start, length in _SHARED_LOCKS:
        with suppress(OSError):  # when the file is gone, opening it says so
            descriptor = os.open(f"{path}{ending}", os.O_RDONLY | os.O_CLOEXEC)  # never closed: that would unlock
            fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, length, start)


class Sessions:
    """The sessions on a database file, one for each process.

    Attributes:
        latest: this process's, or the one of the process from which it was forked where no hooks ran.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.latest = Session()
        _fork.add(self)

    def current(self) -> Session:
        """Give the session of this process."""
        if self.latest.pid != os.getpid():  # forked where no hooks ran
            self.renew()
        return self.latest

    def renew(self) -> None:
        """Begin anew in a forked child."""
        self.latest = self.latest.heir(self._path)


class _Fork:
    """Closes the connections of all sessions around a fork.

    SQLite's knowledge of its own locks is copied into the child while the locks are not: with a connection open, the
    child's would be unprotected, and what it stores could be lost.
    """

    def __init__(self) -> None:
        self._mutex = Lock()
        self._all = WeakSet[Sessions]()
        self._held: list[Session] = []
        os.register_at_fork(before=self._before, after_in_parent=self._release, after_in_child=self._after_in_child)

    def add(self, sessions: Sessions) -> None:
        with self._mutex:
            self._all.add(sessions)

    def _before(self) -> None:
        self._mutex.acquire()
        for sessions in self._all:
            session = sessions.latest
            if session.mutex.acquire(timeout=FORK_LIMIT):  # otherwise the child forgets it, as where no hooks run
                self._held.append(session)
                with suppress(apsw.Error):
                    session.close()

    def _release(self) -> None:
        for session in self._held:
            session.mutex.release()
        self._held.clear()
        self._mutex.release()

    def _after_in_child(self) -> None:
        for sessions in self._all:
            sessions.renew()
        self._release()


_fork = _Fork()
