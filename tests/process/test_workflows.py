"""Jobs that wait for others, with real workers: values, failures, and kills in the middle of a graph."""

import time
from functools import partial
from typing import Any

import pytest
from databases import on_each_database

pytestmark = on_each_database
TASKS = """
    @delay
    def fail():
        raise ValueError("too bad")

    @delay
    def join(values, **named):
        return values, named

    @delay
    def sizes(values):
        return [len(value) for value in values]

    @delay
    def spread(count):
        return join([part.later for part in work.map(range(count))]).uuid

    @delay
    def grow(number, values):
        note("ran", number)
        time.sleep(0.02)
        return sum(values) + 1

    def work_in_a_block(number):
        with autocron.transaction():
            work(float(number))
            work("b")
            1 / number

    def chains(count):
        with autocron.transaction():
            for number in range(count):
                needed = join(fail().later)
                join.options(after=[needed], on_parent_failure="run")(number)

    def layers(depth, width):
        with autocron.transaction():
            row = grow.starmap((number, []) for number in range(width))
            for layer in range(1, depth):
                values = [one.later for one in row]
                row = [grow(layer * width + number, values) for number in range(width)]
            return grow(depth * width, [one.later for one in row]).uuid
"""


@pytest.fixture
def flow(lab: Any) -> Any:
    lab.add("tasks.py", TASKS)
    return lab


def test_values_arrive(flow: Any) -> None:
    app = flow.start(workers=2)
    assert app.ask("join([work(i).later for i in range(9)], x=(work('x').later,)).wait(20)") == (
        [*range(9)],
        {"x": ("x",)},
    )
    assert app.ask("join(work('ready').later).wait(20)") == ("ready", {})
    assert app.ask("autocron.get_result(spread(5).wait(20)).wait(20)") == ([*range(5)], {})
    large = "run('value = chr(120) * 1_000_000').later"
    assert app.ask(f"sizes.options(after=[work(1)])([{large} for _ in range(5)]).wait(20)") == [1_000_000] * 5


def test_many_calls_at_once(flow: Any) -> None:
    app = flow.start()
    assert app.ask("[one.wait(10) for one in work.map([1, 2]) + work.starmap([(3,), (4, 0.0)])]") == [1, 2, 3, 4]
    with pytest.raises(Exception, match="ZeroDivisionError"):
        app.ask("work_in_a_block(0)")
    app.ask("work_in_a_block(1)")
    flow.until(lambda: flow.ledger()[4:] == ["ran 1.0", "ran b"])


def test_a_failure_reaches_those_that_wait(flow: Any) -> None:
    app = flow.start()
    app.ask("globals().update(failed=fail()) and None")
    app.ask("globals().update(second=join(join(failed.later).later)) and None")
    reason = f"TaskCancelled: tasks.join was cancelled: tasks.fail {app.ask('failed.uuid')} failed: ValueError: too bad"
    with pytest.raises(Exception, match=reason):
        app.ask("second.wait(20)")
    assert app.ask("join.options(after=[failed], on_parent_failure='run')(1).wait(20)") == (1, {})
    assert app.ask("[one.status.value for one in second.graph()][:3]") == ["failed", "cancelled", "cancelled"]
    flow.until(lambda: "jobs were cancelled because others" in flow.output(), what="the node tells of it")


def test_a_graph_under_kills(flow: Any) -> None:
    app = flow.start(workers=2)
    depth, width = 12, 5
    uuid = app.ask(f"layers({depth}, {width})")
    total = depth * width + 1
    killed = {"node": 0, "worker": 0}

    def ran() -> int:
        return len({line for line in flow.ledger() if line.startswith("ran ")})

    def goes_on(since: int) -> bool:
        return ran() > since or flow.job(uuid).finished_at is not None

    for step in range(4):  # three crashes would make a job fail
        flow.until(partial(goes_on, ran()), 20, "work goes on")
        if step % 2:
            killed["node"] += flow.kill(flow.node())
        else:
            killed["worker"] += sum(flow.kill(pid) for pid in flow.ready_now()[:1])
    flow.ended(uuid, 40)
    job = flow.job(uuid)
    value = 1
    for _ in range(depth):
        value = value * width + 1
    assert job.result == str(value)
    assert (job.state, ran()) == ("succeeded", total), job.error_message
    assert killed["node"] == 2
    assert flow.store.counts(time.time()).by_state == {"succeeded": total}


def test_failures_under_kills(flow: Any) -> None:
    app = flow.start(workers=2)
    app.ask("chains(60)")

    def states() -> dict[str, int]:
        return {str(state): count for state, count in flow.store.counts(0.0).by_state.items()}

    for failed in (5, 25):
        flow.until(lambda count=failed: states().get("failed", 0) >= count, what=f"{failed} have failed")
        flow.kill_node()
    flow.until(lambda: states() == {"failed": 60, "cancelled": 60, "succeeded": 60})
