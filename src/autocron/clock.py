"""The only place that asks what time it is."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the rest of autocron needs to know about time."""

    def now(self) -> float:
        """Seconds since the epoch; may step when the machine's clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds that only ever go forward; for durations and deadlines."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that only ever go forward."""
        return time.monotonic()


def from_timestamp(seconds: float) -> datetime:
    """Give stored seconds since the epoch as an aware datetime in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def to_timestamp(moment: datetime) -> float:
    """Give a datetime as seconds since the epoch; a naive one is local time."""
    return moment.timestamp()
