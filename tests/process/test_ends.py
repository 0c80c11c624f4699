"""The orderly ends: stop(), Ctrl-C, and the autocron lock."""

import signal
import time
from typing import Any

import pytest

WITHIN = 2.0  # seconds that stop() may take beside the grace


def test_stop_while_busy(lab: Any) -> None:
    app = lab.start(workers=2, grace=0.5)
    held = app.ask("hold('gate').uuid")
    lab.begun("gate")
    begin = time.monotonic()
    app.ask("autocron.stop()")
    assert time.monotonic() - begin < 0.5 + WITHIN
    lab.until(lambda: not lab.background(), 1, "all children end")
    job = lab.job(held)
    assert (job.state, [past.outcome for past in job.past_attempts]) == ("queued", ["interrupted"])


def test_stop_lets_a_job_finish(lab: Any) -> None:
    app = lab.start(grace=10)
    held, queued = app.ask("[hold('gate').uuid, work(1).uuid]")
    lab.begun("gate")
    app.tell("autocron.stop()")
    lab.until(lambda: (status := lab.status()) and status.state == "draining", what="the node drains")
    lab.open_gate("gate")
    app.answer(WITHIN)
    assert (lab.job(held).state, lab.job(queued).state) == ("succeeded", "queued")
    assert app.ask("(r := work(2)).is_ready and r.result") == 2  # runs here now


def test_restart_with_another_environment(lab: Any) -> None:
    """The node outlives the application for a moment; its workers must not keep what the application has lost."""
    nodes = set()
    for colour in ("red", "blue"):
        lab.environ["COLOUR"] = colour
        app = lab.start(linger=10)
        assert app.ask("run('value = os.environ[\"COLOUR\"]').wait(10)") == colour
        nodes.add(lab.node())
        app.kill()
    assert len(nodes) == 1


def test_stop_of_one_of_two(lab: Any) -> None:
    first, second = lab.start(), lab.start()
    node = lab.node()
    first.ask("autocron.stop()")
    assert second.ask("work(1).wait(10)") == 1
    assert lab.node() == node


@pytest.mark.parametrize("obeys", [True, False])
def test_two_interrupts(lab: Any, obeys: bool) -> None:
    """The first one, as in a server, leads to stop(); the second comes while that waits."""
    lab.write(
        "app.py",
        """
        import sys, autocron
        from tasks import *
        autocron.start("test.db", grace=30)
        run(sys.argv[1])
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            note("stopping")
            autocron.stop()
        """,
    )
    deaf = "try:\n    hold.function('gate')\nexcept BaseException:\n    hold.function('gate')"
    app = lab.launch("app.py", "hold.function('gate')" if obeys else deaf)
    lab.begun("gate")
    app.signal(signal.SIGINT)
    lab.until(lambda: "stopping" in lab.ledger() and lab.status().state == "draining")
    begin = time.monotonic()
    app.signal(signal.SIGINT)
    assert app.wait() in (1, 130, -signal.SIGINT)
    lab.until(lambda: not lab.background(), 3, "all children end")
    assert time.monotonic() - begin < 4
    (job,) = lab.store.find("queued", 9, time.time())
    assert [past.outcome for past in job.past_attempts] == ["interrupted"]


def test_lock(lab: Any) -> None:
    app = lab.start()
    node = lab.node()
    held, queued = app.ask("[hold('gate').uuid, work(1).uuid]")
    lab.begun("gate")
    lab.store.set({"locked": True})
    lab.until(lambda: (status := lab.status()) and status.state == "draining", what="the node drains")
    assert app.ask("(r := work(2)).is_ready and r.result") == 2
    lab.open_gate("gate")
    lab.until(lambda: not lab.background(), what="the node ends")
    assert (lab.job(held).state, lab.job(queued).state) == ("succeeded", "queued")
    assert app.ask("(r := work(3)).is_ready and r.result") == 3
    assert lab.launch("app.py").ask("autocron.start('test.db')") is False
    lab.store.set({"locked": False})
    assert app.ask("work(4).wait(10)") == 4
    assert lab.ended(queued).state == "succeeded"
    assert lab.node() != node
