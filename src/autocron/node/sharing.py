"""What other nodes are told: that there is work for them, and which jobs of theirs have ended."""

from collections.abc import Callable

from autocron.clock import Clock
from autocron.node.audience import Audience
from autocron.node.colleagues import Nobody

WAIT_HERE = 0.02  # seconds; most of what is waited for ends here and by then, and need not be marked in the database


class Sharing:
    """Decides when the others hear something.

    Args:
        colleagues: tells them.
        audience: knows who waits for which job.
        clock: measures time.
        has_room: can this node take jobs now?
    """

    def __init__(self, colleagues: Nobody, audience: Audience, clock: Clock, has_room: Callable[[], bool]) -> None:
        self._colleagues = colleagues
        self._audience = audience
        self._clock = clock
        self._has_room = has_room
        self._has_news = False
        self._awaited: list[tuple[float, str]] = []  # from when on others are asked for them

    def there_may_be_work(self) -> None:
        """Something was stored, or more is due than was claimed."""
        self._has_news = True

    def subscribed(self, uuid: str) -> None:
        """Somebody here waits for this job."""
        self._awaited.append((self._clock.monotonic() + WAIT_HERE, uuid))

    def ended(self, uuids: list[str]) -> None:
        """These jobs, for which somebody waits elsewhere, have ended here."""
        if uuids:
            self._colleagues.tell_done(uuids)

    def next_look(self) -> list[float]:
        """Say when there will be something to tell."""
        return [moment for moment, _ in self._awaited[:1]]

    def tell(self, now: float, *, is_claiming: bool) -> None:
        """Tell what is to be told now; while a claim is under way it is not known what is left for others."""
        if self._has_news and not is_claiming:
            self._has_news = False
            if not self._has_room():
                self._colleagues.offer_work()
        if self._awaited and self._awaited[0][0] <= now:
            due = [uuid for moment, uuid in self._awaited if moment <= now]
            self._awaited = self._awaited[len(due) :]
            if awaited := self._audience.awaited(due):
                self._colleagues.wait_for(awaited)
