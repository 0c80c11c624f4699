"""The line that tells what is on, and the hints about schedules that probably mean something else."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from autocron import crontab
from autocron.model import Declaration
from autocron.text import duration


def summary(
    pools: Mapping[str, int], declarations: Sequence[Declaration], next_slot: tuple[float, str] | None, now: float
) -> tuple[str, list[str]]:
    """Give the line about workers and schedules, and the hints."""
    parts = [_workers(pools), _count(len(declarations), "schedule")]
    if next_slot:
        parts.append(f"next: {_next(declarations, next_slot, now)}")
    timetables = ((one.name, crontab.from_stored(one.text, one.tz)) for one in declarations)
    hints = [f"schedule {name}: {hint}" for name, timetable in timetables if (hint := timetable.hint())]
    return ", ".join(parts), hints


def _workers(pools: Mapping[str, int]) -> str:
    text = _count(sum(pools.values()), "worker")
    named = ", ".join(f"{queue} {count}" for queue, count in pools.items() if queue)
    return f"{text} ({named})" if named else text


def _next(declarations: Sequence[Declaration], next_slot: tuple[float, str], now: float) -> str:
    slot, name = next_slot
    zone = next((one.tz for one in declarations if one.name == name), "UTC")
    moment = datetime.fromtimestamp(slot, ZoneInfo(zone))
    form = "%H:%M" if slot - now < 86400 else "%Y-%m-%d %H:%M"
    return f"{name} at {moment:{form}} (in {duration(slot - now)})"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
