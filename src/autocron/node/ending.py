"""How a node comes to its end: grace, ask, kill, tell the store. Pure: the loop carries out the steps."""

from enum import Enum, StrEnum, auto

ASK_TIME = 1.0  # seconds between asking a job to stop and killing its worker


class Phase(StrEnum):
    """What the node is doing."""

    RUNNING = "running"
    DRAINING = "draining"  # claims nothing more; running jobs may finish
    ASKING = "asking"  # running jobs were asked to stop
    KILLING = "killing"  # their workers were killed
    FINISHING = "finishing"  # all that is left is to tell the store


class Step(Enum):
    """What is to be done to the workers now."""

    INTERRUPT = auto()
    KILL = auto()
    FINISH = auto()


class Ending:
    """Where a node stands between running and its end."""

    def __init__(self) -> None:
        self.phase = Phase.RUNNING
        self.until: float | None = None  # when the next step is due if nothing happens
        self._final = False

    @property
    def running(self) -> bool:
        """No end is in sight."""
        return self.phase is Phase.RUNNING

    def begin(self, now: float, grace: float, *, final: bool) -> bool:
        """Let running jobs finish for the grace; the shortest grace counts.

        Args:
            now: the monotonic time.
            grace: in seconds.
            final: nobody can call the node back from this.

        Returns:
            True when the node was running until now.
        """
        self._final = self._final or final
        if self.phase in (Phase.KILLING, Phase.FINISHING):
            return False
        until = now + grace
        self.until = until if self.until is None else min(self.until, until)
        was_running = self.running
        if was_running:
            self.phase = Phase.DRAINING
        return was_running

    def resume(self) -> bool:
        """Go on after all, if that is still possible: an application has come back."""
        if self._final or self.phase not in (Phase.DRAINING, Phase.ASKING):
            return False
        self.phase, self.until = Phase.RUNNING, None
        return True

    def abandon(self) -> None:
        """End at once, without anything to finish."""
        self.phase, self.until = Phase.KILLING, None

    def step(self, now: float, *, idle: bool, gone: bool) -> Step | None:
        """Give the step that is due.

        Args:
            now: the monotonic time.
            idle: no job is with any worker, and none is on its way.
            gone: no worker is left.
        """
        over = self.until is not None and now >= self.until
        match self.phase:
            case Phase.DRAINING | Phase.ASKING if idle:
                return self._finish(now)
            case Phase.DRAINING if over:
                self.phase, self.until = Phase.ASKING, now + ASK_TIME
                return Step.INTERRUPT
            case Phase.ASKING if over:
                self.phase, self.until = Phase.KILLING, None
                return Step.KILL
            case Phase.KILLING if gone:
                return self._finish(now)
            case Phase.FINISHING if over:
                self.until = None
                return Step.KILL
            case _:
                return None

    def _finish(self, now: float) -> Step:
        self.phase, self.until = Phase.FINISHING, now + ASK_TIME
        return Step.FINISH

    @property
    def finishing(self) -> bool:
        """No worker has anything left to do."""
        return self.phase is Phase.FINISHING

    @property
    def out_of_time(self) -> bool:
        """Whatever is not stored by now must be left to the next node."""
        return self.finishing and self.until is None
