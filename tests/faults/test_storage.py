"""The database does not take one row, or holds one that cannot be used: that job shows it, all others go on."""

from typing import Any

import apsw
import pytest


def foreign(lab: Any, statement: str) -> None:
    """Do something to the database as somebody else would."""
    connection = apsw.Connection(str(lab.database))
    connection.set_busy_timeout(5000)
    connection.execute(statement)
    connection.close()


def refuse(lab: Any, uuid: str, states: str) -> None:
    foreign(
        lab,
        f"create trigger refuse before update on jobs when new.uuid = '{uuid}' and new.state in ({states}) "
        "begin select raise(abort, 'not this one'); end",
    )


def said(lab: Any, text: str) -> int:
    return (lab.output() + lab.log()).count(text)


def test_outcome_that_cannot_be_stored(lab: Any) -> None:
    app = lab.start(workers=2)
    uuid = app.ask("hold('gate').uuid")
    lab.begun("gate")
    refuse(lab, uuid, "'succeeded'")
    app.ask("[work(n).uuid for n in range(50)] and None")
    lab.open_gate("gate")
    job = lab.ended(uuid)
    assert (job.state, job.result) == ("failed", None)
    assert job.error_message.startswith("its outcome could not be stored: One row of ")
    assert "not this one (ConstraintError)" in job.error_message
    assert app.ask("[work(n).wait(10) for n in range(50)]") == list(range(50))
    lab.until(lambda: said(lab, f"the outcome of job {uuid} could not be stored, so it fails: ") == 1)
    assert not said(lab, "the database cannot be used")


def test_outcome_and_failure_that_cannot_be_stored(lab: Any) -> None:
    app = lab.start(workers=2)
    uuid = app.ask("hold('gate').uuid")
    lab.begun("gate")
    refuse(lab, uuid, "'succeeded', 'failed', 'queued'")
    lab.open_gate("gate")
    stays = f"job {uuid} stays as running until the next node starts: "
    lab.until(lambda: said(lab, stays) == 1)
    node = lab.node()
    assert app.ask("[work(n).wait(10) for n in range(50)]") == list(range(50))
    lab.kill(node)
    lab.until(lambda: said(lab, stays) == 2)
    assert lab.node() != node
    assert app.ask("[work(n).wait(10) for n in range(50)]") == list(range(50))
    assert lab.job(uuid).state == "running"
    assert said(lab, stays) == 2
    assert not said(lab, "the database cannot be used")


def test_lost_job_that_cannot_be_queued_again(lab: Any) -> None:
    app = lab.start()
    uuid = app.ask("hold('gate').uuid")
    lab.begun("gate")
    refuse(lab, uuid, "'queued'")
    node = lab.node()
    lab.kill(node)
    lab.node(other_than=node)
    job = lab.ended(uuid)
    assert job.state == "failed"
    assert "not this one (ConstraintError)" in job.error_message
    assert app.ask("work(1).wait(10)") == 1


@pytest.mark.slow
def test_reader_that_stays(lab: Any) -> None:
    lab.store.set({})
    reader = apsw.Connection(str(lab.database))
    reader.execute("begin; select count(*) from jobs").fetchall()
    app = lab.start()
    for _ in range(40):
        lab.insert("tasks.unknown", "x" * (2 << 20))

    def is_told() -> bool:
        assert app.ask("work(1).wait(10)") == 1  # each is a reason to shorten the log
        return "and could not be shortened for " in lab.output()

    lab.until(is_told, 40)
    assert f"`fuser {lab.database}` names the processes" in lab.output()
    reader.close()


def test_rows_that_cannot_be_used(lab: Any) -> None:
    """One waits, one seems to run when the node starts, one comes while it runs."""
    waiting, running = lab.insert("tasks.work", "[]"), lab.insert("tasks.work", "[]")
    foreign(lab, f"update jobs set arguments = x'80' where uuid = '{waiting}'")
    foreign(lab, f"update jobs set state = 'running', crashes = 'many' where uuid = '{running}'")
    app = lab.start()
    assert app.ask("work(1).wait(10)") == 1
    foreign(
        lab,
        "insert into jobs (uuid, task, arguments, state, run_at, created_at)"
        " values ('foreign', 'tasks.work', cast(x'80' as text), 'queued', 0, 0)",
    )
    assert app.ask("[work(n).wait(10) for n in range(20)]") == list(range(20))
    for uuid in (waiting, running, "foreign"):
        lab.until(lambda uuid=uuid: lab.job(uuid).held)
        assert lab.job(uuid).held.startswith("its row cannot be used: ")
    lab.until(lambda: said(lab, "of the table jobs is parked: ") >= 3)
    assert not said(lab, "the database cannot be used")
