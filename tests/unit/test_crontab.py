"""When things are due, checked against the rule itself, written down a second time and minute by minute."""

import calendar
import random
import shutil
import zoneinfo
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autocron.crontab import from_stored, parse
from autocron.errors import ConfigError
from autocron.timetable import Timetable

HOUR = 3600
DAY = 24 * HOUR
BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2024, 1, 1, tzinfo=UTC).timestamp()


def moment(text: str, tz: str = "Europe/Berlin") -> float:
    """Seconds since the epoch; a text without an offset is on the zone's wall clock."""
    read = datetime.fromisoformat(text)
    return (read if read.tzinfo else read.replace(tzinfo=ZoneInfo(tz))).timestamp()


def on_the_wall(slots: list[float], tz: str = "Europe/Berlin") -> list[str]:
    return [datetime.fromtimestamp(slot, ZoneInfo(tz)).strftime("%d %H:%M %z") for slot in slots]


def day(expression: str, date: str, tz: str = "Europe/Berlin") -> list[str]:
    """The slots of one calendar day."""
    first = datetime.fromisoformat(date).replace(tzinfo=ZoneInfo(tz))
    return on_the_wall(
        parse(expression, tz=tz).slots(first.timestamp() - 1, (first + timedelta(days=1)).timestamp() - 1, 2000), tz
    )


# What is accepted.


@pytest.mark.parametrize(
    ("given_text", "stored"),
    [
        ("* * * * *", "* * * * *"),
        ("  30\t2 *  * * ", "30 2 * * *"),
        ("0 9-17/2 1,15 jan-mar Mon", "0 9-17/2 1,15 JAN-MAR MON"),
        ("*/60 */24 */31 */12 */8", "*/60 */24 */31 */12 */8"),
        ("5-5/20 0,2-2 * * MON-1/2", "5 0,2 * * MON"),
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        (" @Annually ", "0 0 1 1 *"),
    ],
)
def test_an_expression_is_stored_normalised(given_text: str, stored: str) -> None:
    assert parse(given_text, tz="UTC").text == stored


@pytest.mark.parametrize(
    ("fields", "stored"),
    [
        ({}, "* * * * *"),
        ({"minutes": 15}, "15 * * * *"),
        ({"minutes": [0], "hours": [2]}, "0 2 * * *"),
        ({"minutes": [45, 0, 45], "hours": range(9, 12)}, "0,45 9,10,11 * * *"),
        ({"minutes": 0, "hours": 0, "days": (1, 15), "months": 12, "days_of_week": [7, 0]}, "0 0 1,15 12 0,7"),
    ],
)
def test_fields_become_an_expression(fields: dict[str, Any], stored: str) -> None:
    assert parse(**fields, tz="UTC").text == stored


@pytest.mark.parametrize(
    ("every", "stored"), [(1, "every 1"), (1.5, "every 1.5"), (timedelta(hours=2), "every 7200"), (90.0, "every 90")]
)
def test_an_interval_is_stored_in_seconds(every: float | timedelta, stored: str) -> None:
    made = parse(every=every)
    assert (made.text, made.tz) == (stored, "UTC")


@pytest.mark.parametrize(
    "made", [parse("30 2 * * 1", tz="Asia/Tokyo"), parse(every=1.1), parse(every=3600), parse("@daily", tz=UTC)]
)
def test_what_is_stored_gives_the_same_timetable(made: Timetable) -> None:
    again = from_stored(made.text, made.tz)
    assert again == made
    assert hash(again) == hash(made)
    assert again.next_after(START) == made.next_after(START)


def test_a_timetable_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        parse("@daily", tz="UTC").text = "@hourly"  # type: ignore[misc]


def test_sunday_is_0_and_7() -> None:
    sundays = parse("0 0 * * 0", tz="UTC").slots(START, START + 30 * DAY, 10)
    assert {datetime.fromtimestamp(slot, UTC).isoweekday() for slot in sundays} == {7}
    assert parse("0 0 * * 7", tz="UTC").slots(START, START + 30 * DAY, 10) == sundays
    assert parse("0 0 * * SUN", tz="UTC").slots(START, START + 30 * DAY, 10) == sundays


