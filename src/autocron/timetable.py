"""When things are due, on the clock or on the wall clock of a zone.

Everything here is arithmetic on moments that the caller hands in; a moment is in seconds since the epoch. ``cronsim``
knows which wall-clock minutes an expression means. What a change of the zone's offset does to them is decided here,
by the rule of Debian's cron (docs/cron.md tells it to users):

* Where minutes or hours begin with ``*``, a slot is whatever minute the wall clock shows.
* Any other expression names times of the day. What the clock skips is due right after the gap, once; what the clock
  shows twice is due the first time only.
* A change of three hours or more is a correction of the clock: nothing is made up for, nothing is held back.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim

_DAY = 24 * 3600
_CORRECTION = 3 * 3600  # a change of the offset as large as this is no daylight saving time


@dataclass(frozen=True)
class Timetable(ABC):
    """When a schedule is due; made by ``crontab.parse`` or ``crontab.from_stored``.

    Attributes:
        text: the normalised form that is stored, ``"30 2 * * *"`` or ``"every 1.5"``.
        tz: the IANA name of the zone whose wall clock counts; ``"UTC"`` for intervals.
    """

    text: str
    tz: str

    @abstractmethod
    def next_after(self, moment: float) -> float | None:
        """Give the first slot strictly after a moment; None if there is none within fifty years."""

    @abstractmethod
    def latest(self, after: float, until: float) -> float | None:
        """Give the last slot in (after, until], without walking through those before it; None if there is none."""

    def slots(self, after: float, until: float, limit: int) -> list[float]:
        """Give the first slots in (after, until], in order, ``limit`` at most."""
        found: list[float] = []
        slot = self.next_after(after)
        while slot is not None and slot <= until and len(found) < limit:
            found.append(slot)
            slot = self.next_after(slot)
        return found

    def hint(self) -> str | None:
        """Say what was probably meant instead; None for an expression that looks all right."""
        return None


@dataclass(frozen=True)
class Interval(Timetable):
    """Every so many seconds, counted from the epoch."""

    seconds: float = field(compare=False)

    def next_after(self, moment: float) -> float:
        """Give the first multiple of the interval after a moment."""
        return (self._count(moment) + 1) * self.seconds

    def latest(self, after: float, until: float) -> float | None:
        """Give the last multiple in (after, until]."""
        slot = self._count(until) * self.seconds
        return slot if slot > after else None

    def _count(self, moment: float) -> int:
        count = math.floor(moment / self.seconds)
        while count * self.seconds > moment:  # the division may have rounded up,
            count -= 1
        while (count + 1) * self.seconds <= moment:  # or down
            count += 1
        return count


@dataclass(frozen=True)
class Crontab(Timetable):
    """Five fields, on the wall clock of a zone."""

    zone: ZoneInfo = field(compare=False, repr=False)

    def next_after(self, moment: float) -> float | None:
        """Give the first slot after a moment, by going from one change of the zone's offset to the next."""
        now = math.floor(moment)
        start = now - _CORRECTION  # early enough to see a change that still matters now
        offset = _offset(self.zone, start)
        first_wall = start + offset
        while True:
            wall = self._match(first_wall if now < start else max(first_wall, now + offset + 1))
            if wall is None:
                return None
            change = _first_change(self.zone, start, wall - offset)
            if change is None:
                return float(max(wall - offset, start))
            start, previous, offset = change, offset, _offset(self.zone, change)
            first_wall = change + (previous if self._ignores_change(offset - previous) else offset)

    def latest(self, after: float, until: float) -> float | None:
        """Give the last slot in (after, until], by halving."""
        found = self.next_after(after)
        if found is None or found > until:
            return None
        rest = until
        while rest - found >= 1:  # there is no slot in (rest, until]
            middle = (found + rest) / 2
            slot = self.next_after(middle)
            if slot is None or slot > until:
                rest = middle
            else:
                found = slot
        return found

    def hint(self) -> str | None:
        """Point out minutes that were probably left as they were while the hours were chosen."""
        minutes, hours, *days = self.text.split()
        if minutes != "*" or hours == "*" or "-" in hours:
            return None
        once = " ".join(["0", hours, *days])
        return f'"{self.text}" runs in every minute of the hours it names; once in each is "{once}"'

    def _match(self, wall: int) -> int | None:
        """Give the first wall-clock second from this one on that the expression means, as if it were UTC."""
        match = next(CronSim(self.text, datetime.fromtimestamp(wall - 1, UTC)), None)
        return None if match is None else round(match.timestamp())

    def _ignores_change(self, change: int) -> bool:
        """Tell whether the old wall clock goes on counting, so that no slot is skipped or repeated."""
        minutes, hours, *_ = self.text.split()
        return not minutes.startswith("*") and not hours.startswith("*") and abs(change) < _CORRECTION


def _offset(zone: ZoneInfo, moment: int) -> int:
    """Give the seconds by which the zone's wall clock is ahead of UTC."""
    return round(datetime.fromtimestamp(moment, zone).replace(tzinfo=UTC).timestamp()) - moment


def _first_change(zone: ZoneInfo, after: int, until: int) -> int | None:
    """Give the first second in (after, until] that has another offset than the one before it."""
    offset = _offset(zone, after)
    while after < until:
        end = min(after + _DAY, until)  # no zone changes its offset and changes it back within a day
        if _offset(zone, end) != offset:
            return after + bisect_left(range(after, end), True, key=lambda moment: _offset(zone, moment) != offset)
        after = end
    return None
