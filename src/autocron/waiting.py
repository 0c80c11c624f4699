"""Waiting for the ends of jobs where no node of this machine tells of them: on PostgreSQL, those of others do."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Generator

from autocron.errors import StoreError
from autocron.store.place import Place, open_listener

IDLE_LIMIT = 10.0  # seconds for which the connection is kept when nobody waits
RETRY_DELAY = 1.0  # seconds until a lost connection is made again
MARK_DELAY = 0.05  # seconds until a job is marked as awaited that another transaction held, often a node's claim
HELLO = "hello"  # nothing to others; that it comes back here shows that this connection can hear


class Waiting:
    """Those who wait in this process: a thread with one connection listens for them while there are any.

    Args:
        place: the database, on PostgreSQL.

    Attributes:
        is_up: ends are told; until then those who wait should look often.
    """

    def __init__(self, place: Place) -> None:
        self._listener = open_listener(place)
        self._watchers: dict[str, list[Callable[[], None]]] = {}
        self._unmarked: list[str] = []  # jobs whose end the nodes do not know to be awaited
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self.is_up = False

    @contextlib.contextmanager
    def watch(self, uuid: str, wake: Callable[[], None]) -> Generator[None]:
        """Call `wake` when the job may have come to its end, until the block ends."""
        with self._lock:
            self._watchers.setdefault(uuid, []).append(wake)
            self._unmarked.append(uuid)
            self._start()
        with contextlib.suppress(BlockingIOError):
            self._wake_write.send(b"\0")
        try:
            yield
        finally:
            with self._lock:
                watchers = self._watchers[uuid]
                watchers.remove(wake)
                if not watchers:
                    del self._watchers[uuid]

    def forget(self) -> None:
        """Leave the connection to the parent of this forked child."""
        self._listener.forget()
        self._wake_read.close()
        self._wake_write.close()

    def _start(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="autocron-waiting", daemon=True)
            with contextlib.suppress(RuntimeError):  # no more threads are to be had: those who wait look by themselves
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        idle_since = time.monotonic()
        while not self._ends(idle_since):
            if self._watchers:
                idle_since = time.monotonic()
            try:
                self._step()
            except StoreError:
                self.is_up = False
                time.sleep(RETRY_DELAY)

    def _ends(self, idle_since: float) -> bool:
        with self._lock:
            if self._watchers or time.monotonic() < idle_since + IDLE_LIMIT:
                return False
            self._thread, self.is_up = None, False
            self._listener.close()
            return True

    def _step(self) -> None:
        if not self.is_up:
            with self._lock:
                self._unmarked = list(self._watchers)
            self._listener.tell(HELLO)
        with self._lock:
            marked, self._unmarked = self._unmarked, []
        if marked:
            held = self._listener.wait_for(marked)
            self._wake(marked)  # some may have been over by then
            with self._lock:
                self._unmarked += held
        self.is_up = self._listener.hears
        for text in self._listener.listen(self._wake_read.fileno(), MARK_DELAY if self._unmarked else 1.0):
            kind, _, uuids = text.partition(" ")
            if kind == "done":
                self._wake(uuids.split(","))
        with contextlib.suppress(BlockingIOError):
            self._wake_read.recv(4096)

    def _wake(self, uuids: list[str]) -> None:
        with self._lock:
            wakes = [wake for uuid in uuids for wake in self._watchers.get(uuid, ())]
        for wake in wakes:
            wake()
