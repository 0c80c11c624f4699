"""Whatever is killed: work goes on, no process stays, nothing accepted is lost."""

import os
import signal
import time
from collections import Counter
from typing import Any

import pytest
from databases import on_each_database

from autocron.retry import MAX_CRASHES

KILLS = 40  # a storm that never ended would let a slow machine do no work
GONE = 10.0  # seconds after which nothing of an application may be left


def test_storm(lab: Any, record_property: Any) -> None:
    app = lab.start(workers=2)
    app.ask("[work(i, 0.05) for i in range(120)] and None")
    begin, step, killed = time.monotonic(), 0, Counter[str]()
    next_kill = begin + 0.3

    def ran() -> Counter[str]:
        return Counter(line.split()[1] for line in lab.ledger())

    def over() -> bool:
        return len(ran()) == 200 and lab.store.counts(time.time()).by_state == {"succeeded": 200}

    while not over():
        assert time.monotonic() < begin + 45, (len(ran()), lab.store.counts(time.time()))
        if step == KILLS or time.monotonic() < next_kill:
            time.sleep(0.01)
            continue
        step += 1
        if step in (4, 12):
            killed["node"] += lab.kill(lab.node())
        elif step == 8:
            app.kill()
            killed["app"] += 1
            app = lab.start(workers=2)
            app.ask("[work(i, 0.05) for i in range(120, 200)] and None")
        elif pids := lab.ready_now():
            killed["worker"] += kill_worker(lab, pids[step % len(pids)])
        next_kill = time.monotonic() + 0.3
    twice = sum(count > 1 for count in ran().values())
    figures = f"killed {dict(killed)}, ran twice {twice}, {time.monotonic() - begin:.1f} s"
    record_property("figures", figures)
    print(figures)
    assert killed["node"] == 2
    assert twice <= sum(killed.values()) * 2


def kill_worker(lab: Any, pid: int) -> bool:
    """Kill a worker, unless it runs a job that would fail with that: the third crash is the last."""
    try:
        os.kill(pid, signal.SIGSTOP)  # now it begins nothing else
    except ProcessLookupError:
        return False
    status = lab.until(lab.status)
    uuids = [uuid for worker in status.workers if worker.pid == pid for uuid in worker.jobs]
    crashes = [sum(past.outcome == "crashed" for past in lab.job(uuid).past_attempts) for uuid in uuids]
    if max(crashes, default=0) < MAX_CRASHES - 1:
        return bool(lab.kill(pid))
    os.kill(pid, signal.SIGCONT)
    return False


@on_each_database
def test_application_killed(lab: Any) -> None:
    app = lab.start()
    app.ask("hold('gate') and None")
    lab.begun("gate")
    queued = app.ask("[work(i).uuid for i in range(5)]")
    app.kill()
    lab.until(lambda: not lab.processes(), GONE, "all processes end")
    assert [lab.job(uuid).state for uuid in queued] == ["queued"] * 5
    lab.open_gate("gate")
    lab.start()
    assert [lab.ended(uuid).state for uuid in queued] == ["succeeded"] * 5


@on_each_database
def test_node_killed(lab: Any) -> None:
    app = lab.start(workers=2)
    held = app.ask("hold('gate').uuid")
    lab.begun("gate")
    node, workers = lab.node(), lab.ready(2)
    lab.kill(node)
    lab.node(other_than=node)
    lab.begun("gate", 2)
    assert not {node, *workers} & lab.processes().keys()
    lab.open_gate("gate")
    assert lab.ended(held).state == "succeeded"
    assert [past.outcome for past in lab.job(held).past_attempts] == ["node lost"]
    assert app.ask("work(1).wait(10)") == 1


@on_each_database
def test_worker_killed(lab: Any) -> None:
    app = lab.start()
    held = app.ask("hold('gate').uuid")
    for times in (1, 2, 3):
        lab.kill(lab.begun("gate", times))
        lab.until(lambda times=times: len(lab.job(held).past_attempts) == times or lab.job(held).finished_at, 2)
    job = lab.job(held)
    assert (job.state, job.error_message) == ("failed", "worker died 3 times, the last time with SIGKILL")
    assert [past.outcome for past in job.past_attempts] == ["crashed", "crashed"]
    assert app.ask(f"[a.outcome for a in autocron.get_result({held!r}).attempts]") == ["crashed", "crashed", "failed"]
    assert app.ask("work(1).wait(10)") == 1


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("os._exit(7)", "exit code 7"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("ctypes.string_at(0)", "SIGSEGV"),
    ],
)
def test_task_ends_its_worker(lab: Any, code: str, how: str) -> None:
    app = lab.start()
    job = lab.ended(app.ask(f"run({code!r}).uuid"))
    assert (job.state, job.error_message) == ("failed", f"worker died 3 times, the last time with {how}")
    assert {past.error_message for past in job.past_attempts} == {f"worker lost: {how}"}


@pytest.mark.parametrize("error", ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "RecursionError"])
def test_worker_survives(lab: Any, error: str) -> None:
    app = lab.start()
    (worker,) = lab.ready()
    job = lab.ended(app.ask(f"run('raise {error}(3)').uuid"))
    assert (job.state, job.error_message) == ("failed", f"{error}: 3")
    assert app.ask("run('value = os.getpid()').wait(10)") == worker


@on_each_database
def test_node_terminated(lab: Any) -> None:
    app = lab.start(grace=0.3)
    held = app.ask("hold('gate').uuid")
    lab.begun("gate")
    node = lab.node()
    os.kill(node, signal.SIGTERM)
    lab.node(other_than=node)
    lab.begun("gate", 2)
    lab.open_gate("gate")
    assert lab.ended(held).state == "succeeded"
    assert [past.outcome for past in lab.job(held).past_attempts] == ["interrupted"]
