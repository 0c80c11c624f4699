"""Getting hold of the node: connecting to it, and starting one where there is none."""

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autocron import wire
from autocron.errors import AutocronError
from autocron.program import interpreter
from autocron.store import paths
from autocron.store.place import Place

CONNECT_LIMIT = 10.0  # seconds
NO_SOCKET_LIMIT = 5.0  # seconds for which a node may hold its lock without having a socket
SEND_LIMIT = 2  # seconds that a node may take to read what it is told
_LAST_WORDS = 1000  # bytes of the log that are looked at
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.02


class NoNode(AutocronError):
    """There is no node, and none could be started."""


@dataclass
class Connection:
    """A socket to a node that has said welcome, and what it has said since."""

    socket: socket.socket
    pid: int
    refusal: str
    reader: wire.FrameReader
    early: list[Any] = field(default_factory=list[Any])


def connect(place: Place, hello: bytes, limit: float = CONNECT_LIMIT) -> Connection:
    """Connect to the node of this database, after starting one if there is none.

    Raises:
        NoNode: this did not succeed within the limit, in seconds.
    """
    try:
        with _Launcher(place) as launcher:
            return _connect(place, hello, limit, launcher)
    except OSError as error:
        raise NoNode(f"no node could be started for {place}: {error}") from error


def _connect(place: Place, hello: bytes, limit: float, launcher: "_Launcher") -> Connection:
    database = place.files
    start = time.monotonic()
    for pause in _pauses():
        if connection := _try_connect(database, hello, start + limit):
            return connection
        launcher.start_if_needed()
        waited = time.monotonic() - start
        if waited > limit:
            raise NoNode(f"the node of {place} did not answer within {limit:.0f} s{launcher.reason()}")
        if waited > NO_SOCKET_LIMIT and launcher.is_node_alive() and not paths.socket_path(database).exists():
            raise NoNode(
                f"a node holds {paths.lock_path(database)}, but has no {paths.socket_path(database)}{launcher.reason()}"
            )
        time.sleep(pause)
    raise AssertionError


def _pauses() -> Iterator[float]:
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def _try_connect(database: Path, hello: bytes, deadline: float) -> Connection | None:
    sock = None
    connection = None
    with contextlib.suppress(OSError, wire.WireError):
        sock = paths.connect(database, max(0.1, deadline - time.monotonic()))
        sock.sendall(hello)
        connection = _welcomed(sock)
    if sock is None:
        return None
    if connection is None:  # also the end of the stream: this node is about to end
        sock.close()
        return None
    sock.settimeout(None)
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_LIMIT, 0))
    return connection


def _welcomed(sock: socket.socket) -> Connection | None:
    reader = wire.FrameReader(wire.FromNode)
    early: list[Any] = []
    while data := sock.recv(65536):
        for message in reader.feed(data):
            early.append(message)
        for message in early:
            if isinstance(message, wire.Welcome):
                early.remove(message)
                return Connection(sock, message.pid, message.refusal, reader, early)
    return None


class _Launcher:
    """Starts a node, as long as no other process of the machine is doing that for this database."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._database = database = place.files
        self._is_ours = False
        self._next_start = 0.0
        self._pause = 0.2
        self._log = paths.log_path(database)
        self._log_size = self._log.stat().st_size if self._log.exists() else 0

    def __enter__(self) -> "_Launcher":
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_ours:
            paths.unlock(self._database, paths.SPAWN_BYTE)

    def is_node_alive(self) -> bool:
        """Does a node hold its lock?"""
        return paths.lock_holder(self._database, paths.NODE_BYTE) is not None

    def reason(self) -> str:
        """Say where nodes tell why they end, and the last that one has said since this began."""
        try:
            with self._log.open("rb") as log:
                log.seek(max(self._log_size, self._log.stat().st_size - _LAST_WORDS))
                said = log.read().decode(errors="replace").strip().rpartition("\n")[2]
        except OSError:
            return ""
        return f"; {self._log} tells more" + (f", at its end: {said}" if said else "")

    def start_if_needed(self) -> None:
        """Start a node if there is none and it is up to us; does not wait until it can be reached."""
        self._is_ours = self._is_ours or paths.try_lock(self._database, paths.SPAWN_BYTE)
        now = time.monotonic()
        if self._is_ours and now >= self._next_start and not self.is_node_alive():
            _spawn(self._place)
            self._next_start = time.monotonic() + self._pause
            self._pause *= 2


def _spawn(place: Place) -> None:
    import subprocess  # only one process of a machine needs it

    # It leaves its parent by itself and is of no session, terminal or pipe of the application.
    # Everybody may read its command line, so that must not hold a password.
    python = interpreter()
    process = subprocess.Popen(
        [python, "-P", "-m", "autocron.node", str(place.files)],
        env=paths.package_environ({**os.environ, "AUTOCRON_DATABASE": place.address}),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        status = process.wait(CONNECT_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        raise NoNode(f"{python} did not start a node within {CONNECT_LIMIT:.0f} s") from None
    if status:
        raise NoNode(
            f"{python} could not start a node (exit status {status}). See what `{python} -m autocron.node` says;"
            " AUTOCRON_PYTHON names another interpreter"
        )
