"""Jobs that somebody wants to be cancelled while they run."""

from collections.abc import Iterable, Sequence

from autocron.clock import Clock
from autocron.model import Finished, Transition
from autocron.node.access import StoreAccess
from autocron.node.configuration import Configuration
from autocron.node.crew import Crew


class Cancelling:
    """Stops those that run here; one that is queued again meanwhile is cancelled in the database.

    Args:
        store: where the jobs are.
        config: says how long results are kept.
        crew: has the jobs that run.
        clock: tells when that was.
    """

    def __init__(self, store: StoreAccess, config: Configuration, crew: Crew, clock: Clock) -> None:
        self._store = store
        self._config = config
        self._crew = crew
        self._clock = clock
        self._asked: set[str] = set()

    def ask(self, uuids: Iterable[str]) -> None:
        """Somebody wants these jobs to stop."""
        for uuid in uuids:
            self._asked.add(uuid)
            if not self._crew.cancel(uuid, self._config.settings.grace):
                self._cancel_queued(uuid)

    def exchanged(self, transitions: Sequence[Transition]) -> None:
        """Note what has become of jobs."""
        if self._asked:
            for transition in transitions:
                if transition.uuid not in self._asked:
                    continue
                if isinstance(transition, Finished):
                    self._asked.discard(transition.uuid)
                else:
                    self._cancel_queued(transition.uuid)

    def _cancel_queued(self, uuid: str) -> None:
        now, ttl = self._clock.now(), self._config.settings.result_ttl
        self._store.submit(lambda store: store.cancel(uuid, now, ttl), lambda _: None)
