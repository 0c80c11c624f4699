"""The link of an application to its node: the wake-up line, the push line for results, and the proof of life."""

import contextlib
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

from autocron import wire
from autocron.bell import DONT_WAIT, LOOK, WAKE, ring
from autocron.errors import AutocronError
from autocron.launch import CONNECT_LIMIT, Connection, NoNode, connect
from autocron.log import logger
from autocron.store import paths
from autocron.store.place import Place
from autocron.terminal import Terminal
from autocron.version import VERSION

LOOK_EVERY = 1.0  # seconds between looks while no node is wanted
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0  # seconds between attempts
CALL_CONNECT_LIMIT = 2.0  # seconds that a call may take to connect where no thread does it
SHORT_SESSION = 5.0  # seconds; a node that lives no longer is no success
FLUSH_LIMIT = 1.0  # seconds for the last output to be written
REAP_LIMIT = 2.0  # seconds between a node's last word and its end
HURRY_LIMIT = 2.0  # seconds that a node has to stop at once
READ_SIZE = 64 << 10


class Link:
    """Keeps this process connected to the node of its database; one per process.

    A thread reads what the node says and connects again, to another node if need be, when the stream ends. Where
    threads do not run between calls, the next call connects.

    Args:
        place: the database.
        program: gives what the node is to know of this application now.
        at_rest: tells why no node is wanted now; empty: one is.
    """

    def __init__(self, place: Place, program: Callable[[], wire.Program], at_rest: Callable[[], str]) -> None:
        self.place = place
        self._program = program
        self._at_rest = at_rest
        self._connection: Connection | None = None
        self._declared: wire.Program | None = None
        self._sending = threading.Lock()
        self._connecting = threading.Lock()
        self._keeper: threading.Thread | None = None
        self._keeper_starts = threading.Lock()
        self._watchers: dict[str, list[Callable[[], None]]] = {}
        self._watching = threading.Lock()
        self._terminal = Terminal()
        self._poked = threading.Event()
        self._closed = threading.Event()
        self._released = threading.Event()  # the node has let us go
        self._said = ""  # the last trouble that was logged
        self._is_guest = False  # of the database's owner; as a server drops root, this may end
        self._has_threads = threads_run()
        self._next_try = 0.0  # no call connects before

    @property
    def is_up(self) -> bool:
        """Does a node work for this application?"""
        return self._connection is not None and not self._connection.refusal

    # Connecting

    def open(self) -> bool:
        """Connect now, if a node is wanted, and stay connected; True if a node works for this application."""
        if why := self._at_rest():
            self._complain(why, logging.WARNING)
        else:
            self._connect_if_wanted(CONNECT_LIMIT)
        self._ensure_keeper()
        return self.is_up

    def _connect_if_wanted(self, limit: float) -> None:
        with self._connecting:
            if self._connection is None and not self._closed.is_set() and not self._at_rest():
                self._connect(limit)

    def _connect_in_call(self) -> None:
        """Do what the keeper cannot. The job is stored already: what goes wrong here is no error of the call."""
        if time.monotonic() < self._next_try:
            return
        try:
            self._connect_if_wanted(CALL_CONNECT_LIMIT)
        except Exception as error:
            self._complain(f"there is no link to the node of {self.place}: {error}")
        if self._connection is None:
            self._next_try = time.monotonic() + LONGEST_PAUSE
        else:
            self._ensure_keeper()

    def _connect(self, limit: float = CONNECT_LIMIT) -> bool:
        owner = paths.other_owner(self.place.files)
        self._is_guest = owner is not None
        if owner:
            self._complain(
                f"{self.place} belongs to {owner}, and this process runs as root: it only stores calls, and starts"
                " no node, whose workers would run them as root. Run the application as that user, or give root a"
                " database of its own",
                logging.WARNING,
            )
            return False
        self._declared = self._program()
        hello = wire.Hello(self._declared, os.getpid(), VERSION)
        try:
            connection = connect(self.place, wire.frame(hello), limit)
        except NoNode as error:
            self._complain(f"{error}. Calls are stored, and run when a node can be reached")
            return False
        if self._closed.is_set():
            connection.socket.close()
            return False
        self._connection = connection
        self._welcome(connection)
        self.declare()
        for uuid in list(self._watchers):
            self._send(wire.frame(wire.Subscribe(uuid)))
        return True

    def _welcome(self, connection: Connection) -> None:
        if connection.refusal:
            self._complain(f"calls are stored, but do not run: {connection.refusal}")
        else:
            self._said = ""

    def _complain(self, text: str, level: int = logging.ERROR) -> None:
        if text != self._said:
            self._said = text
            logger.log(level, "%s", text)

    # Talking

    def wake(self) -> bool:
        """Tell the node that there may be something to do; waits only where no thread can connect.

        Returns:
            False when nobody was there to hear it.
        """
        if self._send(WAKE):
            return True
        is_told = self._is_guest and ring(self.place.files)
        self._poked.set()
        if not self._ensure_keeper():
            self._connect_in_call()
        return is_told

    def look(self) -> None:
        """Tell the node that something was changed in the database that it should read now."""
        self._send(LOOK)

    def declare(self) -> None:
        """Tell the node when other modules declare something than those it knows of."""
        if self._connection is None or self._declared is None:
            return
        program = self._program()
        if _essence(program) != _essence(self._declared):
            self._declared = program
            self._send(wire.frame(wire.Declare(program)), flags=0)

    def _send(self, data: bytes, flags: int = DONT_WAIT) -> bool:
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
                whole = False
            if not whole:
                self._drop(connection)
        return whole

    @contextlib.contextmanager
    def watch(self, uuid: str, wake: Callable[[], None]) -> Generator[None]:
        """Call `wake` when the job may have come to its end, until the block ends."""
        with self._watching:
            self._watchers.setdefault(uuid, []).append(wake)
        if not self._send(wire.frame(wire.Subscribe(uuid))):
            self._ensure_keeper()
        try:
            yield
        finally:
            if self._unwatch(uuid, wake):
                self._send(wire.frame(wire.Unsubscribe(uuid)))

    def _unwatch(self, uuid: str, wake: Callable[[], None]) -> bool:
        """Forget one who waits; True when nobody else waits for this job."""
        with self._watching:
            watchers = self._watchers[uuid]
            watchers.remove(wake)
            if not watchers:
                del self._watchers[uuid]
            return not watchers

    # Leaving

    def leave(self, limit: float) -> None:
        """Tell the node that this application stops and wait until it has ended its work, at most `limit` seconds."""
        self._closed.set()
        self._poked.set()
        if not self._send(wire.frame(wire.Bye()), flags=0):
            return
        try:
            self._released.wait(limit)
        except KeyboardInterrupt:
            self._send(wire.frame(wire.Bye(now=True)), flags=0)
            self._released.wait(HURRY_LIMIT)
            raise
        finally:
            if connection := self._connection:
                self._drop(connection)
            self._terminal.close(FLUSH_LIMIT)

    def _drop(self, connection: Connection) -> None:
        """Let go of a connection; the keeper, which reads it, closes it."""
        if self._connection is connection:
            self._connection = None
        with contextlib.suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)
        if self._keeper is None or not self._keeper.is_alive():
            connection.socket.close()

    def forget(self) -> None:
        """Close a forked child's copy of the socket, which leaves the parent's link as it is."""
        self._closed.set()
        if self._connection is not None:
            self._connection.socket.close()

    # The keeper

    def _ensure_keeper(self) -> bool:
        """Have a keeper; False when it does not connect by itself."""
        with self._keeper_starts:
            if self._closed.is_set() or (self._keeper is not None and self._keeper.is_alive()):
                return self._has_threads
            self._keeper = threading.Thread(target=self._keep, name="autocron-link", daemon=True)
            try:
                self._keeper.start()
            except RuntimeError:  # the system, or an interpreter at its end, gives no more threads
                return False
            return self._has_threads

    def _may_keep(self) -> bool:
        # Standing still half way through connecting, a keeper would keep others from starting a node.
        is_running = self._has_threads or self._connection is not None or bool(self._watchers)
        return is_running and not self._closed.is_set()

    def _keep(self) -> None:
        failures = 0
        while self._may_keep():
            start = time.monotonic()
            try:
                self._keep_once()
            except AutocronError as error:
                self._complain(str(error))
            except Exception:
                logger.exception("the link to the node of %s failed; it is made again", self.place)
            failures = 0 if time.monotonic() - start > SHORT_SESSION else failures + 1
            if failures > 1:
                self._closed.wait(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 2)))

    def _keep_once(self) -> None:
        """Connect if need be, then read until the stream ends."""
        if self._connection is None:
            self._wait_while_at_rest()
            self._connect_if_wanted(CONNECT_LIMIT)
        connection = self._connection
        if connection is None:
            return
        self._read(connection)
        connection.socket.close()
        _reap(connection.pid)
        if self._connection is connection:
            self._connection = None
        self._wake_all()

    def _wait_while_at_rest(self) -> None:
        while not self._closed.is_set() and self._at_rest():
            self._poked.wait(LOOK_EVERY)
            self._poked.clear()

    def _read(self, connection: Connection) -> None:
        for message in connection.early:
            self._handle(message, connection)
        while not self._released.is_set():
            try:
                data = connection.socket.recv(READ_SIZE)
                messages = connection.reader.feed(data)
            except (OSError, wire.WireError):
                break
            for message in messages:
                self._handle(message, connection)
            if not data:
                break
        if self._closed.is_set():
            self._released.set()

    def _handle(self, message: Any, connection: Connection) -> None:
        match message:
            case wire.Done(uuid=uuid):
                self._wake_watchers(uuid)
            case wire.Output(stream=stream, data=data):
                self._terminal.write(stream, data)
            case wire.Log(level=level, text=text):
                logger.log(level, "%s", text)
            case wire.Welcome(refusal=refusal):  # one that was refused may be let in later
                connection.refusal = refusal
                self._welcome(connection)
            case wire.Farewell():
                self._released.set()
            case _:  # the lock is looked at in the database: the node's end follows
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


def _reap(node: int) -> None:
    """Bury a node that has become this process's child, as it does when this one is the first of a container."""
    if os.getpid() != 1:
        return  # whoever is the first process does it, and in its namespace the number means another process
    deadline = time.monotonic() + REAP_LIMIT
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(node, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.01)


def _essence(program: wire.Program) -> tuple[Any, ...]:
    """Give what a node is told when it changes while the application runs."""
    return program.modules, program.main, program.django_settings


def threads_run() -> bool:
    """Do threads run while the server waits for requests? Not in an older uWSGI without --enable-threads."""
    return bool(getattr(sys.modules.get("uwsgi"), "has_threads", True))