def test_a_day_of_the_month_and_a_day_of_the_week_are_alternatives_unless_one_begins_with_a_star() -> None:
    both = parse("0 0 13 * 5", tz="UTC").slots(START, START + 31 * DAY, 99)
    assert [datetime.fromtimestamp(slot, UTC).day for slot in both] == [5, 12, 13, 19, 26]
    only = parse("0 0 */2 * 5", tz="UTC").slots(START, START + 31 * DAY, 99)
    assert [datetime.fromtimestamp(slot, UTC).day for slot in only] == [5, 19]


# What is refused, and how it says so.


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("0 25 * * *", 'hours: 25 is not within 0..23 in "0 25 * * *"'),
        ("60 * * * *", 'minutes: 60 is not within 0..59 in "60 * * * *"'),
        ("0 0 0 * *", 'days: 0 is not within 1..31 in "0 0 0 * *"'),
        ("0 0 * 13 *", 'months: 13 is not within 1..12 or JAN..DEC in "0 0 * 13 *"'),
        ("0 0 * FOO *", 'months: FOO is not within 1..12 or JAN..DEC in "0 0 * FOO *"'),
        ("0 0 * * 8", 'days_of_week: 8 is not within 0..7 or SUN..SAT in "0 0 * * 8"'),
        ("0 0 * * FRI-SUN", "Sunday at the end of a range is 7"),
        ("0 22-2 * * *", 'hours: the range "22-2" runs backwards in "0 22-2 * * *"'),
        ("3/15 * * * *", '"3/15" is "3-59/15"'),
        ("*/0 * * * *", "minutes: a step of 0 is not within 1..60"),
        ("*/90 * * * *", "minutes: a step of 90 is not within 1..60"),
        ("*-5 * * * *", 'minutes: "*-5" is not a range'),
        ("1,,2 * * * *", 'minutes: "" is not a number'),
        ("-1 * * * *", 'minutes: "-1" is not a number'),
        ("² * * * *", 'minutes: "²" is not a number'),
        ("٣ * * * *", 'minutes: "٣" is not a number'),
        (f"{'9' * 5000} * * * *", "is not a number"),
        ("0 0 L * *", "days: L is not within 1..31"),
        ("0 0 LW * *", "days: LW is not within 1..31"),
        ("0 0 15W * *", "days: 15W is not within 1..31"),
        ("0 0 * * 5L", "days_of_week: 5L is not within 0..7"),
        ("0 0 * * 5#2", 'days_of_week: "5#2" is not a number'),
        ("0 0 ? * *", 'days: "?" is not a number'),
        ("0 0 * * * *", "has 6 fields; there are five"),
        ("0 0 * *", "has 4 fields; there are five"),
        ("", "has 0 fields; there are five"),
        ("@reboot", "call the function when your application starts"),
        ("@fortnightly", '"@fortnightly" is unknown; there are @yearly'),
        ("30 2 31 2 *", 'days: 31 never comes in months 2 in "30 2 31 2 *"'),
        ("0 0 30 2 *", "days: 30 never comes in months 2"),
        ("0 0 31 4,6,9,11 *", "days: 31 never comes in months 4,6,9,11"),
    ],
)
def test_a_wrong_expression_says_which_field_and_why(expression: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(expression, tz="UTC")
    assert message in str(caught.value)
    with pytest.raises(ConfigError):
        from_stored(expression, "UTC")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hours": 24}, "hours: 24 is not within 0..23"),
        ({"minutes": [0, 60]}, "minutes: 60 is not within 0..59"),
        ({"days": []}, "days: an empty list is never due; None is every one"),
        ({"months": "JAN"}, "months: 'J' is not a whole number"),
        ({"hours": True}, "hours: True is not a whole number"),
        ({"hours": 2.0}, "hours: 2.0 is not a whole number"),
        ({"days": 30, "months": 2}, "days: 30 never comes in months 2"),
        ({"every": 0.99}, "every: 0.99 seconds is not within 1 second..10 years"),
        ({"every": timedelta(days=-1)}, "is not within 1 second..10 years"),
        ({"every": float("nan")}, "every: nan seconds is not within"),
        ({"every": float("inf")}, "every: inf seconds is not within"),
        ({"every": 10**400}, "is not within"),
        ({"every": True}, "every: True is neither a number of seconds nor a timedelta"),
        ({"every": "5"}, "every: '5' is neither a number of seconds nor a timedelta"),
        ({"every": 5, "tz": "UTC"}, "tz has no meaning for an interval"),
        ({"every": 5, "minutes": 1}, "not two of them"),
        ({"expression": "@daily", "minutes": 1}, "not two of them"),
        ({"expression": "@daily", "every": 1}, "not two of them"),
        ({"expression": print}, "a crontab expression is a text"),
        ({"tz": "Europe/Berln"}, 'tz: "Europe/Berln" is unknown here'),
        ({"tz": ""}, 'tz: "" is unknown here'),
        ({"tz": "../../etc/passwd"}, "is unknown here"),
        ({"tz": "Europe"}, "is unknown here"),
        ({"tz": "a\0b"}, "is unknown here"),
        ({"tz": timezone(timedelta(hours=1))}, "has no IANA name"),
        ({"tz": 5}, "has no IANA name"),
    ],
)
def test_a_wrong_argument_says_what_is_wrong(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(**({"tz": "UTC"} if "every" not in wrong else {}) | wrong)
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["every", "every ", "every x", "every 0.5", "every nan", "every 1 2"])
def test_a_wrong_stored_interval_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        from_stored(text, "UTC")


