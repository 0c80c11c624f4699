"""The other nodes on the same database: this thread shows them that this node lives, and hears and tells the news.

Its connection has little to do with that. So it takes its turn at moving jobs when there is more to move than one can.
"""

import contextlib
import logging
import math
import socket
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from autocron.clock import Clock
from autocron.errors import StoreError
from autocron.node.differences import difference
from autocron.node.storage import Log, attempt
from autocron.store.base import Store
from autocron.waiting import MARK_DELAY

if TYPE_CHECKING:
    from autocron.store.postgres_nodes import Membership

T = TypeVar("T")
Call = Callable[[Callable[[], None]], None]
BEAT = 1.0  # seconds between heartbeats
RETRY_DELAY = 0.5  # seconds until the database is tried again after an error
NOTIFY_EVERY = 0.02  # seconds; each takes a lock that all who commit with one share
LOSES_AFTER = 11.0  # seconds without a heartbeat after which it stops its jobs; after 15 the others take them
GLEAN_AFTER = 10.0  # seconds; what a dead node has sent last may still have been under way when it was buried


class Events(Protocol):
    """What the loop is told, on its own thread."""

    def joined(self, node: int) -> None:
        """This node has a number among the others, and may claim."""

    def silenced(self) -> None:
        """This node could not show that it lives: others may run its jobs."""

    def expelled(self) -> None:
        """Others run this node's jobs; until it has joined anew it is nobody."""

    def buried(self) -> None:
        """Another node is dead; its jobs are to be queued again."""

    def work_elsewhere(self) -> None:
        """There are jobs that others have no room for."""

    def done_elsewhere(self, uuids: list[str]) -> None:
        """These jobs have come to their end."""


