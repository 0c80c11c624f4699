"""The link of an application to its node: the wake-up line, the push line for results, and the proof of life."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from autocron import wire
from autocron.errors import StoreError
from autocron.launch import Connection, NoNode, connect
from autocron.log import logger
from autocron.terminal import Terminal

LOOK_EVERY = 1.0  # seconds between looks at the lock while it is on
RETRY_REFUSED = 10.0  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0  # seconds between attempts
SHORT_SESSION = 5.0  # seconds; a node that lives no longer is no success
_DONT_WAIT = getattr(socket, "MSG_DONTWAIT", 0)
_WAKE = wire.frame(wire.Wake())


class Link:
    """Keeps this process connected to the node of its database; one per process.

    A thread reads what the node says and connects again, to another node if need be, when the stream ends.

    Args:
        database: the full path.
        hello: gives what to say first.
        is_locked: tells whether the autocron lock is on, so that no node is wanted.
    """

    def __init__(self, database: Path, hello: Callable[[], wire.Hello], is_locked: Callable[[], bool]) -> None:
        self._database = database
        self._hello = hello
        self._is_locked = is_locked
        self._connection: Connection | None = None
        self._sending = threading.Lock()
        self._watching = threading.Lock()
        self._watchers: dict[str, list[Callable[[], None]]] = {}
        self._terminal = Terminal()
        self._keeper: threading.Thread | None = None
        self._keeping = threading.Lock()
        self._poked = threading.Event()
        self._closed = False
        self._ended = threading.Event()  # the node has let us go
        self._said = ""  # the last trouble that was logged

    @property
    def is_up(self) -> bool:
        """Does a node work for this application?"""
        return self._connection is not None and not self._connection.refusal

    # Connecting

    def open(self) -> bool:
        """Connect now, unless the lock is on, and stay connected; True if a node works for this application."""
        with self._keeping:
            if self._connection is None and not self._is_locked():
                self._connect()
        self._ensure_keeper()
        return self.is_up

    def _connect(self) -> bool:
        hello = self._hello()
        try:
            connection = connect(self._database, wire.frame(hello))
        except NoNode as error:
            self._complain(f"{error}. Calls are stored; they run when a node can be reached")
            return False
        if connection.refusal:
            self._complain(f"the node of {self._database} does not work for this application: {connection.refusal}")
        else:
            self._said = ""
        if self._closed:
            connection.socket.close()
            return False
        self._connection = connection
        for uuid in list(self._watchers):
            self._send(wire.frame(wire.Subscribe(uuid)))
        return True

    def _complain(self, text: str) -> None:
        if text != self._said:
            self._said = text
            logger.error("%s", text)

    # Talking

    def wake(self) -> None:
        """Tell the node that there may be something to do; never waits."""
        if not self._send(_WAKE):
            self._poked.set()
            self._ensure_keeper()

    def declare(self, program: wire.Program) -> None:
        """Tell the node that the program has changed."""
        self._send(wire.frame(wire.Declare(program)), flags=0)

    def _send(self, data: bytes, flags: int = _DONT_WAIT) -> bool:
        """Send a frame; False when there is no link. What the node has no room for is not sent: it is busy anyway."""
        connection = self._connection
        if connection is None:
            return False
        with self._sending:
            try:
                whole = connection.socket.send(data, flags) == len(data) if flags else _send_all(connection, data)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not whole:
                with contextlib.suppress(OSError):
                    connection.socket.shutdown(socket.SHUT_RDWR)
        return whole

    @contextlib.contextmanager
    def watch(self, uuid: str, wake: Callable[[], None]) -> Generator[None]:
        """Call `wake` when the job may have come to its end, until the block ends."""
        with self._watching:
            self._watchers.setdefault(uuid, []).append(wake)
        self._send(wire.frame(wire.Subscribe(uuid)))
        try:
            yield
        finally:
            with self._watching:
                others = self._watchers.get(uuid, [])
                if wake in others:
                    others.remove(wake)
                if not others:
                    self._watchers.pop(uuid, None)
            if not others:
                self._send(wire.frame(wire.Unsubscribe(uuid)))

    # Leaving

    def leave(self, limit: float) -> None:
        """Tell the node that this application stops and wait until it has ended its work, at most `limit` seconds."""
        self._closed = True
        self._poked.set()
        if not self._send(wire.frame(wire.Bye()), flags=0):
            return
        try:
            self._ended.wait(limit)
        except KeyboardInterrupt:
            self._send(wire.frame(wire.Bye(now=True)), flags=0)
            self._ended.wait(2.0)
            raise
        finally:
            self._drop()

    def forget(self) -> None:
        """Close a forked child's copy of the socket; the parent's link is not disturbed."""
        self._closed = True
        if self._connection is not None:
            self._connection.socket.close()
            self._connection = None

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)  # wakes the keeper, which reads it

    # The keeper

    def _ensure_keeper(self) -> None:
        with self._keeping:
            if self._closed or (self._keeper is not None and self._keeper.is_alive()):
                return
            self._keeper = threading.Thread(target=self._keep, name="autocron-link", daemon=True)
            self._keeper.start()

    def _keep(self) -> None:
        failures = 0
        while not self._closed:
            try:
                lived = self._session()
            except Exception:
                if not self._closed:
                    logger.exception("the link to the node of %s failed and is made again", self._database)
                lived = 0.0
            failures = 0 if lived > SHORT_SESSION else failures + 1
            if failures > 1 and not self._closed:
                time.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 2)))

    def _session(self) -> float:
        """Connect if need be and read until the stream ends; give how many seconds that lasted."""
        start = time.monotonic()
        if self._connection is None:
            self._wait_while_locked()
            with self._keeping:
                if self._closed or not self._connect():
                    return 0.0
            start = time.monotonic()
        connection = self._connection
        if connection is None:
            return 0.0
        self._read(connection)
        connection.socket.close()
        if self._connection is connection:
            self._connection = None
        self._wake_all()
        if connection.refusal:
            time.sleep(RETRY_REFUSED)
        return time.monotonic() - start

    def _wait_while_locked(self) -> None:
        while not self._closed:
            try:
                if not self._is_locked():
                    return
            except StoreError as error:
                self._complain(str(error))
            self._poked.wait(LOOK_EVERY)
            self._poked.clear()

    def _read(self, connection: Connection) -> None:
        for message in connection.early:
            self._handle(message)
        while True:
            try:
                data = connection.socket.recv(65536)
                messages = connection.reader.feed(data)
            except (OSError, wire.WireError):
                break
            for message in messages:
                self._handle(message)
            if not data or self._ended.is_set():
                break
        if self._closed:
            self._ended.set()

    def _handle(self, message: Any) -> None:
        match message:
            case wire.Done(uuid=uuid):
                self._wake_watchers(uuid)
            case wire.Output(stream=stream, data=data):
                self._terminal.write(stream, data)
            case wire.Log(level=level, text=text):
                logger.log(level, "%s", text)
            case wire.Locked():
                logger.warning("the autocron lock is on: calls run in the caller until it is off")
            case wire.Farewell():
                self._ended.set()
            case _:
                pass

    def _wake_watchers(self, uuid: str) -> None:
        with self._watching:
            watchers = list(self._watchers.get(uuid, ()))
        for wake in watchers:
            wake()

    def _wake_all(self) -> None:
        for uuid in list(self._watchers):
            self._wake_watchers(uuid)


def _send_all(connection: Connection, data: bytes) -> bool:
    try:
        connection.socket.sendall(data)
    except BlockingIOError:  # the limit of the socket: part of it may be gone
        return False
    return True
