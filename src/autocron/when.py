"""When a call is to run: after a delay, or at a moment."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from autocron.clock import to_timestamp
from autocron.errors import ConfigError


@dataclass(frozen=True)
class When:
    """When a call is to run."""

    delay: float = 0.0
    moment: float | None = None

    @classmethod
    def of(
        cls,
        *,
        weeks: float = 0,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        schedule: datetime | None = None,
    ) -> Self:
        """Make it of what a developer wrote.

        Raises:
            ConfigError: this is no time, or it is two.
        """
        delays = (weeks, days, hours, minutes, seconds)
        if schedule is not None:
            if any(delays):
                raise ConfigError("give either a delay, such as minutes=5, or schedule=; not both")
            if not isinstance(schedule, datetime):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ConfigError(f"schedule: {schedule!r} is not a datetime")
            return cls(moment=to_timestamp(schedule))
        try:
            delay = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"this is not a delay: {error}") from error
        return cls(delay=delay)

    def due(self, now: float) -> float:
        """Give the time at which a call made now is due."""
        return max(now, now + self.delay if self.moment is None else self.moment)
