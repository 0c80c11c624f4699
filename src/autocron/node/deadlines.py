"""Which running jobs are to stop, and when their worker is ended because they did not. Pure."""

from dataclasses import dataclass

from autocron.errors import TaskTimeout
from autocron.failure import outcome_of
from autocron.model import CANCELLED, Cancelled, Claim, Outcome, Succeeded, Why
from autocron.retry import policy_of


@dataclass
class _Asked:
    """A job that was asked to stop."""

    worker: int
    claim: Claim
    why: Why
    grace: float
    until: float
    report: str = ""  # what its worker said about it at that moment


class Deadlines:
    """The jobs that have a timeout or were asked to stop; others cost nothing here."""

    def __init__(self) -> None:
        self._timed: dict[str, tuple[float, int, Claim]] = {}  # by uuid: when the time is over, worker
        self._asked: dict[str, _Asked] = {}  # by uuid

    def begun(self, worker: int, claim: Claim, now: float) -> None:
        """Note that a worker has begun a job that has a timeout."""
        timeout = policy_of(claim.policy).timeout
        if timeout is not None:
            self._timed[claim.uuid] = now + timeout, worker, claim

    def due(self, now: float) -> list[tuple[int, Claim]]:
        """Give the workers and the jobs whose time is over, each once."""
        due = [(worker, claim) for moment, worker, claim in self._timed.values() if now >= moment]
        for _, claim in due:
            del self._timed[claim.uuid]
        return due

    def ask(self, worker: int, claim: Claim, why: Why, grace: float, now: float) -> bool:
        """Note that a job is asked to stop; False if it was before."""
        self._timed.pop(claim.uuid, None)
        if claim.uuid in self._asked:
            return False
        self._asked[claim.uuid] = _Asked(worker, claim, why, grace, now + grace)
        return True

    def explain(self, uuid: str, report: str) -> None:
        """Keep what a worker said about a job when it was asked."""
        if asked := self._asked.get(uuid):
            asked.report = report

    def overdue(self, now: float) -> set[int]:
        """Give the workers with jobs that did not stop."""
        return {asked.worker for asked in self._asked.values() if now >= asked.until}

    def ended(self, uuid: str, outcome: Outcome) -> Outcome:
        """Note that a job has come to an end of its own; give what that means."""
        self._timed.pop(uuid, None)
        asked = self._asked.pop(uuid, None)
        if asked and asked.why == "cancelled" and not isinstance(outcome, Succeeded):
            return Cancelled(CANCELLED)
        return outcome

    def lost(self, uuid: str) -> Outcome | None:
        """Note that a job is lost with its worker; give the outcome if it was asked to stop."""
        self._timed.pop(uuid, None)
        asked = self._asked.pop(uuid, None)
        if asked is None:
            return None
        if asked.why == "cancelled":
            return Cancelled(CANCELLED)
        timeout = policy_of(asked.claim.policy).timeout
        text = f"ran for longer than {timeout:g} s and did not stop within {asked.grace:g} s: its worker was ended"
        error = TaskTimeout(text).with_traceback(None)
        return outcome_of(error, __name__, asked.claim.policy, asked.report or "(its worker did not answer)")

    def next_look(self) -> float | None:
        """Say when there is something to do."""
        moments = [moment for moment, _, _ in self._timed.values()]
        return min([*moments, *(asked.until for asked in self._asked.values())], default=None)