@given(st.text("0123456789*/-, @#?LWJANMOdaily²", max_size=40) | st.text(max_size=20))
def test_any_text_is_either_a_timetable_or_a_config_error(text: str) -> None:
    try:
        made = parse(text, tz="UTC")
    except ConfigError:
        return
    assert len(made.text.split()) == 5
    assert made.next_after(START) is not None


# Hints.


@pytest.mark.parametrize(
    ("expression", "once"),
    [("* 2 * * *", "0 2 * * *"), ("* 2,14 1 * *", "0 2,14 1 * *"), ("* */6 * * MON", "0 */6 * * MON")],
)
def test_every_minute_of_an_hour_gets_a_hint(expression: str, once: str) -> None:
    hint = parse(expression, tz="UTC").hint()
    assert hint is not None
    assert f'"{once}"' in hint


@pytest.mark.parametrize("expression", ["* * * * *", "*/5 2 * * *", "* 9-17 * * MON-FRI", "0 2 * * *", "* * 1 * *"])
def test_what_looks_meant_gets_no_hint(expression: str) -> None:
    assert parse(expression, tz="UTC").hint() is None


def test_an_interval_gets_no_hint() -> None:
    assert parse(every=1).hint() is None


# Zones.


@pytest.mark.parametrize(
    ("tz", "name"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        (BERLIN, "Europe/Berlin"),
        (UTC, "UTC"),
        (ZoneInfo("UTC"), "UTC"),
        (SimpleNamespace(zone="Asia/Kolkata"), "Asia/Kolkata"),  # as in pytz
    ],
)
def test_a_zone_is_stored_by_its_name(tz: Any, name: str) -> None:
    assert parse("@daily", tz=tz).tz == name


def test_without_a_zone_the_machines_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.tzname", ("CET", "CEST"))
    monkeypatch.setattr("tzlocal.get_localzone", lambda: BERLIN)
    assert parse("@daily").tz == "Europe/Berlin"


def test_a_machine_without_any_zone_is_on_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.tzname", ("UTC", "UTC"))
    assert parse("@daily").tz == "UTC"


def nameless() -> ZoneInfo:
    raise ZoneInfoNotFoundError("CET-1CEST")


