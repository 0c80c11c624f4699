"""What a running job can know and say, with a real node and workers."""

from typing import Any

import pytest
from databases import on_each_database

from autocron import Progress

pytestmark = on_each_database
TASKS = """
    import asyncio, logging, threading
    from contextvars import copy_context

    def about():
        job = autocron.current()
        return job.uuid, job.task, job.attempt

    @delay
    def sync_job():
        return about()

    @delay
    async def async_job():
        return await asyncio.to_thread(about)

    @delay
    def talk(gate):
        print("out \\x1b[31m")
        logging.getLogger("app").warning("log")
        autocron.current().progress(1, 3, "first")
        hold.function(gate)
        print("end", file=sys.stderr)
        autocron.current().progress(3, 3)
"""


@pytest.mark.parametrize("task", ["sync_job", "async_job"])
def test_a_job_knows_itself(lab: Any, task: str) -> None:
    lab.add("tasks.py", TASKS)
    app = lab.start()
    assert app.ask(f"(r := {task}()).wait(10) == (r.uuid, 'tasks.{task}', 1)") is True


def test_log_records_name_their_job(lab: Any) -> None:
    app = lab.start()
    record = "import logging; record = logging.getLogger('app').makeRecord('app', 30, '', 0, '', (), None)"
    app.ask(
        f"globals().update(result=run({record + '; value = record.autocron_uuid, record.autocron_task'!r})) and None"
    )
    assert app.ask("result.wait(10) == (result.uuid, result.task)") is True


def test_what_a_job_says_is_seen_while_it_runs(lab: Any) -> None:
    lab.add("tasks.py", TASKS)
    app = lab.start()
    uuid = app.ask("talk('gate').uuid")
    lab.until(lambda: (job := lab.job(uuid)).progress == Progress(1, 3, "first") and "log" in job.output)
    lab.open_gate("gate")
    job = lab.ended(uuid)
    assert job.progress == Progress(3, 3)
    assert job.output == "out \x1b[31m\nlog\nend\n"
    assert app.ask(f"autocron.get_result('{uuid}').output") == "out \\x1b[31m\nlog\nend\n"
    lab.until(
        lambda: all(text in lab.output() for text in ("out \x1b[31m\n", "log\n", "end\n")), what="on the terminal"
    )


@pytest.mark.parametrize("victim", ["worker", "node"])
def test_what_a_job_said_is_of_its_last_attempt(lab: Any, victim: str) -> None:
    lab.add("tasks.py", TASKS)
    app = lab.start()
    uuid = app.ask("talk('gate').uuid")
    worker = lab.begun("gate")
    lab.until(lambda: lab.job(uuid).progress)
    lab.kill(worker if victim == "worker" else lab.node())
    lab.begun("gate", 2)
    lab.open_gate("gate")
    job = lab.ended(uuid)
    assert (job.state, job.attempt, job.progress) == ("succeeded", 2, Progress(3, 3))
    assert job.output.count("log") == 1


HOOKS = """
    import asyncio

    @autocron.around
    async def surround(job):
        note("in", job.task)
        yield
        note("out", job.task)

    @autocron.on_failure
    def tell(result):
        note("told", result.task, result.error_message)

    @delay
    def fail():
        raise ValueError("bad")

    @delay
    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def charge(what):
        note("charged", what)
        return what, len(what)

    async def acharge(what):
        return charge(what)

    @delay
    def pay(gate):
        value = autocron.current().step("charge", charge, "sync")
        hold.function(gate)
        return value

    @delay
    async def apay(gate):
        value = await autocron.current().step("charge", acharge, "async")
        await asyncio.to_thread(hold.function, gate)
        return value
"""


def test_hooks_run_in_the_worker_and_after_failures_of_every_kind(lab: Any) -> None:
    lab.add("tasks.py", HOOKS)
    app = lab.start()
    failed, died = app.ask("[fail().uuid, die.options(on_crash='fail')().uuid]")
    lab.until(lambda: len([line for line in lab.ledger() if line.startswith("told")]) == 2)
    told = sorted(line for line in lab.ledger() if line.startswith("told"))
    assert told[0].startswith("told tasks.die worker lost: SIGKILL")
    assert told[1] == "told tasks.fail ValueError: bad"
    assert {lab.job(uuid).state for uuid in (failed, died)} == {"failed"}
    assert app.ask("work(1).wait(10)") == 1
    assert lab.ledger()[-3:] == ["in tasks.work", "ran 1", "out tasks.work"]


@pytest.mark.parametrize("task", ["pay", "apay"])
def test_a_step_is_not_done_again_after_a_crash(lab: Any, task: str) -> None:
    lab.add("tasks.py", HOOKS)
    app = lab.start()
    uuid = app.ask(f"{task}('gate').uuid")
    for times in (1, 2):
        lab.kill(lab.begun("gate", times))
    lab.begun("gate", 3)
    lab.kill_node()
    lab.begun("gate", 4)
    lab.open_gate("gate")
    assert lab.ended(uuid).state == "succeeded"
    assert len([line for line in lab.ledger() if line.startswith("charged")]) == 1
