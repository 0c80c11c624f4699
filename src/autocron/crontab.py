"""What developers write about time, understood: crontab expressions, keyword fields and intervals."""

import re
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import tzlocal
from cronsim import CronSim, CronSimError

from autocron.errors import ConfigError
from autocron.timetable import Crontab, Interval, Timetable

Numbers = int | Sequence[int] | None

_LONGEST_INTERVAL = 10 * 366 * 24 * 3600
_EVERY = "every "

_SHORTHANDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class _Field(NamedTuple):
    """One of the five fields: its allowed numbers, and names for numbers from the lowest on."""

    name: str
    lowest: int
    highest: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("minutes", 0, 59),
    _Field("hours", 0, 23),
    _Field("days", 1, 31),
    _Field("months", 1, 12, ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")),
    _Field("days_of_week", 0, 7, ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")),
)
_TERM = re.compile(r"(?P<first>\*|\w{1,99})(-(?P<last>\w{1,99}))?(/(?P<step>\d{1,99}))?", re.ASCII)


def parse(
    expression: str | None = None,
    *,
    minutes: Numbers = None,
    hours: Numbers = None,
    days: Numbers = None,
    months: Numbers = None,
    days_of_week: Numbers = None,
    every: float | timedelta | None = None,
    tz: str | tzinfo | None = None,
) -> Timetable:
    """Make a timetable of what a developer wrote: an expression, fields or an interval; of nothing, every minute.

    Args:
        expression: five fields as in crontab(5), or ``@hourly`` and its kin.
        minutes: 0..59; a number, several, or None for every one, as in all fields.
        hours: 0..23.
        days: 1..31, days of the month.
        months: 1..12.
        days_of_week: 0..7; 0 and 7 are Sunday.
        every: an interval of one second or more, in seconds; its slots are multiples of it since the epoch.
        tz: IANA name, ``ZoneInfo`` or ``datetime.UTC``; None is the machine's zone. Not for intervals.

    Raises:
        ConfigError: the expression can't be understood, or will never be due; the zone is unknown; two ways at once.
    """
    numbers = (minutes, hours, days, months, days_of_week)
    ways = (expression is not None, any(part is not None for part in numbers), every is not None)
    if sum(ways) > 1:
        raise ConfigError("give either a crontab expression, or fields such as hours=2, or every=; not two of them")
    if every is not None:
        if tz is not None:
            raise ConfigError("tz has no meaning for an interval: every= counts seconds, the same everywhere")
        return _interval(every)
    if expression is None:
        expression = " ".join(map(_field_text, _FIELDS, numbers))
    return _crontab(expression, _zone_name(tz))


def from_stored(text: str, tz: str) -> Timetable:
    """Make a timetable of its stored ``text`` and ``tz``.

    Raises:
        ConfigError: this text is not one that :class:`Timetable` writes, or the zone is unknown on this machine.
    """
    if not text.startswith(_EVERY):
        return _crontab(text, tz)
    try:
        return _interval(float(text.removeprefix(_EVERY)))
    except ValueError:
        raise ConfigError(f'"{text}" is not an interval such as "every 90"') from None


def _interval(every: object) -> Interval:
    seconds = every.total_seconds() if isinstance(every, timedelta) else every
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise ConfigError(f"every: {seconds!r} is neither a number of seconds nor a timedelta")
    if not 1 <= seconds <= _LONGEST_INTERVAL:
        raise ConfigError(f"every: {seconds!r} seconds is not within 1 second..10 years")
    return Interval(f"{_EVERY}{float(seconds)!r}".removesuffix(".0"), "UTC", float(seconds))


def _crontab(expression: object, tz: str) -> Crontab:
    parts = _five_parts(expression)
    text = " ".join(parts)
    parts = [
        ",".join(_checked(known, term, text) for term in part.split(","))
        for known, part in zip(_FIELDS, parts, strict=True)
    ]
    text = " ".join(parts)
    try:
        CronSim(text, datetime.fromtimestamp(0, UTC))
    except CronSimError:  # only one thing is left that it can object to
        raise ConfigError(f'days: {parts[2]} never comes in months {parts[3]} in "{text}"') from None
    return Crontab(text, tz, _zone(tz))


def _five_parts(expression: object) -> list[str]:
    if not isinstance(expression, str):
        raise ConfigError(f'a crontab expression is a text such as "30 2 * * *", not {expression!r}')
    if expression.strip().startswith("@"):
        return _long_form(expression.strip()).split()
    parts = expression.upper().split()
    if len(parts) == len(_FIELDS):
        return parts
    raise ConfigError(
        f'"{expression}" has {len(parts)} fields; there are five: minute, hour, day of the month, month, day of the'
        " week. For something finer than a minute use every="
    )


def _long_form(shorthand: str) -> str:
    if shorthand.lower() == "@reboot":
        raise ConfigError("@reboot is not a time; call the function when your application starts")
    try:
        return _SHORTHANDS[shorthand.lower()]
    except KeyError:
        raise ConfigError(f'"{shorthand}" is unknown; there are {", ".join(_SHORTHANDS)}') from None


def _checked(known: _Field, term: str, text: str) -> str:
    """Refuse what is no number, name, range or step, with a message that cronsim does not give."""
    match = _TERM.fullmatch(term)
    if match is None:
        raise _wrong(known, f'"{term}" is not a number, a range such as 1-5 or a step such as */2', text)
    first, last, step = match.group("first", "last", "step")
    numbers = [_number(known, word, text) for word in (first, last) if word not in ("*", None)]
    if last is None and first != "*" and step is not None:
        raise _wrong(known, f'a step needs a range: "{term}" is "{first}-{known.highest}/{step}"', text)
    if last is not None and first == "*":
        raise _wrong(known, f'"{term}" is not a range', text)
    if numbers != sorted(numbers):
        sunday = "; Sunday at the end of a range is 7" if last == "SUN" else ""
        raise _wrong(known, f'the range "{term}" runs backwards{sunday}', text)
    if step is not None and not 1 <= int(step) <= known.highest - known.lowest + 1:
        raise _wrong(known, f"a step of {step} is not within 1..{known.highest - known.lowest + 1}", text)
    return first if len(numbers) == 2 and numbers[0] == numbers[1] else term  # cronsim takes 5-5/2 for 5-59/2


def _number(known: _Field, word: str, text: str) -> int:
    if word in known.names:
        return known.lowest + known.names.index(word)
    if word.isdigit() and known.lowest <= int(word) <= known.highest:
        return int(word)
    names = f" or {known.names[0]}..{known.names[-1]}" if known.names else ""
    raise _wrong(known, f"{word} is not within {known.lowest}..{known.highest}{names}", text)


def _wrong(known: _Field, reason: str, text: str) -> ConfigError:
    return ConfigError(f'{known.name}: {reason} in "{text}"')


def _field_text(known: _Field, numbers: object) -> str:
    if numbers is None:
        return "*"
    several = cast("Iterable[object]", numbers) if isinstance(numbers, Iterable) else [numbers]
    chosen: set[int] = set()
    for number in several:
        if isinstance(number, bool) or not isinstance(number, int):
            raise ConfigError(f"{known.name}: {number!r} is not a whole number")
        if not known.lowest <= number <= known.highest:
            raise ConfigError(f"{known.name}: {number} is not within {known.lowest}..{known.highest}")
        chosen.add(number)
    if not chosen:
        raise ConfigError(f"{known.name}: an empty list is never due; None is every one")
    return ",".join(map(str, sorted(chosen)))


def _zone_name(tz: str | tzinfo | None) -> str:
    if tz is None:
        return _machine_zone()
    if isinstance(tz, str):
        return tz
    if tz is UTC:
        return "UTC"
    name = getattr(tz, "key", None) or getattr(tz, "zone", None)  # zoneinfo, pytz
    if not name:
        raise ConfigError(f'tz: {tz!r} has no IANA name; give one, such as tz="Europe/Berlin"')
    return str(name)


def _machine_zone() -> str:
    if time.tzname == ("UTC", "UTC"):  # also where no zone is configured at all
        return "UTC"
    try:
        return str(tzlocal.get_localzone())
    except ZoneInfoNotFoundError as error:
        raise ConfigError(
            'the machine\'s time zone has no IANA name that autocron could store; pass one, such as tz="Europe/Berlin"'
        ) from error


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(
            f'tz: "{name}" is unknown here. Use an IANA name such as "Europe/Berlin"; if this is one, the machine lacks'
            " the zone data: pip install tzdata"
        ) from error
