"""What is done when it is unknown whether an exchange was stored."""

from autocron.model import Claim, NotBegun
from autocron.node.access import StoreAccess
from autocron.node.crew import Crew
from autocron.node.exchange import Exchanger


class Doubt:
    """Gives back jobs that the database has given to this node and that never arrived here.

    Args:
        store: says what this node holds.
        exchanger: knows that there is a doubt, and what is about to be stored.
        crew: has the jobs that arrived.
    """

    def __init__(self, store: StoreAccess, exchanger: Exchanger, crew: Crew) -> None:
        self._store = store
        self._exchanger = exchanger
        self._crew = crew

    def settle(self) -> None:
        """Look, if there is a doubt."""
        if not self._exchanger.in_doubt:
            return
        self._exchanger.in_doubt = False
        before = self._known()
        self._store.submit(lambda store: store.held(), lambda held: self._give_back(held, before), self._failed)

    def _known(self) -> set[str]:
        return self._crew.uuids() | self._exchanger.uuids()

    def _failed(self) -> None:
        self._exchanger.in_doubt = True

    def _give_back(self, held: list[Claim], before: set[str]) -> None:
        known = before | self._known()  # some were here and are stored by now, others have come since
        for claim in held:
            if claim.uuid not in known:
                self._exchanger.settle(claim, NotBegun(), claim.claimed_at, claim.claimed_at)
