"""A database in use by this process: opened when it is needed, and the way to wake its node."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from autocron import bell
from autocron.bell import Bell
from autocron.link import Link
from autocron.model import Durability, NewJob
from autocron.model import Settings as StoredSettings
from autocron.store.place import Place, open_store
from autocron.waiting import Waiting

if TYPE_CHECKING:
    from autocron.store.base import Store


LONGEST_CHARACTER = 4  # bytes


def _silence() -> bool:
    return True


def _nothing() -> None:
    pass


@dataclass
class Active:
    """A database in use by this process."""

    place: Place | None  # None: given with what opens its store
    durability: Durability
    link: Link | None = None
    grace: float = StoredSettings().grace
    result_ttl: float = StoredSettings().result_ttl
    max_payload: int = 0  # bytes of arguments that were stored at most, when that was looked at last
    _bell: Bell | None = None
    ring: Callable[[], bool] = _silence  # wakes the node where there is no link; False when nobody is there
    look: Callable[[], None] = _nothing  # has the node read settings and schedules
    _waiting: Waiting | None = None  # made when it is first needed
    opener: "Callable[[], Store] | None" = None
    _store: "Store | None" = None
    opening: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        if self.place is not None:
            self.opener = partial(open_store, self.place, durability=self.durability)
            self._bell = Bell(self.place.files)
            self.ring = self._bell.ring
            self.look = partial(bell.look, self.place.files)

    @property
    def store(self) -> "Store":
        """The store, opened by its first use."""
        if self._store is None:
            assert self.opener is not None
            with self.opening:
                self._store = self._store or self.opener()
        return self._store

    @property
    def source(self) -> Link | Waiting | None:
        """What tells of the ends of jobs; None: nobody does."""
        if self.link is not None or self.place is None or self.place.is_file:
            return self.link
        with self.opening:
            self._waiting = self._waiting or Waiting(self.place)
            return self._waiting

    def renew(self) -> None:
        """Make anew, in a forked child, what it must not share with its parent."""
        self.opening = threading.Lock()
        if self._waiting is not None:
            self._waiting.forget()
            self._waiting = None

    def check_size(self, job: NewJob) -> None:
        """Refuse arguments that are too large.

        Raises:
            ValueError: they take more than max_payload.
        """
        if len(job.arguments) * LONGEST_CHARACTER <= self.max_payload:
            return
        size = len(job.arguments.encode())
        if size <= self.max_payload:
            return
        self.max_payload = self.store.settings().max_payload  # somebody may have raised it
        if size > self.max_payload:
            raise ValueError(
                f"the arguments of {job.task} take {size:,} bytes; {self.max_payload:,} are stored at most. Pass the"
                " path or the key of the data instead, or raise max_payload"
            )

    def wake(self) -> None:
        """Tell the node that there may be something to do; where there is none, those of other machines."""
        is_told = self.link.wake() if self.link is not None else self.ring()
        if not is_told:
            self.store.tell_nodes()

    def close(self) -> None:
        """Close what is open; the next use opens it again."""
        if self._store is not None:
            self._store.close()
        if self._bell is not None:
            self._bell.close()
