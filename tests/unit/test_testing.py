"""What autocron.testing gives to the tests of applications."""

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

import autocron
from autocron import app as app_module
from autocron import task as tasks
from autocron.app import App, get_result
from autocron.clock import SystemClock
from autocron.crontab import parse
from autocron.model import State
from autocron.options import Plan
from autocron.task import AnyTask, Registry
from autocron.testing import Call, captured, drain, inline

ran: list[object] = []


def note(*words: object) -> str:
    ran.append(words)
    return " ".join(map(str, words))


def twice(word: str) -> None:
    task("note")(word)
    task("note")(word)


def fail() -> None:
    ran.append(time.time())
    raise ConnectionError("no route")


def wait_for_another() -> None:
    task("note")().wait()


async def later(word: str) -> str:
    await asyncio.sleep(0)
    return word


def tick() -> None:
    ran.append("tick")


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    own = Registry()
    for function in (note, twice, fail, wait_for_another, later):
        own.add_task(function, function.__name__, Plan())
    monkeypatch.setattr(tasks, "registry", own)
    monkeypatch.setattr(app_module, "_apps", [App(own, SystemClock())])
    monkeypatch.setattr(app_module, "_app", app_module._apps[0])
    ran.clear()
    yield own
    assert app_module._apps == [app_module._app]
    assert own.caller is app_module._app


def task(name: str) -> AnyTask:
    return tasks.registry.tasks[name]


def soon(**times: float) -> datetime:
    return datetime.now(UTC) + timedelta(**times)


def test_inline_calls_run_at_once_and_those_they_make_too() -> None:
    with inline():
        assert task("twice")("a").status is State.SUCCEEDED
        assert task("note").options(days=3)("b").result == "b"
        failed = task("fail").options(retries=2)()
        assert (failed.status, len(failed.attempts)) == (State.FAILED, 3)
        assert asyncio.run(_await_later()) == "c"
    assert ran[:3] == [("a",), ("a",), ("b",)]


async def _await_later() -> str:
    return await task("later")("c")


def test_captured_calls_are_kept_and_do_not_run() -> None:
    with captured() as calls:
        result = task("note").options(minutes=5, retries=2)("a", 1)
        task("note")("b")
    (first, second) = calls
    assert (first.task, first.args, first.kwargs) == ("note", ("a", 1), {})
    assert first.options == {"minutes": 5, "retries": 2}
    assert timedelta(minutes=4.9) < first.run_at - second.run_at < timedelta(minutes=5)
    assert first.result is result
    assert second == Call("note", ("b",), {}, {}, second.run_at, result)
    assert not ran


def test_a_call_that_could_not_be_kept_is_refused_as_ever() -> None:
    with captured() as calls:
        with pytest.raises(TypeError, match="argument 1"):
            task("note")(object())
        with pytest.raises(ValueError, match="max_payload"):
            task("note")("x" * (2 << 20))
    assert calls == []


