"""Schedules fire by the time of the database, whatever this machine's clock says."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from autocron.model import Declaration, NewJob, Settings, StoredSchedule
from autocron.node.configuration import Configuration, Stored
from autocron.node.firing import Scheduler
from autocron.node.schedule import Planner


@pytest.mark.parametrize(("clock", "ahead"), [(1020.0, 0.0), (420.0, 600.0), (1620.0, -600.0)])
def test_a_slot_is_due_when_it_is_so_for_the_database(clock: float, ahead: float) -> None:
    fired: list[NewJob] = []
    store = SimpleNamespace(fire=lambda _name, _cursor, jobs, alone: fired.extend(job for _, job in jobs))

    def submit(work: Callable[[Any], Any], done: Callable[[Any], None], _failed: Callable[[], None]) -> None:
        done(work(store))

    access, now, planner = cast("Any", SimpleNamespace(submit=submit)), [clock], Planner()
    times = cast("Any", SimpleNamespace(now=lambda: now[0]))
    config = Configuration(access, planner, times, lambda *_: None, lambda _: None)
    config.take(Stored(Settings(), [StoredSchedule(Declaration("s", "t", "m", "every 60", "UTC"), 1000.0)], ahead, []))
    scheduler = Scheduler(access, planner, config, lambda *_: None, lambda *_: None)
    now[0] = clock - 0.5
    scheduler.fire_due()
    assert not fired
    now[0] = clock
    scheduler.fire_due()
    assert [(job.run_at, job.created_at) for job in fired] == [(1020.0, 1020.0)]
