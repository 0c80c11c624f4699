"""The exchange of jobs with the store: what has ended goes in, what is due comes out."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from random import random

from autocron.clock import Clock
from autocron.model import Claim, News, Outcome, Run, Transition
from autocron.node.access import StoreAccess
from autocron.node.configuration import Configuration
from autocron.node.pools import pools_of, unserved
from autocron.node.storage import Log
from autocron.node.telling import tell
from autocron.retry import decide, fail_instead
from autocron.store.claiming import earliest, next_moment
from autocron.store.exchange import Exchange

MAX_CLAIMS = 512
WORTH_AHEAD = 64  # ends; so many are stored before an exchange under way is done, or beside a claim that begins
WORTH_BESIDE = 256  # the same beside a claim that is under way: small exchanges cost more, and the next is near


@dataclass(frozen=True, eq=False)
class _Sent:
    """An exchange that is under way."""

    transitions: list[Transition]
    news: dict[str, News]
    wanted: Mapping[str, int]
    store: StoreAccess  # the way that it takes


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
        self._beside: StoreAccess | None = None
        self._sent: list[_Sent] = []
        self._news: dict[str, News] = {}  # by uuid
        self._sent_before: set[str] = set()  # in an exchange that failed: it may have been stored all the same
        self._failed_instead: set[str] = set()  # jobs whose outcome the store did not take
        self._abandoned = False
        self._told: set[str] = set()  # queues that have jobs and no workers
        self.in_doubt = False  # an exchange failed: it may have been stored, and have claimed jobs, all the same
        self.look = True  # there may be jobs that are due
        self.due: dict[str, float] = {}  # by queue, when it may have something to be claimed
        self._due_beside: dict[str, float] = {}  # the same, as an exchange beside the last one has found it

    @property
    def under_way(self) -> bool:
        """The store is at work."""
        return bool(self._sent)

    @property
    def is_behind(self) -> bool:
        """The store has more to do than one exchange."""
        return len(self._sent) > 1

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

    def work_beside(self, store: StoreAccess) -> None:
        """Use this other way to the same store while the first one is busy."""
        self._beside = store

    def rehearse(self) -> None:
        """Have the database make its plans, on each way to it."""
        for store in filter(None, (self._store, self._beside)):
            store.submit(lambda store: store.rehearse(self._clock.now()), lambda _: None)

    def tell(self, news: News) -> None:
        """Take what a running job has said; the next exchange stores it."""
        self._news[news.uuid] = news.after(self._news.get(news.uuid))

    def abandon(self) -> None:
        """Store nothing more."""
        self._abandoned = True

    def uuids(self) -> set[str]:
        """Give the names of the jobs whose end is not stored yet."""
        waiting = chain(self._transitions, *(sent.transitions for sent in self._sent))
        return {transition.uuid for transition in waiting}

    def may_claim(self, pool: str) -> bool:
        """There may be due jobs for a pool, and the store may be given another exchange."""
        if not self._may_send():
            return False
        next_due = self.next_due(pool)
        return self.look or (next_due is not None and next_due <= self._clock.now())

    def wanted(self, pool: str) -> int:
        """Say how many jobs are being claimed for a pool."""
        return sum(sent.wanted.get(pool, 0) for sent in self._sent)

    def _may_send(self) -> bool:
        """May the store be given an exchange?"""
        under_way = self._under_way_on(self._store)
        is_ahead = under_way == 1 and self._way_beside() is None and len(self._transitions) >= WORTH_AHEAD
        return under_way == 0 or is_ahead

    def _way_beside(self) -> StoreAccess | None:
        """Give the other way to the store, if ends may take it.

        What a job has said must not be overtaken by its end. Two exchanges that end jobs under limits would wait for
        each other.
        """
        is_said = self._news or any(sent.news for sent in self._sent)
        if self._beside is None or is_said or self._config.has_limits:
            return None
        return self._beside if self._clock.monotonic() >= self._beside.not_before else None

    def _under_way_on(self, store: StoreAccess | None) -> int:
        return sum(sent.store is store for sent in self._sent)

    def next_due(self, pool: str) -> float | None:
        """Say when a pool may have something to do."""
        return next_moment(self.due, pool)

    def exchange(self, wanted: Mapping[str, int]) -> None:
        """Store what was said and what has ended, claim so many due jobs of these pools, unless the store is busy.

        Where there are two ways and many ends, one stores them while the other one claims.
        """
        if self._abandoned:
            return
        is_free, beside = self._may_send(), self._way_beside()
        worth = WORTH_AHEAD if is_free and wanted else WORTH_BESIDE
        if beside and len(self._transitions) >= worth and not self._under_way_on(beside):
            self._send(beside, {}, *self._take())
        if not is_free:
            return
        if wanted and beside and self._under_way_on(beside):
            self._send(self._store, wanted, [], {})
        elif wanted or self._transitions or self._news:
            self._send(self._store, wanted, *self._take())

    def _take(self) -> tuple[list[Transition], dict[str, News]]:
        taken = self._transitions, self._news
        self._transitions, self._news = [], {}
        return taken

    def _send(
        self, store: StoreAccess, wanted: Mapping[str, int], transitions: list[Transition], news: dict[str, News]
    ) -> None:
        sent = _Sent(transitions, news, wanted, store)
        self._sent.append(sent)
        self.look = self.look and not wanted
        if store is self._store:
            self._due_beside = {}
        now = self._clock.now()
        store.submit(
            lambda store: store.exchange(sent.transitions, wanted, now, list(sent.news.values())),
            lambda result: self._done(sent, result),
            lambda: self._failed(sent),
        )

    def _failed(self, sent: _Sent) -> None:
        self._sent.remove(sent)
        self.in_doubt = True
        newer, self._news = self._news, sent.news
        for one in newer.values():
            self.tell(one)
        self._transitions[:0] = sent.transitions
        self._sent_before.update(transition.uuid for transition in sent.transitions)
        self.look = True

    def _done(self, sent: _Sent, result: Exchange) -> None:
        self._sent.remove(sent)
        transitions = sent.transitions
        sent.store.works()
        if sent.store is self._beside:
            self.due, self._due_beside = earliest(self.due, result.due), result.due
        else:
            self.due = earliest(result.due, self._due_beside)
        self._tell_unserved()
        self._exchanged(transitions, result)
        if result.cancelled:
            text = "jobs were cancelled because others, for which they waited, have not succeeded"
            self._log(logging.WARNING, f"{text}: {len(result.cancelled)}")
        for uuid in set(result.refused) - self._sent_before:
            self._log(logging.WARNING, f"a late outcome of job {uuid} was refused by the database")
        if self._sent_before:
            self._sent_before.difference_update(one.uuid for one in transitions)
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
