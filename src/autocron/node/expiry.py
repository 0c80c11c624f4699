"""The end of jobs that were not begun in time."""

import logging
from collections.abc import Callable, Iterable

from autocron.clock import Clock
from autocron.node.access import StoreAccess
from autocron.node.configuration import Configuration
from autocron.node.storage import Log

MAX_EXPIRED = 500


class Expiry:
    """Has jobs cancelled when their time is over.

    Args:
        store: where the jobs are.
        config: says how long results are kept.
        clock: tells what has expired.
        log: takes what there is to say.
        expired: called with the uuids of jobs that were cancelled.
    """

    def __init__(
        self,
        store: StoreAccess,
        config: Configuration,
        clock: Clock,
        log: Log,
        expired: Callable[[Iterable[str]], None],
    ) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._log = log
        self._expired = expired
        self._under_way = False
        self._look = True
        self.next: float | None = None  # when the next job expires, as far as is known

    def look(self) -> None:
        """There may be jobs that expire earlier than is known, or have expired."""
        self._look = True

    def sweep(self) -> None:
        """Cancel what has expired, if there may be something."""
        now = self._clock.now()
        if self._under_way or not (self._look or (self.next is not None and self.next <= now)):
            return
        self._look, self._under_way, self.next = False, True, None
        ttl = self._config.settings.result_ttl
        self._store.submit(lambda store: store.expire(MAX_EXPIRED, now, ttl), self._swept, self._failed)

    def _swept(self, result: tuple[list[str], float | None]) -> None:
        self._under_way = False
        expired, self.next = result
        if expired:
            self._log(
                logging.WARNING,
                f"jobs that were not begun in time (expires=), or waited for such, were cancelled: {len(expired)}",
            )
            self._expired(expired)

    def _failed(self) -> None:
        self._look, self._under_way = True, False
