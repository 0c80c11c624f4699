"""Calls that are stored together, and whose calls those are."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autocron import ResultNotFound, State, TaskResult
from autocron.app import App
from autocron.batch import Lazy
from autocron.clock import SystemClock
from autocron.options import Plan
from autocron.task import AnyTask, Registry

if TYPE_CHECKING:
    from autocron.batch import Pending


def add(first: int, second: int = 0) -> int:
    return first + second


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def task(registry: Registry) -> AnyTask:
    return registry.add_task(add, None, Plan())


@pytest.fixture(params=["stored", "here"])
def app(request: pytest.FixtureRequest, registry: Registry, tmp_path: Path) -> Iterator[App]:
    one = App(registry, SystemClock())
    if request.param == "stored":
        one.start(tmp_path / "jobs.db", 0, "normal", {}, None)
    yield one
    one.stop()


@pytest.fixture
def storing(registry: Registry, tmp_path: Path) -> Iterator[App]:
    one = App(registry, SystemClock())
    one.start(tmp_path / "jobs.db", 0, "normal", {}, None)
    yield one
    one.stop()


def accepted(*results: TaskResult[Any]) -> list[bool]:
    """Say which of the calls were accepted, as somebody sees it who is not in the block."""
    answers: list[bool] = []

    def ask() -> None:
        for result in results:
            try:
                answers.append(bool(result.status))
            except ResultNotFound:
                answers.append(False)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return answers


def test_calls_are_accepted_at_the_end_of_the_block(app: App, task: AnyTask) -> None:
    with app.transaction():
        results = [task(1), task(2, 3)]
        assert accepted(*results) == [False, False]
        with pytest.raises(RuntimeError, match=r"stored when the block of autocron.transaction\(\) ends"):
            results[0].wait()
    assert accepted(*results) == [True, True]


def test_a_block_that_raises_accepts_nothing(app: App, task: AnyTask) -> None:
    results: list[TaskResult[Any]] = []
    with contextlib.suppress(KeyError), app.transaction():
        results.append(task(1))
        raise KeyError
    assert accepted(*results) == [False]
    assert accepted(task(1)) == [True]


def test_inner_blocks_join(app: App, task: AnyTask) -> None:
    results: list[TaskResult[Any]] = []
    with contextlib.suppress(KeyError), app.transaction():
        with app.transaction():
            results += [task(1), *task.map([2, 3])]
        assert accepted(*results) == [False] * 3
        raise KeyError
    assert accepted(*results) == [False] * 3


def test_without_a_node_the_calls_run_in_their_order(registry: Registry, task: AnyTask) -> None:
    app = App(registry, SystemClock())
    with app.transaction():
        first = task(1)
        second = task(first.later, 5)
        results = [*task.map(range(3000)), second]
    assert [result.wait() for result in results] == [*range(3000), 6]


def test_many_calls_at_once(app: App, task: AnyTask) -> None:
    results = task.map(iter([1, 2])) + task.starmap([(1, 2), [3]])
    assert len({result.uuid for result in results}) == 4
    assert accepted(*results) == [True] * 4
    assert task.map([]) == []


@pytest.mark.parametrize(
    ("args", "error", "outcomes"),
    [((1, 2, 3), "too many positional", []), ((object(),), "argument 1: ", [False])],  # of the calls that were made
)
def test_one_wrong_call_among_many_and_none_is_accepted(
    app: App, task: AnyTask, args: Any, error: str, outcomes: list[bool]
) -> None:
    made: list[Pending] = []
    make = app._pending
    app._pending = lambda *call: made.append(make(*call)) or made[-1]  # type: ignore[method-assign, func-returns-value]
    with pytest.raises(TypeError, match=error):
        task.starmap([(1,), args])
    assert accepted(*(one.result for one in made)) == outcomes


def test_what_is_lazy_is_made_when_it_is_looked_at_and_once() -> None:
    made: list[int] = []
    numbers = Lazy(10, lambda number: made.append(number) or number * number)  # type: ignore[func-returns-value]
    assert (len(numbers), made) == (10, [])
    assert numbers[1:4] == [1, 4, 9]
    assert made == [0, 1, 2, 3]
    assert numbers[2] == 4
    assert numbers[20:30] == []
    assert made == [0, 1, 2, 3]
    assert numbers[-1] == 81
    assert [*numbers] == [number * number for number in range(10)]
    assert made == [*range(10)]
    with pytest.raises(IndexError):
        numbers[10]


def test_too_large_arguments_are_an_error_at_the_call(storing: App, task: AnyTask) -> None:
    with storing.transaction(), pytest.raises(ValueError, match="bytes; 1,048,576 are stored at most"):
        task("x" * (1 << 20))


def test_other_threads_do_not_take_part(storing: App, task: AnyTask) -> None:
    results: list[TaskResult[Any]] = []
    with contextlib.suppress(KeyError), storing.transaction():
        thread = threading.Thread(target=lambda: results.append(task(1)))
        thread.start()
        thread.join()
        raise KeyError
    assert accepted(*results) == [True]


def test_other_asyncio_tasks_do_not_take_part(storing: App, task: AnyTask) -> None:
    async def call() -> TaskResult[Any]:
        return await task.aenqueue(1)

    async def main() -> list[TaskResult[Any]]:
        results: list[TaskResult[Any]] = []
        with contextlib.suppress(KeyError), storing.transaction():
            results.append(await call())
            results.append(await asyncio.create_task(call()))
            assert accepted(*results) == [False, True]
            raise KeyError
        return results

    assert accepted(*asyncio.run(main())) == [False, True]


def test_a_forked_child_stores_nothing_of_its_parents_block(storing: App, task: AnyTask) -> None:
    pid = -1
    try:
        with storing.transaction():
            result = task(1)
            pid = os.fork()
            if pid:
                os.waitpid(pid, 0)
                assert accepted(result) == [False]
    finally:
        if pid == 0:
            os._exit(0)
    assert accepted(result) == [True]


def test_a_graph_in_one_block(storing: App, task: AnyTask) -> None:
    with storing.transaction():
        first = task(1)
        second = task.options(after=[first])(first.later)
    assert (first.status, second.status) == (State.QUEUED, State.WAITING)
    assert [one.uuid for one in first.graph()] == [first.uuid, second.uuid]


def test_a_result_of_elsewhere_is_refused_with_all_others(storing: App, task: AnyTask) -> None:
    elsewhere = TaskResult[int]("somewhere", storing, "other.task")
    results: list[TaskResult[Any]] = []
    with pytest.raises(ResultNotFound, match="can't wait for the job somewhere"), storing.transaction():
        results += [task(1), task(elsewhere.later)]
    assert accepted(*results) == [False, False]


# With the connection of somebody else


def test_calls_are_held_back_for_another_connection(storing: App, task: AnyTask) -> None:
    connection, other = object(), object()
    with storing.transaction(connection):
        result = task(1)
        with storing.transaction(other):
            inner = task(2)
        with storing.transaction(connection):
            joined = task(3)
        assert accepted(result, inner, joined) == [False, True, False]
    assert accepted(result, inner, joined) == [True] * 3


DJANGO = """
import sys
import django
from django.conf import settings
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
django.setup()
from django.db import transaction
import autocron
from autocron import ResultNotFound

@autocron.delay(name="work")
def work(): ...

def accepted(result):
    try:
        return bool(result.status)
    except ResultNotFound:
        return False

autocron.start(sys.argv[1], workers=0)
with transaction.atomic():
    with autocron.transaction("default"):
        kept = work()
    print(accepted(kept))
print(accepted(kept))
try:
    with transaction.atomic():
        with autocron.transaction("default"):
            lost = work()
        raise KeyError
except KeyError:
    print(accepted(lost))
with autocron.transaction("default"):
    alone = work()
print(accepted(alone))
"""


def test_calls_are_stored_when_djangos_transaction_commits(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(DJANGO)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "jobs.db")],
        env={**os.environ, "AUTOCRON_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == (["False", "True", "False", "True"], "")