def test_the_calls_of_threads_and_coroutines_are_kept() -> None:
    with captured() as calls:
        threads = [threading.Thread(target=task("note"), args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        asyncio.run(_enqueue_some())
        assert drain() == 25
    assert len(calls) == len(ran) == 25


async def _enqueue_some() -> None:
    await asyncio.gather(*(task("note").aenqueue(n) for n in range(5)))


def test_drain_runs_what_is_due_and_what_that_enqueues() -> None:
    with captured() as calls:
        task("twice")("a")
        task("note").options(hours=1)("late")
        assert drain() == 3
        assert [call.task for call in calls] == ["twice", "note", "note", "note"]
        assert calls[-1].result.result == "a"
        assert drain() == 0
        assert drain(soon(minutes=59)) == 0
        assert drain(soon(minutes=61)) == 1
        assert drain(soon(minutes=1)) == 0  # the clock does not go back
    assert ran == [("a",), ("a",), ("late",)]


def test_jobs_are_found_again_and_attempts_are_those_of_a_worker() -> None:
    with captured():
        uuid = task("fail").options(retries=autocron.Retry(2, delay=60, jitter=False))().uuid
        assert drain() == 1
        assert get_result(uuid).status is State.QUEUED
        assert drain(soon(seconds=50)) == 0
        assert drain(soon(minutes=10)) == 2
        found = get_result(uuid)
        assert (found.status, found.error_message) == (State.FAILED, "ConnectionError: no route")
        assert [attempt.outcome for attempt in found.attempts] == ["failed"] * 3
        starts = [attempt.started_at for attempt in found.attempts]
        assert timedelta(seconds=60) <= starts[1] - starts[0] < timedelta(seconds=90)
        assert timedelta(seconds=120) <= starts[2] - starts[1] < timedelta(seconds=150)


def test_what_is_not_run_in_time_expires() -> None:
    with captured():
        late = task("note").options(hours=1, expires=soon(minutes=30))("late")
        kept = task("note").options(minutes=30, expires=60)("in time")
        assert drain(soon(days=9)) == 1
        assert (late.status, late.error_message) == (State.CANCELLED, "expired")
        assert kept.status is State.SUCCEEDED


def test_schedules_fire_while_the_clock_goes_on(registry: Registry) -> None:
    options = {"name": "tick", "task": "tick", "missed": "once", "overlap": "skip", "plan": Plan()}
    registry.add_schedule(tick, parse(every=3600), **options)  # type: ignore[arg-type]
    with captured() as calls:
        assert drain() == 0
        assert drain(soon(days=1, seconds=1)) == 24
        assert calls == []
    assert ran == ["tick"] * 24


def test_an_async_job_runs_also_where_a_loop_runs() -> None:
    async def program() -> str:
        result = await task("later").aenqueue("x")
        assert drain() == 1
        return await result

    with captured():
        task("later")("y")
        assert drain() == 1
        assert asyncio.run(program()) == "x"


def test_waiting_for_what_nobody_runs_is_an_error() -> None:
    with captured():
        with pytest.raises(RuntimeError, match=r"call drain\(\)"):
            task("note")().wait()
        inside = task("wait_for_another")()
        drain()
        assert inside.error_message.startswith("RuntimeError")


def test_a_job_without_its_task_is_parked(registry: Registry) -> None:
    with captured():
        result = task("note")("a")
        del registry.functions["note"]
        assert drain() == 1
        assert (result.status, result.held) == (State.QUEUED, "unknown task 'note'")


def test_start_and_stop_do_nothing_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "find_place", None)
    for mode in (inline, captured):
        with mode():
            assert autocron.start("project.db", 2) is False
            autocron.stop()
            task("note")("a")


def test_the_one_entered_last_has_the_calls_whatever_ends_first() -> None:
    outer, inner = captured(), captured()
    first, second = outer.__enter__(), inner.__enter__()
    task("note")(1)
    outer.__exit__(None, None, None)
    task("note")(2)
    inner.__exit__(None, None, None)
    assert (len(first), len(second)) == (0, 2)
    with captured() as calls, inline():
        assert task("note")(3).result == "3"
        assert calls == []
        with pytest.raises(RuntimeError, match=r"captured\(\)"):
            drain()


def test_ctrl_c_ends_a_drain(registry: Registry) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    registry.functions["note"] = interrupt
    with captured():
        task("note")()
        with pytest.raises(KeyboardInterrupt):
            drain()


@pytest.mark.parametrize("where", ["inline", "captured"])
def test_workflows_run_in_tests_too(where: str) -> None:
    with inline() if where == "inline" else captured():
        with autocron.transaction():
            end = task("note")("end", task("note")("first").later, *task("note").map([1, 2]))
        lost = task("note")(task("fail")().later)
        if where == "captured":
            assert (end.status, lost.status) == (State.WAITING, State.WAITING)
            drain()
        assert end.wait() == "end first 1 2"
        assert lost.status is State.CANCELLED
        assert lost.error_message.endswith("failed: ConnectionError: no route")
