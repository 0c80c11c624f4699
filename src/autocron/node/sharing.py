"""The work that is shared with other nodes: what they are told, and what is done about what they tell."""

from autocron import wire
from autocron.node.audience import Audience
from autocron.node.colleagues import Colleagues
from autocron.node.crew import Crew
from autocron.node.differences import declared
from autocron.node.exchange import Exchanger
from autocron.node.recovery import Recovery
from autocron.node.storage import StoreThread

WAIT_HERE = 0.02  # seconds; most of what is waited for ends here and by then, and need not be marked in the database


class Sharing:
    """Where this node is alone, nothing of this happens.

    Args:
        crew: runs the jobs, or has no room for them.
        exchanger: looks for jobs.
        recovery: queues the jobs of dead nodes again.
        audience: knows who waits for which job.
        store: claims as the number under which the others know this node.
    """

    def __init__(
        self,
        crew: Crew,
        exchanger: Exchanger,
        recovery: Recovery,
        audience: Audience,
        store: StoreThread,
    ) -> None:
        self._crew = crew
        self._exchanger = exchanger
        self._recovery = recovery
        self._audience = audience
        self._store = store
        self._colleagues: Colleagues | None = None
        self._has_news = False
        self._awaited: list[tuple[float, str]] = []  # from when on others are asked for them
        self._ended: list[str] = []  # jobs that may have come to their end elsewhere
        self.may_work = True  # it is alone, or the others know it

    def join(self, colleagues: Colleagues) -> None:
        """Share with these."""
        self._colleagues = colleagues
        self.may_work = False

    def close(self) -> None:
        """Leave the others."""
        if self._colleagues:
            self._colleagues.close()

    # What is told

    def there_may_be_work(self) -> None:
        """Something was stored, or more is due than was claimed."""
        self._has_news = True

    def subscribed(self, uuid: str, now: float) -> None:
        """Somebody here waits for this job."""
        if self._colleagues:
            self._awaited.append((now + WAIT_HERE, uuid))

    def ended(self, uuids: list[str]) -> None:
        """These jobs, for which somebody waits elsewhere, have ended here."""
        if self._colleagues and uuids:
            self._colleagues.tell_done(uuids)

    def declared(self, report: wire.Report) -> None:
        """Show the others what workers have found here."""
        if self._colleagues:
            self._colleagues.declare(declared(report.imported, report.schedules))

    def next_look(self) -> list[float]:
        """Say when there will be something to tell."""
        return [moment for moment, _ in self._awaited[:1]]

    def tell(self, now: float, *, is_working: bool) -> None:
        """Tell what is to be told now; while a claim is under way it is not known what is left for others."""
        if self._colleagues is None:
            return
        if self._has_news and (self._exchanger.is_behind or not self._exchanger.under_way):
            if is_working and self._crew.room():
                self._has_news = self._exchanger.under_way
            else:
                self._has_news = False
                self._colleagues.offer_work()
        if self._awaited and self._awaited[0][0] <= now:
            due = [uuid for moment, uuid in self._awaited if moment <= now]
            self._awaited = self._awaited[len(due) :]
            if awaited := self._audience.awaited(due):
                self._colleagues.wait_for(awaited)

    # What others tell

    def joined(self, node: int) -> None:
        """Claim as this one from now on, after the jobs of whoever was here before are queued again."""
        self._store.submit(lambda store: store.become(node), lambda _: None)
        self.may_work = True

    def silenced(self) -> None:
        """Others may run the jobs of this node: stop them."""
        self._crew.give_up_waiting()
        self._crew.kill()

    def expelled(self) -> None:
        """Others run the jobs of this node: stop them, and join anew."""
        self.silenced()
        self.may_work = self._recovery.done = False

    def buried(self) -> None:
        """Queue the jobs of a dead node again."""
        if self._recovery.done:
            self._recovery.begin()

    def work_elsewhere(self) -> None:
        """There are jobs that others have no room for."""
        self._exchanger.look = True

    def done_elsewhere(self, uuids: list[str]) -> None:
        """These jobs may have come to their end."""
        self._ended += self._audience.awaited(uuids)

    def take_ended(self) -> list[str]:
        """Give these, once."""
        ended, self._ended = self._ended, []
        return ended