class Colleagues:
    """A thread with the node's second connection.

    Args:
        membership: the connection, as this node among others.
        clock: measures how long no heartbeat has come through.
        call: has the loop call a function.
        log: takes what there is to say, on the loop's thread.
        events: called by the loop.
    """

    def __init__(
        self,
        membership: "Membership",
        clock: Clock,
        call: Call,
        log: Log,
        events: Events,
    ) -> None:
        self._membership = membership
        self._clock = clock
        self._call = call
        self._log = log
        self._events = events
        self._is_member = False
        self._failing = False
        self._is_silenced = False
        self._next_beat = 0.0
        self._next_gleaning = math.inf
        self._last_beat = 0.0
        self._next_notify = 0.0
        self._next_echo = math.inf
        self._wake_read, self._wake_write = socket.socketpair()
        for end in (self._wake_read, self._wake_write):
            end.setblocking(False)
        self._lock = threading.Lock()
        self._has_work = False
        self._done: list[str] = []
        self._awaited: list[str] = []
        self._work = deque[tuple[Callable[[Store], Any], Callable[[Any], None]]]()
        self._declared = ""  # by the code here
        self._is_declared = False  # and known to the others
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="autocron-colleagues", daemon=True)
        self._thread.start()

    # What the loop says

    def offer_work(self) -> None:
        """Tell the others that there are jobs for which this node has no room."""
        if not self._has_work:
            self._has_work = True
            self._wake()

    def tell_done(self, uuids: list[str]) -> None:
        """Tell those who wait elsewhere that these jobs have come to their end."""
        with self._lock:
            self._done += uuids
        self._wake()

    def wait_for(self, uuids: list[str]) -> None:
        """Have others tell when these jobs have come to their end."""
        with self._lock:
            self._awaited += uuids
        self._wake()

    def declare(self, declared: str) -> None:
        """Show the others what the code here declares, and say what theirs does otherwise."""
        if declared != self._declared:
            self._declared, self._is_declared = declared, False
            self._wake()

    def submit(self, work: Callable[[Store], T], done: Callable[[T | StoreError], None]) -> None:
        """Run `work` with the store, on this connection; the loop then calls `done` with what it gave, or the error."""
        self._work.append((work, done))
        self._wake()

    def close(self) -> None:
        """Say good-bye: the others need not wait until this node is dead."""
        self._stopping.set()
        self._wake()
        self._thread.join()
        self._wake_read.close()
        self._wake_write.close()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_write.send(b"\0")

    # The thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._step()
                self._say_that_it_works()
            except StoreError as error:
                self._failed(error)
            self._move_jobs()
            if self._failing:
                self._stopping.wait(RETRY_DELAY)
        with contextlib.suppress(StoreError):
            self._say_news()
            self._membership.leave()
        self._membership.close()

    def _step(self) -> None:
        now = self._clock.monotonic()
        if not self._is_member:
            self._join()
        elif now >= self._next_beat:
            self._beat()
        if now >= self._next_echo:
            self._next_echo = math.inf
            self._call(self._events.work_elsewhere)
        self._say_news()
        next_notify = self._next_notify if self._has_work else math.inf
        next_mark = now + MARK_DELAY if self._awaited else math.inf
        next_look = min(self._next_beat, self._next_echo, next_notify, next_mark)
        heard = self._membership.listen(self._wake_read.fileno(), next_look - self._clock.monotonic())
        with contextlib.suppress(BlockingIOError):
            self._wake_read.recv(4096)
        self._hear(heard)

    def _move_jobs(self) -> None:
        while self._work:
            work, done = self._work.popleft()
            self._call(partial(done, attempt(work, self._membership.store)))

    def _join(self) -> None:
        now = self._clock.monotonic()
        node = self._membership.join()
        self._membership.beat()
        self._is_member, self._is_declared = True, False
        self._note_beat(now)
        self._next_gleaning = now + GLEAN_AFTER
        self._call(lambda: self._events.joined(node))

    def _beat(self) -> None:
        now = self._clock.monotonic()
        if not self._membership.beat():
            self._is_member = False
            self._tell(logging.ERROR, "other nodes have taken this one for dead: it stops what it runs and begins anew")
            self._call(self._events.expelled)
            return
        self._note_beat(now)
        if dead := self._membership.bury():
            self._tell(logging.WARNING, f"node {', '.join(dead)} is dead: its jobs are queued again")
            self._call(self._events.buried)
            self._next_gleaning = now + GLEAN_AFTER
        elif now >= self._next_gleaning:
            self._call(self._events.buried)
            self._next_gleaning = math.inf

    def _note_beat(self, began: float) -> None:
        self._is_silenced = False
        self._last_beat = began
        self._next_beat = began + BEAT

    def _say_news(self) -> None:
        now = self._clock.monotonic()
        with self._lock:
            done, self._done = self._done, []
            awaited, self._awaited = self._awaited, []
        if done:
            self._membership.tell_done(done)
        if awaited:
            held = self._membership.wait_for(awaited)
            with self._lock:
                self._awaited += held
            self._call(lambda: self._events.done_elsewhere(awaited))  # some may have been over by then
        if self._declared and not self._is_declared and self._is_member:
            self._is_declared = True
            self._compare(self._declared)
        if self._has_work and now >= self._next_notify:
            self._has_work = False
            self._membership.tell("work")
            self._next_notify = now + NOTIFY_EVERY

    def _compare(self, declared: str) -> None:
        for node, theirs in self._membership.declare(declared):
            if text := difference(declared, theirs):
                self._tell(logging.WARNING, f"node {node} declares other schedules: {text}. Deploy the same code there")

    def _hear(self, heard: list[str]) -> None:
        kinds = [text.partition(" ") for text in heard]
        done = [uuid for kind, _, uuids in kinds if kind == "done" for uuid in uuids.split(",")]
        if done:
            self._call(lambda: self._events.done_elsewhere(done))
        if any(kind in ("work", "call") for kind, *_ in kinds):
            self._call(self._events.work_elsewhere)
        if any(kind == "call" for kind, *_ in kinds):  # calls that come just after this one are not told
            self._next_echo = self._clock.monotonic() + NOTIFY_EVERY

    def _failed(self, error: StoreError) -> None:
        if not self._failing:
            self._failing = True
            self._tell(logging.ERROR, f"the other nodes cannot be reached through the database: {error}")
        if self._is_member and not self._is_silenced and self._clock.monotonic() > self._last_beat + LOSES_AFTER:
            self._is_silenced = True
            self._tell(logging.ERROR, "other nodes may have taken this one for dead: it stops what it runs")
            self._call(self._events.silenced)

    def _say_that_it_works(self) -> None:
        if self._failing:
            self._failing = False
            self._tell(logging.WARNING, "the other nodes can be reached again")

    def _tell(self, level: int, text: str) -> None:
        self._call(lambda: self._log(level, text))
