"""Timeouts and cancelling, of jobs that obey and of those that do not."""

import time
from typing import Any

import pytest
from databases import on_each_database

pytestmark = on_each_database
TASKS = """
    import asyncio
    from autocron import JobCancelled, TaskTimeout, current

    def spin(gate):
        note("begun", gate, os.getpid())
        end = time.monotonic() + 60
        while time.monotonic() < end and not current().cancelled:
            pass

    @delay
    def sleep(gate):
        try:
            note("begun", gate, os.getpid())
            print("sleeping")
            time.sleep(60)
        except (TaskTimeout, JobCancelled) as error:
            note("raised", type(error).__name__, current().cancelled)
            raise

    @delay
    def busy(gate):
        try:
            spin(gate)
        except (TaskTimeout, JobCancelled) as error:
            note("raised", type(error).__name__)
            raise

    async def inner():
        await asyncio.sleep(60)

    @delay
    async def await_long(gate):
        note("begun", gate, os.getpid())
        try:
            await inner()
        except asyncio.CancelledError:
            note("raised CancelledError")
            raise

    @delay
    def deaf(gate):
        note("begun", gate, os.getpid())
        while True:
            try:
                time.sleep(60)
            except BaseException:
                note("deaf")

    @delay
    async def blocking(gate):
        note("begun", gate, os.getpid())
        time.sleep(60)
"""
CASES = [("sleep", {}), ("busy", {}), ("busy", {"threads": 2}), ("await_long", {})]
DEAF = [("deaf", {}), ("deaf", {"threads": 2}), ("blocking", {})]


@pytest.fixture
def tasks(lab: Any) -> None:
    lab.add("tasks.py", TASKS)


@pytest.mark.usefixtures("tasks")
@pytest.mark.parametrize(("task", "settings"), CASES)
def test_at_its_timeout_a_job_is_interrupted_and_tells_where_it_was(
    lab: Any, task: str, settings: dict[str, int]
) -> None:
    app = lab.start(grace=20, **settings)
    uuid = app.ask(f"{task}.options(timeout=0.3)('gate').uuid")
    job = lab.ended(uuid)
    assert job.state == "failed"
    assert job.error_message == "TaskTimeout: ran for longer than 0.3 s"
    for text in ("MiB of memory", "Thread MainThread", f"in {task}"):
        assert text in job.traceback
    if task == "sleep":
        assert job.traceback.endswith("The last that it printed:\nsleeping\n")
    if task == "await_long":
        assert "in inner" in job.traceback
    assert len(lab.ledger()) == 2
    pid = int(lab.ledger()[0].split()[2])
    assert pid in lab.ready()  # its worker goes on
    assert app.ask("work(1).wait(10)") == 1


@pytest.mark.usefixtures("tasks")
@pytest.mark.parametrize(("task", "settings"), DEAF)
def test_a_job_that_ignores_its_timeout_ends_with_its_worker(lab: Any, task: str, settings: dict[str, int]) -> None:
    app = lab.start(grace=0.5, **settings)
    uuid = app.ask(f"{task}.options(timeout=0.3, retries=1)('gate').uuid")
    job = lab.ended(uuid)
    assert (job.state, job.attempt) == ("failed", 2)
    assert [past.outcome for past in job.past_attempts] == ["failed"]
    assert "did not stop within 0.5 s: its worker was ended" in job.error_message
    assert f"in {task}" in job.traceback
    assert app.ask("work(1).wait(10)") == 1


@pytest.mark.usefixtures("tasks")
def test_the_others_of_an_ended_worker_use_up_no_retry(lab: Any) -> None:
    app = lab.start(grace=0.5, threads=2)
    innocent = app.ask("hold('other').uuid")
    lab.begun("other")
    culprit = app.ask("deaf.options(timeout=0.3)('gate').uuid")
    lab.begun("other", 2)
    lab.open_gate("other")
    job = lab.ended(innocent)
    assert (job.state, [past.outcome for past in job.past_attempts]) == ("succeeded", ["interrupted"])
    assert lab.job(culprit).state == "failed"


@pytest.mark.usefixtures("tasks")
@pytest.mark.parametrize(("task", "settings"), CASES)
def test_a_running_job_is_cancelled(lab: Any, task: str, settings: dict[str, int]) -> None:
    app = lab.start(grace=20, **settings)
    uuid = app.ask(f"{task}('gate').uuid")
    pid = lab.begun("gate")
    assert app.ask(f"autocron.get_result({uuid!r}).cancel()") is True
    job = lab.ended(uuid)
    assert (job.state, job.error_message) == ("cancelled", "cancelled while it ran")
    assert app.ask(f"autocron.get_result({uuid!r}).cancel()") is False
    assert pid in lab.ready()
    if task == "sleep":
        assert lab.ledger()[-1] == "raised JobCancelled True"


@pytest.mark.usefixtures("tasks")
@pytest.mark.parametrize(("task", "settings"), DEAF)
def test_a_job_that_does_not_let_itself_be_cancelled_ends_with_its_worker(
    lab: Any, task: str, settings: dict[str, int]
) -> None:
    app = lab.start(grace=0.3, **settings)
    uuid = app.ask(f"{task}('gate').uuid")
    lab.begun("gate")
    assert app.ask(f"autocron.get_result({uuid!r}).cancel()") is True
    assert lab.ended(uuid).state == "cancelled"
    assert app.ask("work(1).wait(10)") == 1


@pytest.mark.usefixtures("tasks")
def test_a_queued_job_is_cancelled_and_its_waiter_told(lab: Any) -> None:
    app, other = lab.start(), lab.start()
    held = app.ask("hold('gate').uuid")
    lab.begun("gate")
    uuid = app.ask("work(7).uuid")
    other.tell(f"autocron.get_result({uuid!r}).wait(20)")
    assert app.ask(f"autocron.get_result({uuid!r}).cancel()") is True
    with pytest.raises(Exception, match=r"TaskCancelled.*cancelled"):
        other.answer()
    lab.open_gate("gate")
    assert lab.ended(held).state == "succeeded"
    assert "ran 7" not in lab.ledger()


@pytest.mark.usefixtures("tasks")
def test_a_job_that_is_cancelled_as_its_node_dies_does_not_run_again(lab: Any) -> None:
    app = lab.start(grace=30)
    uuid = app.ask("deaf('gate').uuid")
    lab.begun("gate")
    node = lab.node()
    assert app.ask(f"autocron.get_result({uuid!r}).cancel()") is True
    lab.until(lambda: "deaf" in lab.ledger())
    lab.kill(node)
    assert lab.ended(uuid).state == "cancelled"
    lab.node(other_than=node)
    assert len([line for line in lab.ledger() if line.startswith("begun")]) == 1


@pytest.mark.usefixtures("tasks")
def test_a_stop_ends_what_is_being_cancelled(lab: Any) -> None:
    app = lab.start(grace=0.3)
    uuid = app.ask("deaf('gate').uuid")
    lab.begun("gate")
    app.ask(f"autocron.get_result({uuid!r}).cancel()")
    begin = time.monotonic()
    app.ask("autocron.stop()")
    assert time.monotonic() - begin < 5
    assert lab.job(uuid).state == "cancelled"
