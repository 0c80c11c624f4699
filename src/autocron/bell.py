"""Waking a node without a link to it."""

import contextlib
import os
import socket
from pathlib import Path
from time import monotonic

from autocron import wire
from autocron.store import paths

RING_LIMIT = 0.1  # seconds
ABSENCE = 0.001  # seconds; a node that has begun to listen takes longer to its first claim
DONT_WAIT = getattr(socket, "MSG_DONTWAIT", 0)
WAKE = wire.frame(wire.Wake())
LOOK = wire.frame(wire.Look())
LOOK_LIMIT = 2.0  # seconds


class Bell:
    """Tells a node, if one is there, that there may be something to do; for those who keep no link to it."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._place = str(paths.socket_path(database))
        self._socket: socket.socket | None = None
        self._absent_until = 0.0

    def ring(self) -> bool:
        """Ring, waiting for nothing; False when nobody is there."""
        if self._send():
            return True
        self.close()
        if monotonic() < self._absent_until:
            return False
        if not os.path.exists(self._place):  # noqa: PTH110 - a vain connect takes ten times as long
            self._absent_until = monotonic() + ABSENCE
            return False
        with contextlib.suppress(OSError):
            self._socket = paths.connect(self._database, RING_LIMIT)
        return self._send()

    def close(self) -> None:
        """Hang up, until it rings again."""
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()

    def _send(self) -> bool:
        sock = self._socket
        if sock is None:
            return False
        try:
            sock.send(WAKE, DONT_WAIT)
        except BlockingIOError:  # it has enough of these to read
            return True
        except OSError:
            return False
        return True


def ring(database: Path) -> bool:
    """Ring once; False when nobody is there."""
    bell = Bell(database)
    try:
        return bell.ring()
    finally:
        bell.close()


def look(database: Path) -> None:
    """Have a node, if one is there, read settings and schedules now, where it would do so within a second."""
    with contextlib.suppress(OSError), paths.connect(database, LOOK_LIMIT) as sock:
        sock.sendall(LOOK)
