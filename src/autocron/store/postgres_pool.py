"""A few connections that the threads of a process share; a forked child opens its own."""

from __future__ import annotations

import os
import select
from collections import deque
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from psycopg import Error
from psycopg.pq import TransactionStatus

from autocron.errors import StoreBusy

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager

    from autocron.store.postgres_connection import Connection


class _Share:
    """What belongs to one process."""

    def __init__(self, size: int) -> None:
        self.pid = os.getpid()
        self.places = SimpleQueue[None]()  # a semaphore in C: one in Python takes longer than all else here
        for _ in range(size):
            self.places.put(None)
        self.idle: deque[Connection] = deque()
        self.lent: set[Connection] = set()


class Lender(Protocol):
    """Has connections, and lends them."""

    def lend(self, limit: float) -> AbstractContextManager[Connection]:
        """Lend a connection for a block that may take `limit` seconds."""
        ...

    def close(self) -> None:
        """Close the connections that are not lent."""
        ...


class Pool:
    """Lends a connection to one call at a time.

    Args:
        connect: opens a connection until a moment of the monotonic clock.
        size: how many there are at most.
        name: of the database, for people.
    """

    def __init__(self, connect: Callable[[float], Connection], size: int, name: str) -> None:
        self._connect = connect
        self._size = size
        self._name = name
        self._share = _Share(size)
        _pools.add(self)

    @contextmanager
    def lend(self, limit: float) -> Generator[Connection]:
        """Lend a connection for a block that may take `limit` seconds."""
        deadline = monotonic() + limit
        share = self._current()
        try:
            share.places.get(timeout=max(limit, 0))
        except Empty:
            text = f"Other threads of this process have used {self._name} for {limit:.1f} s. Try again."
            raise StoreBusy(text) from None
        connection = None
        try:
            connection = self._idle(share) or self._connect(deadline)
            share.lent.add(connection)
            connection.deadline = deadline
            yield connection
        finally:
            if connection is not None:
                self._take_back(share, connection)
            share.places.put(None)

    def close(self) -> None:
        """Close the connections that are not lent; the next use opens one again."""
        share = self._current()
        while share.idle:
            share.idle.pop().close()

    def forget(self) -> None:
        """Leave the connections to the parent of this forked child."""
        share, self._share = self._share, _Share(self._size)
        for connection in (*share.idle, *share.lent):
            leave_to_parent(connection)

    def _current(self) -> _Share:
        if self._share.pid != os.getpid():  # forked where no hooks ran
            self.forget()
        return self._share

    @staticmethod
    def _idle(share: _Share) -> Connection | None:
        while share.idle:
            connection = share.idle.pop()
            if _is_quiet(connection):
                return connection
            connection.close()
        return None

    @staticmethod
    def _take_back(share: _Share, connection: Connection) -> None:
        if share.pid != os.getpid():  # a fork inside of the block: it is the parent's
            return
        share.lent.discard(connection)
        if connection.pgconn.transaction_status == TransactionStatus.IDLE:
            share.idle.append(connection)
        else:
            connection.close()


def leave_to_parent(connection: Connection) -> None:
    """Let go of the copy of a connection that a forked child has, without a word to the server."""
    _kept.append(connection)
    with suppress(OSError, Error):
        os.close(connection.fileno())


def _is_quiet(connection: Connection) -> bool:
    """Has the server neither gone nor said something while nobody used the connection?"""
    try:
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        return not poll.poll(0)
    except (OSError, ValueError, Error):
        return False


_pools = WeakSet[Pool]()
_kept: list[Connection] = []  # of a parent; deleting one would close it


def _forget_all() -> None:
    for pool in _pools:
        pool.forget()


os.register_at_fork(after_in_child=_forget_all)
