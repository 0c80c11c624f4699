"""The first work of a node, and what others leave to it: the jobs of nodes that are no more are queued again."""

import logging

import msgspec

from autocron.clock import Clock
from autocron.model import Finished, NodeLost, Run, Settings, Transition
from autocron.node.access import StoreAccess
from autocron.node.configuration import Configuration, read_settings
from autocron.node.exchange import MAX_CLAIMS, Exchanger
from autocron.node.storage import Log
from autocron.retry import decide
from autocron.store.base import Store


class Recovered(msgspec.Struct, frozen=True):
    """What was made of the jobs of a node that is no more, and what its applications were."""

    lost: list[Transition]
    unstorable: dict[str, str]
    parked: list[str]
    modules: list[str]


class Recovery:
    """Until this is done once, nothing is claimed."""

    def __init__(self, store: StoreAccess, exchanger: Exchanger, config: Configuration, log: Log, clock: Clock) -> None:
        self._store = store
        self._exchanger = exchanger
        self._config = config
        self._log = log
        self._clock = clock
        self._under_way = False
        self.done = False
        self.modules: list[str] = []  # in which applications have declared tasks so far

    def begin(self) -> None:
        """Recover, or try it again, unless it is under way."""
        if not self._under_way:
            self._under_way = True
            now = self._clock.now()
            self._store.submit(lambda store: recover(store, now), self._recovered, self._failed)

    def _failed(self) -> None:
        self._under_way = False

    def _recovered(self, result: Recovered) -> None:
        self.done, self._under_way = True, False
        self.modules = result.modules
        self._store.works()
        self._exchanger.report_bad_rows(result.lost, result.unstorable, result.parked)
        self._config.load()
        self._exchanger.rehearse()
        if lost := len(result.lost):
            failed = sum(isinstance(transition, Finished) for transition in result.lost)
            text = (
                f"{lost} jobs were held by a node when it died: {lost - failed} are queued again, {failed} have failed"
            )
            self._log(logging.WARNING, text)


def recover(store: Store, now: float) -> Recovered:
    """Queue the jobs of a node that is no more again."""
    settings, unstorable = read_settings(store), dict[str, str]()
    settings = settings if isinstance(settings, Settings) else Settings()
    claims, parked = store.recover()
    lost = [decide(Run(claim, NodeLost(), claim.claimed_at, claim.claimed_at), settings) for claim in claims]
    for start in range(0, len(lost), MAX_CLAIMS):
        unstorable |= store.exchange(lost[start : start + MAX_CLAIMS], 0, now).unstorable
    return Recovered(lost, unstorable, parked, store.modules())