@pytest.mark.parametrize("found", [nameless, lambda: ZoneInfo("local")])
def test_a_machine_whose_zone_has_no_name_needs_one_given(
    found: Callable[[], ZoneInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.tzname", ("CET", "CEST"))
    monkeypatch.setattr("tzlocal.get_localzone", found)
    with pytest.raises(ConfigError, match="no IANA name"):
        parse("@daily")


# Days on which the clock changes, in Berlin: 31 March 2024 from 02:00 to 03:00, 27 October from 03:00 to 02:00.


def test_in_a_gap_a_fixed_time_is_due_once_right_after_it() -> None:
    assert day("30 2 * * *", "2024-03-31") == ["31 03:00 +0200"]
    assert day("10,20,30 2 * * *", "2024-03-31") == ["31 03:00 +0200"]
    assert day("0 2,3 * * *", "2024-03-31") == ["31 03:00 +0200"]


def test_in_a_gap_a_wildcard_follows_the_clock() -> None:
    assert day("*/30 1-3 * * *", "2024-03-31") == [
        "31 01:00 +0100",
        "31 01:30 +0100",
        "31 03:00 +0200",
        "31 03:30 +0200",
    ]
    assert day("*/30 2 * * *", "2024-03-31") == []
    assert len(day("0 * * * *", "2024-03-31")) == 23


def test_in_an_overlap_a_fixed_time_is_due_the_first_time_only() -> None:
    assert day("30 2 * * *", "2024-10-27") == ["27 02:30 +0200"]
    assert day("0 2,3 * * *", "2024-10-27") == ["27 02:00 +0200", "27 03:00 +0100"]


def test_in_an_overlap_a_wildcard_is_due_in_both_hours() -> None:
    assert day("*/30 2 * * *", "2024-10-27") == ["27 02:00 +0200", "27 02:30 +0200", "27 02:00 +0100", "27 02:30 +0100"]
    assert len(day("0 * * * *", "2024-10-27")) == 25


def test_from_within_the_second_hour_of_an_overlap_nothing_in_the_past_is_due() -> None:
    within = moment("2024-10-27T02:15:00+01:00")
    assert parse("30 2 * * *", tz="Europe/Berlin").next_after(within) == moment("2024-10-28T02:30:00+01:00")


def test_a_change_of_half_an_hour_neither_loses_nor_repeats() -> None:
    howe = "Australia/Lord_Howe"  # 6 April 2025 from 02:00 to 01:30, 5 October from 02:00 to 02:30
    assert day("45 * * * *", "2025-04-06", howe)[:4] == [
        "06 00:45 +1100",
        "06 01:45 +1100",
        "06 01:45 +1030",
        "06 02:45 +1030",
    ]
    assert day("45 1 * * *", "2025-04-06", howe) == ["06 01:45 +1100"]
    assert day("*/15 2 * * *", "2025-04-06", howe)[0] == "06 02:00 +1030"
    assert day("15 2 * * *", "2025-10-05", howe) == ["05 02:30 +1100"]


def test_a_midnight_that_does_not_exist() -> None:
    cairo = "Africa/Cairo"  # 26 April 2024 from 00:00 to 01:00
    assert day("0 0 * * *", "2024-04-26", cairo) == ["26 01:00 +0300"]
    assert day("*/20 0 * * *", "2024-04-26", cairo) == []


@pytest.mark.parametrize(
    ("tz", "around", "expression", "expected"),
    [
        ("Pacific/Apia", "2011-12-30T10:00:00+00:00", "0 12 * * *", ["29 12:00 -1000", "31 12:00 +1400"]),
        ("Antarctica/Casey", "2010-03-04T15:00:00+00:00", "30 1 * * *", ["05 01:30 +1100", "05 01:30 +0800"]),
    ],
)
def test_a_change_of_three_hours_or_more_is_a_correction(
    tz: str, around: str, expression: str, expected: list[str]
) -> None:
    middle = moment(around)
    assert on_the_wall(parse(expression, tz=tz).slots(middle - 13 * HOUR, middle + 13 * HOUR, 9), tz) == expected


# The rule of Debian's cron a second time, without cronsim: minute by minute, remembering how far the clock got.

RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
MONTHS = [calendar.month_abbr[number].upper() for number in range(1, 13)]
MINUTE = timedelta(minutes=1)
CORRECTION = timedelta(hours=3)

Minutes = list[tuple[float, datetime]]  # moments, each with what the wall clock shows


def numbers(text: str, lowest: int, highest: int) -> set[int]:
    found: set[int] = set()
    for term in text.split(","):
        span, _, step = term.partition("/")
        first, _, last = span.partition("-")
        low, high = (lowest, highest) if span == "*" else (read(first), read(last or first))
        found.update(range(low, high + 1, int(step or 1)))
    return found


def read(word: str) -> int:
    if word in WEEKDAYS:
        return WEEKDAYS.index(word)
    return MONTHS.index(word) + 1 if word in MONTHS else int(word)


def matcher(expression: str) -> Callable[[datetime], bool]:
    parts = expression.split()
    minutes, hours, days, months, weekdays = (numbers(part, *span) for part, span in zip(parts, RANGES, strict=True))
    weekdays = {weekday % 7 for weekday in weekdays}
    both = parts[2].startswith("*") or parts[4].startswith("*")

    def matches(wall: datetime) -> bool:
        if wall.minute not in minutes or wall.hour not in hours or wall.month not in months:
            return False
        of_month, of_week = wall.day in days, wall.isoweekday() % 7 in weekdays
        return (of_month and of_week) if both else (of_month or of_week)

    return matches


def due(expression: str, minutes: Minutes) -> Iterator[float]:
    """Give the moments at which Debian's cron would run something, each once."""
    matches = matcher(expression)
    fixed = not any(part.startswith("*") for part in expression.split()[:2])
    done = before = minutes[0][1] - MINUTE
    for now, wall in minutes:
        if not fixed or abs(wall - before - MINUTE) >= CORRECTION:
            done = wall - MINUTE
        before = wall
        caught_up = False
        while done < wall:
            done += MINUTE
            caught_up = caught_up or matches(done)
        if caught_up:
            yield now


def clock(zone: ZoneInfo, first: float, last: float) -> Minutes:
    count = round((last - first) / 60)
    return [(t, datetime.fromtimestamp(t, zone).replace(tzinfo=None)) for t in (first + 60 * i for i in range(count))]


def changes(zone: ZoneInfo, first_year: int = 2024, last_year: int = 2037) -> list[float]:
    """Give the hours in which the zone's offset changes."""
    hours = range(round(START) + (first_year - 2024) * 366 * DAY, int(moment(f"{last_year}-12-31", "UTC")), HOUR)
    offsets = [datetime.fromtimestamp(hour, zone).utcoffset() for hour in hours]
    return [float(hours[i]) for i in range(1, len(hours)) if offsets[i] != offsets[i - 1]]


@cache
def windows(tz: str) -> list[Minutes]:
    """Give what the clock shows around every change, half a day in all."""
    zone = ZoneInfo(tz)
    return [clock(zone, change - 6 * HOUR, change + 6 * HOUR) for change in changes(zone)]


def some_field(chance: random.Random, lowest: int, highest: int, near: list[int]) -> str:
    """Give a field that often means one of the numbers near the change."""

    def number() -> int:
        return chance.choice(near) if chance.random() < 0.7 else chance.randint(lowest, highest)

    low, high = sorted((number(), number()))
    step = chance.randint(1, min(20, highest))
    terms = ["*", f"*/{step}", f"{low}-{high}", f"{low}-{high}/{step}", str(number()), f"{number()},{low}-{high}"]
    return chance.choice([*terms, str(number()), ",".join(str(number()) for _ in range(3))])


def some_expression(chance: random.Random, minutes: Minutes) -> str:
    middle = [wall for _, wall in minutes[240:480]]
    return " ".join(
        [
            some_field(chance, 0, 59, [0, 15, 30, 45, 59]),
            some_field(chance, 0, 23, sorted({wall.hour for wall in middle})),
            chance.choice(["*", "*", some_field(chance, 1, 31, sorted({wall.day for wall in middle}))]),
            chance.choice(["*", "*", "*", some_field(chance, 1, 12, [middle[0].month])]),
            chance.choice(["*", "*", some_field(chance, 0, 7, sorted({wall.isoweekday() for wall in middle}))]),
        ]
    )


def check_against_the_rule(tz: str, expression: str, minutes: Minutes) -> None:
    """Compare the middle of a window; its first three hours only let the clocks of the rule run in."""
    begin, end = minutes[180][0], minutes[-1][0]
    try:
        timetable = parse(expression, tz=tz)
    except ConfigError:
        assert not list(due(expression, minutes))
        return
    expected = [slot for slot in due(expression, minutes) if slot > begin]
    assert timetable.slots(begin, end, 2000) == expected, (tz, expression)
    assert timetable.latest(begin, end) == (expected[-1] if expected else None), (tz, expression)


ODD_ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour
    "Antarctica/Troll",  # two hours
    "Africa/Cairo",  # at midnight
    "America/Santiago",  # at midnight, back into the day before
    "America/Havana",
    "Africa/Casablanca",  # back for the month of fasting
    "America/Nuuk",
    "Pacific/Chatham",
    "America/St_Johns",
    "Europe/Dublin",
)
MORE_ZONES = (
    "Africa/El_Aaiun",
    "America/Asuncion",
    "America/Chicago",
    "America/Denver",
    "America/Halifax",
    "America/Los_Angeles",
    "America/Miquelon",
    "America/Port-au-Prince",
    "America/Scoresbysund",
    "America/Tijuana",
    "Antarctica/Macquarie",
    "Asia/Beirut",
    "Asia/Famagusta",
    "Asia/Gaza",
    "Asia/Hebron",
    "Asia/Jerusalem",
    "Asia/Nicosia",
    "Atlantic/Azores",
    "Atlantic/Bermuda",
    "Australia/Adelaide",
    "Australia/Sydney",
    "Europe/Athens",
    "Europe/Chisinau",
    "Europe/Lisbon",
    "Europe/London",
    "Pacific/Auckland",
    "Pacific/Easter",
    "Pacific/Norfolk",
)


@pytest.mark.parametrize("tz", ODD_ZONES)
def test_every_change_of_the_offset_follows_the_rule(tz: str) -> None:
    chance = random.Random(tz)
    for minutes in windows(tz):
        for _ in range(3):
            check_against_the_rule(tz, some_expression(chance, minutes), minutes)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("tz", [*ODD_ZONES, *MORE_ZONES])
def test_every_change_of_the_offset_follows_the_rule_for_very_many_expressions(tz: str) -> None:
    chance = random.Random(tz)
    for _ in range(500):
        some = chance.sample(windows(tz), min(8, len(windows(tz))))
        expression = some_expression(chance, some[0])
        for minutes in some:
            check_against_the_rule(tz, expression, minutes)


zones = st.sampled_from([*ODD_ZONES, "UTC", "Asia/Kolkata"])
moments = st.floats(START, START + 14 * 366 * DAY)


@st.composite
def expressions(draw: st.DrawFn) -> str:
    def field(lowest: int, highest: int) -> str:
        one = st.integers(lowest, highest)
        pair = st.tuples(one, one).map(sorted)
        step = st.integers(1, highest - lowest + 1)
        spans = pair.map(lambda ends: f"{ends[0]}-{ends[1]}")
        term = st.one_of(one.map(str), spans, st.tuples(spans | st.just("*"), step).map(lambda t: f"{t[0]}/{t[1]}"))
        return draw(st.just("*") | st.lists(term, min_size=1, max_size=3).map(",".join))

    return " ".join(field(*span) for span in RANGES)


@given(expressions(), zones, moments)
@settings(max_examples=60, deadline=None)
def test_an_ordinary_day_follows_the_rule(expression: str, tz: str, now: float) -> None:
    first = float(now // 60 * 60)
    check_against_the_rule(tz, expression, clock(ZoneInfo(tz), first, first + DAY))


@given(expressions(), zones, moments, st.floats(0, 20 * DAY))
@settings(max_examples=60, deadline=None)
@example("30 2 * * *", "Europe/Berlin", moment("2024-10-27T02:15:00+01:00"), 3600.0)
def test_slots_are_in_order_and_within_the_span(expression: str, tz: str, now: float, span: float) -> None:
    try:
        timetable = parse(expression, tz=tz)
    except ConfigError:
        return
    upcoming = timetable.next_after(now)
    assert upcoming is not None
    assert upcoming > now
    slots = timetable.slots(now, now + span, 300)
    assert slots == sorted(set(slots))
    assert all(now < slot <= now + span for slot in slots)
    assert slots[:1] == ([upcoming] if upcoming <= now + span else [])
    if len(slots) < 300:
        assert timetable.latest(now, now + span) == (slots[-1] if slots else None)


# Intervals.


def test_an_interval_is_aligned_to_the_epoch() -> None:
    assert parse(every=900).slots(START + 1, START + HOUR, 9) == [START + 900, START + 1800, START + 2700, START + HOUR]
    assert parse(every=1.5).slots(1000, 1003, 9) == [1000.5, 1002]


@given(st.floats(1, 1e6), st.floats(0, 4e9), st.integers(1, 50))
def test_slots_of_an_interval_are_its_multiples_and_none_is_left_out(every: float, now: float, count: int) -> None:
    timetable = parse(every=every)
    slots = timetable.slots(now, now + every * count, count + 2)
    first = round(slots[0] / every) if slots else 0
    assert slots == [n * every for n in range(first, first + len(slots))]
    assert count - 1 <= len(slots) <= count + 1
    assert (first - 1) * every <= now
    assert timetable.latest(now, now + every * count) == (slots[-1] if slots else None)


def test_the_latest_slot_of_half_a_century_of_seconds_is_found_at_once() -> None:
    assert parse(every=1).latest(0, 50 * 366 * DAY + 0.5) == 50 * 366 * DAY
    assert parse(every=7).latest(8, 13) is None


def test_the_latest_of_a_year_of_minutes_is_found_without_walking(monkeypatch: pytest.MonkeyPatch) -> None:
    timetable = parse("* * * 1-11 *", tz="Europe/Berlin")
    asked: list[float] = []
    real = type(timetable).next_after

    def counted(self: Timetable, now: float) -> float | None:
        asked.append(now)
        return real(self, now)

    monkeypatch.setattr(type(timetable), "next_after", counted)
    assert timetable.latest(START, START + 360 * DAY) == moment("2024-11-30T23:59:00")
    assert len(asked) < 64


# Long absences, set clocks, rare days.


def test_after_an_absence_there_is_the_latest_or_all_or_only_what_comes() -> None:
    timetable = parse("0 3 * * *", tz="Europe/Berlin")
    left, back = moment("2024-03-01T12:00"), moment("2024-03-31T12:00")
    missed = timetable.slots(left, back, 1000)
    assert len(missed) == 30
    assert timetable.latest(left, back) == missed[-1] == moment("2024-03-31T03:00")
    assert timetable.next_after(back) == moment("2024-04-01T03:00")
    assert timetable.slots(left, back, 4) == missed[:4]
    assert timetable.slots(left, back, 0) == []


def test_a_clock_that_is_set_back_repeats_nothing() -> None:
    timetable = parse("*/10 * * * *", tz="Europe/Berlin")
    cursor = moment("2024-06-01T12:00")
    set_back = cursor - 2 * HOUR
    assert timetable.slots(cursor, set_back, 99) == []
    assert timetable.latest(cursor, set_back) is None


def test_the_29th_of_february() -> None:
    timetable = parse("0 12 29 2 *", tz="Europe/Berlin")
    assert on_the_wall(timetable.slots(START, START + 9 * 366 * DAY, 9)) == ["29 12:00 +0100"] * 3
    assert timetable.next_after(moment("2024-02-29T12:00")) == moment("2028-02-29T12:00")
    assert parse("0 0 29 2 */7", tz="UTC").next_after(START) == moment("2032-02-29", "UTC")  # a Sunday


@pytest.fixture
def zone_data(tmp_path: Path) -> Iterator[Path]:
    """A folder of zone data that a test may change."""
    source = next(Path(folder) for folder in zoneinfo.TZPATH if (Path(folder) / "Europe/Berlin").exists())
    for name in ("Berlin", "Moscow"):
        shutil.copy(source / "Europe" / name, tmp_path / name)
    zoneinfo.reset_tzpath([tmp_path])
    yield tmp_path
    zoneinfo.reset_tzpath()
    ZoneInfo.clear_cache()


def test_new_zone_data_move_the_future_only(zone_data: Path) -> None:
    shutil.copy(zone_data / "Berlin", zone_data / "Here")
    fired = from_stored("0 12 * * *", "Here").latest(START, START + 200 * DAY)
    assert fired is not None
    shutil.copy(zone_data / "Moscow", zone_data / "Here")
    ZoneInfo.clear_cache()
    upcoming = from_stored("0 12 * * *", "Here").next_after(fired)
    assert upcoming == fired + DAY - HOUR
