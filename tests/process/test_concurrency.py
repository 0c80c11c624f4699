"""Several jobs at once in one worker, and workers that are replaced."""

from typing import Any

import pytest
from databases import on_each_database

pytestmark = on_each_database
TASKS = """
    import asyncio

    @delay
    async def await_gate(gate):
        note("begun", gate, os.getpid())
        while not os.path.exists(gate):
            await asyncio.sleep(0.01)
        return os.getpid()

    @delay
    async def leave_rubbish():
        async def leave():
            raise SystemExit
        asyncio.create_task(leave())

    @delay
    def pid():
        return os.getpid()

    @delay
    def grow():
        run.keep = b"x" * (150 << 20)

    @delay
    def die_once():
        first = not os.path.exists("died")
        note("begun", "die_once", os.getpid())
        if first:
            open("died", "w").close()
            hold.function("gate")
            os.kill(os.getpid(), signal.SIGKILL)
        return "alive"
"""


@pytest.fixture
def tasks(lab: Any) -> None:
    lab.add("tasks.py", TASKS)


def finish(lab: Any, app: Any, uuids: list[str]) -> list[Any]:
    return [app.ask(f"autocron.get_result({uuid!r}).wait(15)") for uuid in uuids]


@pytest.mark.usefixtures("tasks")
def test_async_jobs_of_one_worker_run_beside_each_other_and_beside_a_sync_one(lab: Any) -> None:
    app = lab.start()
    uuids = app.ask("[await_gate('gate').uuid for _ in range(20)]")
    lab.begun("gate", 20)
    assert isinstance(app.ask("pid().wait(10)"), int)
    lab.open_gate("gate")
    assert len(set(finish(lab, app, uuids))) == 1


@pytest.mark.usefixtures("tasks")
def test_async_jobs_at_once_are_limited(lab: Any) -> None:
    app = lab.start(async_jobs=3)
    uuids = app.ask("[await_gate(f'gate{n % 2}').uuid for n in range(6)]")
    lab.until(lambda: len(lab.ledger()) == 3)
    assert app.ask("leave_rubbish.name") == "tasks.leave_rubbish"
    lab.open_gate("gate0")
    lab.until(lambda: len(lab.ledger()) > 3)
    lab.open_gate("gate1")
    finish(lab, app, uuids)
    assert len(lab.ledger()) == 6


@pytest.mark.usefixtures("tasks")
def test_what_a_job_leaves_on_the_event_loop_does_not_stop_it(lab: Any) -> None:
    app = lab.start()
    lab.open_gate("gate")
    for _ in range(3):
        app.ask("leave_rubbish().wait(10)")
        assert isinstance(app.ask("await_gate('gate').wait(10)"), int)


@pytest.mark.usefixtures("tasks")
def test_threads_run_sync_jobs_beside_each_other(lab: Any) -> None:
    app = lab.start(threads=3)
    uuids = app.ask("[hold('gate').uuid for _ in range(3)]")
    lab.begun("gate", 3)
    assert isinstance(app.ask("await_gate('.').wait(10)"), int)
    uuids.append(app.ask("hold('gate').uuid"))
    lab.open_gate("gate")
    assert len(set(finish(lab, app, uuids))) == 1


@pytest.mark.usefixtures("tasks")
def test_a_change_of_threads_needs_no_restart(lab: Any) -> None:
    app = lab.start()
    first = app.ask("pid().wait(10)")
    lab.store.set({"threads": 2})
    lab.until(lambda: (now := lab.ready_now()) and first not in now, what="another worker")
    uuids = app.ask("[hold('gate').uuid for _ in range(2)]")
    lab.begun("gate", 2)
    lab.open_gate("gate")
    finish(lab, app, uuids)


@pytest.mark.usefixtures("tasks")
def test_after_so_many_jobs_a_worker_is_replaced(lab: Any) -> None:
    app = lab.start(max_jobs=2)
    pids = app.ask("[one.wait(20) for one in [pid() for _ in range(7)]]", 60)
    assert all(pids.count(one) <= 2 for one in pids)
    assert len(set(pids)) >= 4


@pytest.mark.usefixtures("tasks")
def test_a_worker_with_too_much_memory_is_replaced_between_jobs(lab: Any) -> None:
    app = lab.start(max_memory=120 << 20)
    first = app.ask("pid().wait(10)")
    app.ask("grow().wait(20)")
    lab.until(lambda: (now := lab.ready_now()) and first not in now, what="another worker")
    assert app.ask("pid().wait(10)") != first


@pytest.mark.usefixtures("tasks")
@pytest.mark.parametrize("settings", [{"threads": 4}, {}])
def test_a_stop_interrupts_all_that_runs(lab: Any, settings: dict[str, int]) -> None:
    task = "hold" if settings else "await_gate"
    app = lab.start(grace=0.2, **settings)
    uuids = app.ask(f"[{task}('gate').uuid for _ in range(3)]")
    lab.begun("gate", 3)
    app.ask("autocron.stop()")
    for uuid in uuids:
        job = lab.job(uuid)
        assert (job.state, [past.outcome for past in job.past_attempts]) == ("queued", ["interrupted"])


@pytest.mark.usefixtures("tasks")
def test_of_several_jobs_of_a_worker_that_died_each_runs_alone_before_it_is_blamed(lab: Any) -> None:
    app = lab.start(threads=3)
    innocent = app.ask("[hold('other').uuid for _ in range(2)]")
    culprit = app.ask("die_once().uuid")
    lab.begun("other", 2)
    lab.begun("die_once")
    lab.open_gate("gate")
    lab.until(lambda: len(lab.ledger()) > 5, what="one of them runs again")
    assert len([job for job in lab.status().workers[0].jobs if job in {*innocent, culprit}]) == 1
    lab.open_gate("other")
    assert app.ask(f"autocron.get_result({culprit!r}).wait(15)") == "alive"
    finish(lab, app, innocent)
    outcomes = [[past.outcome for past in lab.job(uuid).past_attempts] for uuid in [*innocent, culprit]]
    assert outcomes == [["crashed"]] * 3


@pytest.mark.usefixtures("tasks")
def test_no_job_is_lost_when_workers_with_several_jobs_and_their_node_are_killed(lab: Any) -> None:
    app = lab.start(2, threads=4)
    uuids = app.ask("[work(n, 0.05).uuid for n in range(100)] + [await_gate('gate').uuid for _ in range(20)]")
    for _ in range(4):
        for worker in lab.ready():
            lab.until(lambda: len(lab.ledger()) > 5)
            lab.kill(worker)
    lab.kill_node()
    lab.open_gate("gate")
    assert {lab.ended(uuid, 30).state for uuid in uuids} == {"succeeded"}
