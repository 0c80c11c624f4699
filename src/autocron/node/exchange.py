"""The exchange of jobs with the store: what has ended goes in, what is due comes out, one transaction at a time."""

import logging
from collections.abc import Callable, Mapping, Sequence
from random import random

from autocron.clock import Clock
from autocron.model import Claim, News, Outcome, Run, Transition
from autocron.node.access import StoreAccess
from autocron.node.configuration import Configuration
from autocron.node.pools import pools_of, unserved
from autocron.node.storage import Log
from autocron.node.telling import tell
from autocron.retry import decide, fail_instead
from autocron.store.claiming import ANY
from autocron.store.exchange import Exchange

MAX_CLAIMS = 512


class Exchanger:
    """Stores what becomes of jobs and claims those that are due.

    Args:
        store: where the jobs are.
        config: has the settings by which it is decided what becomes of a job.
        clock: tells what is due.
        log: takes what there is to say.
        exchanged: called with what was stored and what that gave, each time.
    """

    def __init__(
        self,
        store: StoreAccess,
        config: Configuration,
        clock: Clock,
        log: Log,
        exchanged: Callable[[Sequence[Transition], Exchange], None],
    ) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._log = log
        self._exchanged = exchanged
        self._transitions: list[Transition] = []
        self._sent: list[Transition] = []  # in the exchange that is under way
        self._news: dict[str, News] = {}  # by uuid
        self._sent_before: set[str] = set()  # in an exchange that failed: it may have been stored all the same
        self._failed_instead: set[str] = set()  # jobs whose outcome the store did not take
        self._abandoned = False
        self._told: set[str] = set()  # queues that have jobs and no workers
        self.under_way = False
        self.in_doubt = False  # an exchange failed: it may have been stored, and have claimed jobs, all the same
        self.look = True  # there may be jobs that are due
        self.due: dict[str, float] = {}  # by queue, when it may have something to be claimed

    @property
    def idle(self) -> bool:
        """Nothing is left to store."""
        return not self.under_way and (self._abandoned or not (self._transitions or self._news))

    def settle(self, claim: Claim, outcome: Outcome, started_at: float, finished_at: float) -> None:
        """Decide what becomes of a job; the next exchange stores it."""
        run = Run(claim, outcome, started_at, finished_at)
        transition = decide(run, self._config.settings, random())
        if told := tell(run, transition):
            self._log(*told)
        self._transitions.append(transition)

    def tell(self, news: News) -> None:
        """Take what a running job has said; the next exchange stores it."""
        self._news[news.uuid] = news.after(self._news.get(news.uuid))

    def abandon(self) -> None:
        """Store nothing more."""
        self._abandoned = True

    def uuids(self) -> set[str]:
        """Give the names of the jobs whose end is not stored yet."""
        waiting = self._transitions + self._sent if self.under_way else self._transitions
        return {transition.uuid for transition in waiting}

    def may_claim(self, pool: str) -> bool:
        """There may be due jobs for a pool, and no exchange is under way."""
        if self.under_way:
            return False
        next_due = self.next_due(pool)
        return self.look or (next_due is not None and next_due <= self._clock.now())

    def next_due(self, pool: str) -> float | None:
        """Say when a pool may have something to do."""
        return min(self.due.values(), default=None) if pool == ANY else self.due.get(pool)

    def exchange(self, wanted: Mapping[str, int]) -> None:
        """Store what was said and what has ended, claim so many due jobs of these pools, unless one is under way."""
        if self.under_way or self._abandoned or not (wanted or self._transitions or self._news):
            return
        transitions, self._transitions = self._transitions, []
        self._sent = transitions
        news, self._news = self._news, {}
        self.look = self.look and not wanted
        self.under_way = True
        now = self._clock.now()
        self._store.submit(
            lambda store: store.exchange(transitions, wanted, now, list(news.values())),
            lambda result: self._done(transitions, result),
            lambda: self._failed(transitions, news),
        )

    def _failed(self, transitions: list[Transition], news: dict[str, News]) -> None:
        self.under_way = False
        self.in_doubt = True
        newer, self._news = self._news, news
        for one in newer.values():
            self.tell(one)
        self._transitions[:0] = transitions
        self._sent_before.update(transition.uuid for transition in transitions)
        self.look = True

    def _done(self, transitions: list[Transition], result: Exchange) -> None:
        self.under_way = False
        self._store.works()
        self.due = result.due
        self._tell_unserved()
        self._exchanged(transitions, result)
        if result.cancelled:
            text = "jobs were cancelled because others, for which they waited, have not succeeded"
            self._log(logging.WARNING, f"{text}: {len(result.cancelled)}")
        sent_before, self._sent_before = self._sent_before, set()
        for uuid in set(result.refused) - sent_before:
            self._log(logging.WARNING, f"a late outcome of job {uuid} was refused by the database")
        if result.unstorable or result.parked:
            self.report_bad_rows(transitions, result.unstorable, result.parked)

    def _tell_unserved(self) -> None:
        pools = pools_of(self._config.settings)
        for queue in unserved(self.due, pools, self._clock.now()):
            if queue not in self._told:
                self._told.add(queue)
                served = ", ".join(pools)
                self._log(
                    logging.WARNING, f"jobs wait in the queue {queue!r}, which has no workers here: queues={served}"
                )

    def report_bad_rows(
        self, transitions: Sequence[Transition], unstorable: dict[str, str], parked: Sequence[str]
    ) -> None:
        """Let the jobs fail whose outcome the store does not take; say so, and what was parked.

        Args:
            transitions: what was to be stored.
            unstorable: why some of them, by the uuid, could not be.
            parked: what is wrong with jobs that could not be claimed.
        """
        for text in parked:
            self._log(logging.ERROR, text)
        for transition in transitions:
            if why := unstorable.get(transition.uuid):
                self._fail_instead(transition, why)

    def _fail_instead(self, transition: Transition, why: str) -> None:
        uuid = transition.uuid
        if uuid in self._failed_instead:
            self._log(logging.ERROR, f"job {uuid} stays as running until the next node starts: {why}")
            return
        self._log(logging.ERROR, f"the outcome of job {uuid} could not be stored, so it fails: {why}")
        self._failed_instead.add(uuid)
        self._transitions.append(fail_instead(transition, why, self._clock.now(), self._config.settings))
