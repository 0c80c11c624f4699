"""Threads that touch the database, so that the loop never waits for it."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from autocron.clock import Clock
from autocron.errors import StoreError
from autocron.store.base import Store
from autocron.store.place import Place
from autocron.text import duration

T = TypeVar("T")
Log = Callable[[int, str], None]  # takes a level of logging and a text
_Work = tuple[Callable[[Store], Any], Callable[[Any], None]]
PRUNE_EVERY = 5.0  # seconds
PRUNE_BATCH = 500
RETRY_DELAY = 1.0  # seconds
LONG_LOG = 64 << 20  # bytes that wait in the write-ahead log; a burst of writing alone does not reach that
LONG_READ = 10.0  # seconds


def attempt(work: Callable[[Store], T], store: Store) -> T | StoreError:
    """Give what work on the store gives, or why it failed: the loop must hear of it, or it would wait for ever."""
    try:
        return work(store)
    except StoreError as error:
        return error
    except Exception as error:
        failure = StoreError(f"{type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure


class StoreThread:
    """Runs work on the store in the order in which it comes and gives the results back to the loop."""

    def __init__(self, store: Store, wake_loop: Callable[[], None]) -> None:
        self._store = store
        self._wake_loop = wake_loop
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._completed: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._thread = threading.Thread(target=self._run, name="autocron-store", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Store], T], done: Callable[[T | StoreError], None]) -> None:
        """Run `work` with the store; the loop then calls `done` with what it gave, or with the error."""
        self._work.put((work, done))

    def complete(self) -> None:
        """Hand over what is finished; the loop calls this."""
        while self._completed:
            done, result = self._completed.popleft()
            done(result)

    def close(self) -> None:
        """Finish the work and close the store."""
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        store = self._store
        while (item := self._work.get()) is not None:
            work, done = item
            self._completed.append((done, attempt(work, store)))
            self._wake_loop()
        store.close()


class LogWatch:
    """Notices that somebody reads for so long that the write-ahead log grows without end. Pure."""

    def __init__(self) -> None:
        self._long_since: float | None = None
        self._told = False

    def look(self, waiting: int, now: float) -> str:
        """Give what there is to say, once: `waiting` bytes could not be copied out of the log."""
        if waiting < LONG_LOG:
            self._long_since, self._told = None, False
            return ""
        if self._long_since is None:
            self._long_since = now
        age = now - self._long_since
        if self._told or age < LONG_READ:
            return ""
        self._told = True
        return (
            f"the write-ahead log has grown to {waiting >> 20} MiB and could not be shortened for {duration(age)}:"
            " somebody keeps a read transaction open"
        )


class MaintenanceThread:
    """Syncs, checkpoints and prunes beside the work, on a connection of its own."""

    def __init__(self, store: Store, place: Place, clock: Clock, log: Log) -> None:
        self._store = store
        self._place = place
        self._clock = clock
        self._log = log
        self._said = ""  # the trouble that was logged last
        self._log_watch = LogWatch()
        self._dirty = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="autocron-maintenance", daemon=True)
        self._thread.start()

    def sync(self) -> None:
        """Sync what was committed."""
        self._dirty.set()

    def close(self) -> None:
        """Sync once more and end."""
        self._stopped.set()
        self._dirty.set()
        self._thread.join()

    def _run(self) -> None:
        store = self._store
        next_prune = self._clock.monotonic()
        while not self._stopped.is_set():
            dirty = self._dirty.wait(PRUNE_EVERY)
            self._dirty.clear()
            try:
                if dirty:
                    store.sync()
                    self._checkpoint(store)
                if self._clock.monotonic() >= next_prune:
                    self._prune(store)
                    next_prune = self._clock.monotonic() + PRUNE_EVERY
                self._said = ""
            except Exception as error:  # whatever it is, without this thread nothing is synced or pruned any more
                self._complain(f"maintenance of the database failed and is tried again: {error}")
                self._dirty.set()
                self._stopped.wait(RETRY_DELAY)
        store.close()

    def _complain(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._log(logging.ERROR, text)

    def _checkpoint(self, store: Store) -> None:
        if text := self._log_watch.look(store.checkpoint(), self._clock.monotonic()):
            hint = f"`fuser {self._place}` names the processes that have the database open"
            self._log(logging.WARNING, f"{text}; {hint}")

    def _prune(self, store: Store) -> None:
        while store.prune(self._clock.now(), PRUNE_BATCH) == PRUNE_BATCH and not self._stopped.is_set():
            pass
