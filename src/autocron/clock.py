"""The only place that asks what time it is."""

import math
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from autocron.errors import ConfigError

Seconds = float | timedelta
"""A duration, as a developer may give it."""


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


def to_seconds(duration: Seconds, name: str) -> float:
    """Give a duration in seconds.

    Raises:
        ConfigError: it is not a duration, or negative.
    """
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"{name}: {seconds!r} is neither a number of seconds nor a timedelta")
    if not 0 <= seconds < math.inf:
        raise ConfigError(f"{name}: {seconds!r} is not a finite number of seconds from 0 on")
    return float(seconds)
