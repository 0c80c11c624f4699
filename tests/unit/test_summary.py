import pytest

from autocron.model import Declaration
from autocron.node.summary import summary
from autocron.text import duration

CLEANUP = Declaration("shop.cleanup", "shop.cleanup", "shop", "30 2 * * *", "UTC")
ODD = Declaration("shop.odd", "shop.odd", "shop", "* 2 * * *", "UTC")
HALF_PAST_TWO = 2.5 * 3600


def test_one_line_tells_what_is_on():
    text, hints = summary({"": 2}, [CLEANUP], (HALF_PAST_TWO, CLEANUP.name), 0.0)
    assert text == "2 workers, 1 schedule, next: shop.cleanup at 02:30 (in 2 h)"
    assert hints == []


def test_a_far_slot_is_told_with_its_date():
    text, _ = summary({"": 1}, [CLEANUP], (86400 * 30 + HALF_PAST_TWO, CLEANUP.name), 0.0)
    assert text == "1 worker, 1 schedule, next: shop.cleanup at 1970-01-31 02:30 (in 30 d)"


def test_without_schedules_there_is_no_next():
    assert summary({"": 0}, [], None, 0.0) == ("0 workers, 0 schedules", [])


def test_a_probable_mistake_gets_a_hint():
    _, (hint,) = summary({"": 1}, [ODD], None, 0.0)
    assert hint.startswith("schedule shop.odd: ")
    assert "0 2 * * *" in hint


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (59, "59 s"), (60, "1 min"), (4 * 3600, "4 h"), (86400 * 3, "3 d")]
)
def test_durations_are_told_as_people_say_them(seconds: float, text: str):
    assert duration(seconds) == text
