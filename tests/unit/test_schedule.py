import pytest

from autocron.model import Declaration, Missed, StoredSchedule
from autocron.node.schedule import MOST_AT_ONCE, ON_TIME, Planner


def planner(missed: Missed = "once", text: str = "every 60", cursor: float = 600.0) -> Planner:
    one = Planner()
    one.load([StoredSchedule(Declaration("tick", "tick", "app", text, "UTC", missed), cursor)])
    return one


def test_a_slot_is_due_at_its_time_and_given_once():
    one = planner()
    assert one.next_slot() == (660.0, "tick")
    assert one.due(659.9) == []
    (firing,) = one.due(660.0)
    assert (firing.slots, firing.cursor, firing.alone) == ([660.0], 660.0, True)
    one.settled("tick")
    assert one.due(660.0) == []
    assert one.next_slot() == (720.0, "tick")


def test_while_a_firing_is_being_stored_the_schedule_gives_no_other():
    one = planner("all")
    one.due(660.0)
    assert one.next_slot() is None
    assert one.due(720.0) == []  # if it were stored and the first one not, the first would be lost
    one.settled("tick")
    one.load([StoredSchedule(Declaration("tick", "tick", "app", "every 60", "UTC", "all"), 600.0)])
    (firing,) = one.due(720.0)
    assert firing.slots == [660.0, 720.0]


def test_a_clock_that_goes_back_repeats_nothing():
    one = planner()
    one.due(660.0)
    one.settled("tick")
    assert one.due(600.0) == []
    assert one.due(719.0) == []


@pytest.mark.parametrize(
    ("missed", "slots"), [("once", [1200.0]), ("all", [60.0 * n for n in range(11, 21)]), ("skip", [])]
)
def test_missed_slots(missed: Missed, slots: list[float]):
    one = planner(missed)
    (firing,) = one.due(1200.0 + ON_TIME + 1)
    assert firing.slots == slots
    assert firing.cursor == 1200.0
    one.settled("tick")
    assert one.due(1200.0 + ON_TIME + 1) == []


def test_skip_still_fires_what_is_hardly_late():
    (firing,) = planner("skip").due(1200.0 + ON_TIME)
    assert firing.slots == [1200.0]


def test_all_missed_slots_come_in_bounded_batches():
    one = planner("all", "every 1", 0.0)
    (first,) = one.due(MOST_AT_ONCE + 100.0)
    one.settled("tick")
    (second,) = one.due(MOST_AT_ONCE + 100.0)
    assert (len(first.slots), len(second.slots)) == (MOST_AT_ONCE, 100)
    assert second.slots[-1] == MOST_AT_ONCE + 100.0


@pytest.mark.parametrize("missed", ["once", "all", "skip"])
def test_a_slot_that_could_not_be_stored_is_due_again(missed: Missed):
    one = planner(missed)
    (firing,) = one.due(660.0)
    one.failed(firing)
    (again,) = one.due(661.0)
    assert (again.slots, again.cursor) == ([660.0], 660.0)


@pytest.mark.parametrize("missed", ["once", "all", "skip"])
def test_a_firing_that_is_put_off_is_the_same_later(missed: Missed):
    one = planner(missed)
    (firing,) = one.due(660.0)
    one.put_off(firing, 665.0)
    one.load([StoredSchedule(firing.declaration, 600.0)])
    assert one.next_slot() == (665.0, "tick")
    assert one.due(664.0) == []
    assert one.due(660.0 + 2 * ON_TIME) == [firing]
    one.settled("tick")
    assert one.next_slot() == (720.0, "tick")


def test_a_slot_that_could_not_be_stored_is_not_passed_over_by_the_next_one():
    one = planner("all")
    (firing,) = one.due(660.0)
    one.failed(firing)
    (both,) = one.due(720.0)  # the store has not been read since
    assert both.slots == [660.0, 720.0]


def test_a_failed_firing_of_an_expression_that_has_changed_is_forgotten():
    one = planner("all")
    (firing,) = one.due(660.0)
    one.load([StoredSchedule(Declaration("tick", "tick", "app", "every 30", "UTC", "all"), 690.0)])
    one.failed(firing)
    (new,) = one.due(720.0)
    assert new.slots == [720.0]


def test_a_changed_expression_is_taken_over():
    one = planner()
    one.load([StoredSchedule(Declaration("tick", "tick", "app", "every 7", "UTC"), 700.0)])
    assert one.next_slot() == (707.0, "tick")


def test_a_schedule_that_is_no_longer_stored_is_forgotten():
    one = planner()
    one.load([])
    assert one.next_slot() is None
    assert one.due(1e9) == []
