"""The running job as its task sees it, in calls that run in their caller."""

import asyncio
import contextvars
import threading
from collections.abc import Iterator

import pytest

from autocron import Progress, current
from autocron.app import App
from autocron.clock import SystemClock
from autocron.options import Plan
from autocron.task import Registry, Task


@pytest.fixture
def app() -> Iterator[App]:
    one = App(Registry(), SystemClock())
    one._is_inline = True
    yield one
    one.stop()


def task_of(app: App, function: object) -> Task[..., object]:
    return Task(function, "app.task", Plan(), app._registry)  # type: ignore[arg-type]


def about() -> tuple[str, str, str, int, bool, str]:
    job = current()
    return job.uuid, job.task, job.queue, job.attempt, job.cancelled, job.idempotency_key


async def about_in_coroutine() -> object:
    return await asyncio.create_task(asyncio.to_thread(about))


def about_in_thread() -> object:
    seen = list[object]()
    context = contextvars.copy_context()
    thread = threading.Thread(target=lambda: seen.append(context.run(about)))
    thread.start()
    thread.join()
    return seen[0]


@pytest.mark.parametrize("function", [about, about_in_coroutine, about_in_thread])
def test_a_call_knows_its_job_wherever_it_runs(app: App, function: object) -> None:
    result = task_of(app, function)()
    assert result.result == (result.uuid, "app.task", "default", 1, False, result.uuid)


def test_a_call_knows_its_queue(app: App) -> None:
    task = Task(lambda: current().queue, "app.task", Plan().with_options({"queue": "mail"}), app._registry)
    assert task().result == "mail"


def test_a_call_within_a_call_is_a_job_of_its_own(app: App) -> None:
    inner = task_of(app, about)

    def outer() -> object:
        before = current()
        result = inner()
        assert current() is before
        return before.uuid, result.result

    outer_uuid, seen = task_of(app, outer)().result
    assert seen[0] != outer_uuid


def test_outside_of_a_job_there_is_none(app: App) -> None:
    task_of(app, about)()
    with pytest.raises(LookupError, match="copy_context"):
        current()


def test_the_last_progress_is_kept(app: App) -> None:
    def work() -> None:
        current().progress(1)
        current().progress(3, 4, "rows \0")

    assert task_of(app, work)().progress == Progress(3.0, 4.0, "rows \\x00")


@pytest.mark.parametrize("numbers", [(float("nan"),), (1, float("inf"))])
def test_progress_without_an_end_is_refused(app: App, numbers: tuple[float, ...]) -> None:
    result = task_of(app, lambda: current().progress(*numbers))()
    assert "is not finite" in result.error_message
    assert result.progress is None


def test_steps_are_done_once_over_all_attempts(app: App) -> None:
    done = list[str]()

    def charge(what: str, *, times: int = 1) -> tuple[str, int]:
        done.append(what)
        return what, times

    async def acharge() -> str:
        done.append("async")
        return "b"

    def work() -> tuple[object, ...]:
        first = current().step("first", charge, "a", times=2)
        again = asyncio.run(current().step("second", acharge))  # type: ignore[arg-type]
        if current().attempt < 3:
            raise ValueError("again")
        return first, again

    task = Task(work, "app.task", Plan().with_options({"retries": 3}), app._registry)
    assert task().result == (("a", 2), "b")
    assert done == ["a", "async"]


def test_a_step_that_fails_or_can_not_be_kept_is_done_again(app: App) -> None:
    done = list[int]()

    def bad() -> object:
        done.append(1)
        return object() if len(done) > 1 else 1 / 0

    def work() -> None:
        current().step("bad", bad)

    result = Task(work, "app.task", Plan().with_options({"retries": 1}), app._registry)()
    assert len(done) == 2
    assert "the value of the step 'bad'" in result.error_message
