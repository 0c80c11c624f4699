"""What runs around jobs, and after those that failed, in calls that run in their caller."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from autocron import ConfigError, Job, TaskResult, current, hooks, on_failure
from autocron.app import App
from autocron.clock import SystemClock
from autocron.options import Plan
from autocron.task import Registry

SAID: list[object] = []


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    own = Registry()
    app = App(own, SystemClock())
    app._is_inline = True
    monkeypatch.setattr("autocron.app._app", app)
    monkeypatch.setattr(hooks, "registry", own)
    SAID.clear()
    return own


def around_sync(job: Job) -> Iterator[None]:
    SAID.append(("in", job.task))
    try:
        yield
    finally:
        SAID.append("out")


async def around_async(job: Job) -> AsyncIterator[None]:
    SAID.append(("async in", job is current()))
    try:
        yield
    finally:
        SAID.append("async out")


class Suppress(contextlib.AbstractContextManager[None]):
    def __init__(self, job: Job) -> None:
        pass

    def __exit__(self, *error: object) -> bool:
        SAID.append(type(error[1]).__name__)
        return True


def broken(job: Job) -> Iterator[None]:
    raise ValueError("no context")


def nothing(job: Job) -> Any:
    return 5


def work() -> str:
    SAID.append("work")
    return "value"


async def awork() -> str:
    return work()


def fail() -> None:
    raise KeyError("key")


async def afail() -> None:
    raise KeyError("key")


def call(registry: Registry, function: Callable[..., Any], **options: Any) -> TaskResult[Any]:
    return registry.add_task(function, None, Plan().with_options(options))()  # type: ignore[arg-type]


@pytest.mark.parametrize("function", [work, awork])
def test_hooks_run_around_every_job_the_first_one_outermost(registry: Registry, function: Callable[..., Any]) -> None:
    hooks.around(around_sync)
    hooks.around(around_async)
    hooks.around(around_sync)  # as by a module that is imported again
    assert call(registry, function).result == "value"
    name = f"{__name__}.{function.__name__}"
    assert [("in", name), ("async in", True), "work", "async out", "out"] == SAID


@pytest.mark.parametrize("function", [fail, afail])
def test_hooks_see_what_a_job_raises(registry: Registry, function: Callable[..., Any]) -> None:
    for hook in (around_async, around_sync):
        hooks.around(hook)
    result = call(registry, function)
    assert result.error_message == "KeyError: 'key'"
    assert "hooks.py" not in result.traceback.partition("test_hooks.py")[0]
    assert SAID[-2:] == ["out", "async out"]


def test_a_context_manager_is_a_hook_and_may_suppress(registry: Registry) -> None:
    hooks.around(suppress)
    assert call(registry, fail).status == "succeeded"
    assert SAID == ["KeyError"]


def suppress(job: Job) -> Suppress:
    return Suppress(job)


@pytest.mark.parametrize(("hook", "error"), [(broken, "ValueError: no context"), (nothing, "TypeError: @around")])
def test_what_a_hook_raises_is_an_error_of_the_job(registry: Registry, hook: Any, error: str) -> None:
    hooks.around(hook)
    assert call(registry, work).error_message.startswith(error)
    assert SAID == []


def tell(result: TaskResult[Any]) -> None:
    SAID.append((result.task, result.error_message, current().task))


async def atell(result: TaskResult[Any]) -> None:
    SAID.append("atell")
    raise ValueError("its own failure calls no hook")


def test_a_failed_job_calls_the_hooks_once(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    hooks.on_failure(tell)
    hooks.on_failure(atell)
    call(registry, work)
    assert SAID == ["work"]
    call(registry, fail, retries=2)
    assert SAID[1:] == [(f"{__name__}.fail", "KeyError: 'key'", f"{__name__}.tell"), "atell"]
    assert "its own failure calls no hook" in caplog.text


def test_a_failure_hook_must_be_one_that_a_worker_finds() -> None:
    with pytest.raises(ConfigError, match="lambda"):
        on_failure(lambda result: None)
