"""Short jobs travel together; one that is long, or kills its worker, makes no difference to the others."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from databases import on_each_database

pytestmark = on_each_database
TASKS = """
    import ctypes
    import autocron

    @delay
    def short(name):
        note("ran", name, os.getpid())

    @delay
    def cling():
        note("begun", "cling", os.getpid())
        ctypes.PyDLL(None).sleep(600)  # and lets no other thread of the worker do anything

    @delay
    def die_once():
        first = not os.path.exists("died")
        open("died", "w").close()
        if first:
            os.kill(os.getpid(), signal.SIGKILL)

    def call_around(task):
        for result in short.map(range(400)):  # now it is known that they are short
            result.wait(15)
        with autocron.transaction():
            before = [short(f"before-{number}") for number in range(5)]
            other = task()
            behind = [short(f"behind-{number}") for number in range(5)]
        return [[result.uuid for result in results] for results in (before, [other], behind)]
"""


@pytest.fixture
def tasks(lab: Any) -> None:
    lab.add("tasks.py", TASKS)


def runs(lab: Any) -> Counter[str]:
    return Counter(line.split()[1] for line in lab.ledger() if line.startswith("ran"))


@pytest.mark.usefixtures("tasks")
def test_what_has_ended_is_known_while_a_long_job_runs_that_came_with_it(lab: Any) -> None:
    app = lab.start(workers=1)
    before, _, behind = app.ask("call_around(cling)")
    lab.begun("cling")
    assert [lab.ended(uuid).state for uuid in before] == ["succeeded"] * 5
    assert not [uuid for uuid in behind if lab.job(uuid).finished_at]
    lab.kill(lab.begun("cling"))
    lab.begun("cling", 2)
    assert max(runs(lab).values()) == 1


@pytest.mark.usefixtures("tasks")
def test_others_take_what_came_behind_a_long_job(lab: Any) -> None:
    app = lab.start(workers=2)
    before, _, behind = app.ask("call_around(cling)")
    assert [lab.ended(uuid).state for uuid in before + behind] == ["succeeded"] * 10
    assert max(runs(lab).values()) == 1


@pytest.mark.usefixtures("tasks")
def test_who_dies_takes_no_end_along(lab: Any) -> None:
    app = lab.start(workers=1)
    uuids = [uuid for some in app.ask("call_around(die_once)") for uuid in some]
    jobs = [lab.ended(uuid) for uuid in uuids]
    assert [job.state for job in jobs] == ["succeeded"] * 11
    assert [job.attempt for job in jobs] == [1] * 5 + [2] + [1] * 5
    assert max(runs(lab).values()) == 1
