"""What the store promises about schedules that are added, paused and removed at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from autocron.model import Declaration, NewJob, StoredSchedule
from autocron.store.placing import Fired

if TYPE_CHECKING:
    from autocron.store.base import Store

ADDED = Declaration("weekly", "app.report", None, "0 6 * * MON", "UTC", "all", "allow", 9.0, "{}", '[["x"],{"n":1}]')
DECLARED = Declaration("nightly", "app.report", "app", "0 3 * * *", "UTC")


def job(uuid: str) -> NewJob:
    return NewJob(uuid, "app.report", ADDED.arguments, 10.0, 5.0)


def test_an_added_schedule_is_kept_whatever_the_code_declares(store: Store) -> None:
    assert store.add_schedule(ADDED, 50.0)
    store.declare([DECLARED], ["app"], ["lib"], [], 60.0)
    store.declare([], ["app"], [], [], 70.0)
    assert store.schedules() == [StoredSchedule(ADDED, 50.0)]


def test_one_of_the_same_name_is_replaced(store: Store) -> None:
    store.add_schedule(ADDED, 50.0)
    other = msgspec.structs.replace(ADDED, task="app.other", arguments="[[],{}]", missed="skip")
    assert store.add_schedule(other, 60.0)
    assert store.schedules() == [StoredSchedule(other, 50.0)]  # it goes on where it was
    moved = msgspec.structs.replace(other, text="every 10")
    assert store.add_schedule(moved, 70.0)
    assert store.schedules() == [StoredSchedule(moved, 70.0)]


def test_what_the_code_declares_is_not_replaced_until_it_is_gone_there(store: Store) -> None:
    store.declare([DECLARED], ["app"], [], [], 50.0)
    mine = msgspec.structs.replace(ADDED, name="nightly")
    assert not store.add_schedule(mine, 60.0)
    assert store.schedules() == [StoredSchedule(DECLARED, 50.0)]
    store.declare([], ["app"], [], [], 70.0)
    assert store.add_schedule(mine, 80.0)
    assert store.schedules() == [StoredSchedule(mine, 80.0)]


def test_a_name_that_the_code_declares_is_the_code_s(store: Store) -> None:
    store.add_schedule(msgspec.structs.replace(ADDED, name="nightly"), 50.0)
    store.declare([DECLARED], ["app"], [], [], 60.0)
    assert store.schedules() == [StoredSchedule(DECLARED, 60.0)]
    assert not store.remove("nightly")


def test_a_paused_schedule_does_not_fire_and_goes_on_where_it_was(store: Store) -> None:
    store.add_schedule(ADDED, 50.0)
    assert store.pause("weekly", True)
    assert store.fire("weekly", 60.0, [(60.0, job("a"))], alone=False) is Fired.TAKEN
    assert store.schedules() == [StoredSchedule(ADDED, 50.0, True)]
    assert store.pause("weekly", False)
    assert store.fire("weekly", 60.0, [(60.0, job("a"))], alone=False) is Fired.STORED
    assert store.schedules() == [StoredSchedule(ADDED, 60.0)]


@pytest.mark.parametrize("schedule", [ADDED, DECLARED])
def test_what_is_paused_stays_so_when_it_is_declared_or_added_again(store: Store, schedule: Declaration) -> None:
    changed = msgspec.structs.replace(schedule, text="every 10")
    for one in (schedule, changed):
        if one.module:
            store.declare([one], ["app"], [], [], 50.0)
        else:
            store.add_schedule(one, 50.0)
        store.pause(one.name, True)
    assert store.schedules() == [StoredSchedule(changed, 50.0, True)]


def test_only_what_was_added_can_be_removed(store: Store) -> None:
    store.add_schedule(ADDED, 50.0)
    store.declare([DECLARED], ["app"], [], [], 50.0)
    store.fire("weekly", 60.0, [(60.0, job("a"))], alone=False)
    assert not store.remove("nightly")
    assert store.remove("weekly")
    assert not store.remove("weekly")
    assert store.schedules() == [StoredSchedule(DECLARED, 50.0)]
    assert store.get("a", 60.0)  # its job stays


def test_there_is_nothing_to_pause_where_there_is_no_schedule(store: Store) -> None:
    assert not store.pause("weekly", True)
    store.declare([DECLARED], ["app"], [], [], 50.0)
    store.declare([], ["app"], [], [], 60.0)
    assert not store.pause("nightly", True)


def test_a_run_between_two_slots_belongs_to_the_schedule(store: Store) -> None:
    store.add_schedule(ADDED, 50.0)
    store.run_now("weekly", job("a"))
    store.run_now("weekly", job("b"))
    assert store.schedules() == [StoredSchedule(ADDED, 50.0)]
    assert store.fire("weekly", 60.0, [(60.0, job("c"))], alone=True) is Fired.SKIPPED
    claims = store.exchange([], 5, 60.0).claims
    assert [(claim.uuid, claim.arguments) for claim in claims] == [("a", ADDED.arguments), ("b", ADDED.arguments)]
