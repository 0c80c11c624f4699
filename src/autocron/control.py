"""What a task raises to say what is to become of its job."""

from autocron.clock import Seconds, to_seconds


class _Again(Exception):
    """Run the job again after a while."""

    def __init__(self, delay: Seconds) -> None:
        self.delay = to_seconds(delay, "delay")
        super().__init__(delay)

    def __str__(self) -> str:
        return f"again in {self.delay:g} s"


class Snooze(_Again):
    """Run the job again later; it uses up no retry, and there is no limit.

    Args:
        delay: seconds or a timedelta.

    Example:
        ``if not report.is_ready: raise Snooze(60)``
    """


class RetryLater(_Again):
    """Run the job again later; it uses up one retry, and the job fails when none is left.

    Args:
        delay: seconds or a timedelta, instead of the pause that the task's Retry would make.

    Example:
        ``raise RetryLater(float(response.headers["Retry-After"]))``
    """


class Cancel(Exception):
    """End the job as cancelled, not as failed: ``raise Cancel("the order was withdrawn")``."""
