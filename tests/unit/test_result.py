"""What a caller sees of a job, and how waiting for it ends."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from autocron import ConfigError, ResultNotFound, ResultTimeout, StoreError, TaskCancelled, TaskFailed, TaskResult
from autocron.job import Job, current_job
from autocron.model import Attempt, Claim, PastAttempt, State, StoredJob
from autocron.result import find_result, to_seconds
from autocron.steps import StepsHere

UUID = "0190a1b2-0000-7000-8000-0000abcd7f3a"
QUEUED = StoredJob(UUID, "shop.send_mail", State.QUEUED, None, 0, 10.0, 20.0, None, None, None, "", "", [])
RUNNING = msgspec.structs.replace(QUEUED, state=State.RUNNING, attempt=1, started_at=21.0)
DONE = msgspec.structs.replace(RUNNING, state=State.SUCCEEDED, finished_at=21.0121, result='{"$tuple":[1,2]}')
FAILED = msgspec.structs.replace(
    DONE, state=State.FAILED, result=None, error_message="ValueError: no", traceback="Traceback\nValueError: no\n"
)
CANCELLED = msgspec.structs.replace(QUEUED, state=State.CANCELLED, finished_at=22.0, error_message="by hand")


class Jobs:
    """Gives a job in its states, one after another; the last one stays."""

    def __init__(self, *states: StoredJob | Exception | None) -> None:
        self.states = list(states)
        self.reads = 0
        self.watched: list[Callable[[], None]] = []
        self.on_watch: Callable[[], None] = lambda: None

    def get(self, uuid: str) -> StoredJob | None:
        self.reads += 1
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, Exception):
            raise state
        return state if uuid == UUID else None

    @contextmanager
    def watch(self, uuid: str, wake: Callable[[], None]) -> Iterator[None]:
        self.watched.append(wake)
        self.on_watch()
        try:
            yield
        finally:
            self.watched.remove(wake)

    def patience(self) -> float:
        return 30.0

    def in_thread(self, function: Callable[[], Any]) -> Awaitable[Any]:
        return asyncio.to_thread(function)


def result(*states: StoredJob | Exception | None) -> tuple[TaskResult[Any], Jobs]:
    jobs = Jobs(*states)
    return TaskResult(UUID, jobs, "shop.send_mail"), jobs


async def awaited(one: TaskResult[Any]) -> Any:
    return await one


def blocking(one: TaskResult[Any]) -> Any:
    return one.wait()


def in_loop(one: TaskResult[Any]) -> Any:
    return asyncio.run(awaited(one))


both_ways = pytest.mark.parametrize("wait", [blocking, in_loop])


def test_attributes_are_read_fresh_until_the_end_and_then_kept() -> None:
    one, jobs = result(QUEUED, RUNNING, DONE)
    assert [one.status, one.status, one.status] == [State.QUEUED, State.RUNNING, State.SUCCEEDED]
    assert (one.is_ready, one.has_error, one.result) == (True, False, (1, 2))
    assert jobs.reads == 3


def test_before_the_end_there_is_nothing() -> None:
    one, _ = result(QUEUED)
    assert (one.is_ready, one.has_error, one.result, one.error_message, one.traceback) == (False, False, None, "", "")
    assert (one.attempt, one.attempts, one.started_at, one.finished_at, one.held) == (0, [], None, None, "")
    assert one.task == "shop.send_mail"


def test_times_are_aware_and_in_utc() -> None:
    one, _ = result(DONE)
    assert one.created_at == datetime(1970, 1, 1, 0, 0, 10, tzinfo=UTC)
    assert one.run_at - one.created_at == timedelta(seconds=10)
    assert one.started_at == datetime(1970, 1, 1, 0, 0, 21, tzinfo=UTC)
    assert one.finished_at
    assert one.finished_at.tzinfo is UTC


def test_attempts_are_numbered_and_the_last_one_is_the_present_one() -> None:
    past = [PastAttempt(11.0, 12.0, "crashed", "worker lost", ""), PastAttempt(13.0, 14.0, "node lost", "", "")]
    at = [datetime.fromtimestamp(second, UTC) for second in range(25)]
    before = [
        Attempt(1, at[11], at[12], "crashed", "worker lost", ""),
        Attempt(2, at[13], at[14], "node lost", "", ""),
    ]
    queued, running, failed = (
        result(msgspec.structs.replace(job, past_attempts=past))[0].attempts for job in (QUEUED, RUNNING, FAILED)
    )
    assert queued == before
    assert running == [*before, Attempt(3, at[21], None, "running", "", "")]
    assert [(one.number, one.outcome, one.error_message) for one in failed][2:] == [(3, "failed", "ValueError: no")]


@both_ways
def test_waiting_gives_the_value(wait: Callable[[TaskResult[Any]], Any]) -> None:
    one, jobs = result(DONE)
    assert wait(one) == (1, 2)
    assert jobs.watched == []


@both_ways
def test_waiting_is_woken(wait: Callable[[TaskResult[Any]], Any]) -> None:
    one, jobs = result(RUNNING, RUNNING, DONE)
    jobs.on_watch = lambda: threading.Timer(0.01, lambda: [wake() for wake in jobs.watched]).start()
    assert wait(one) == (1, 2)
    assert jobs.watched == []


@both_ways
def test_waiting_looks_again_by_itself(wait: Callable[[TaskResult[Any]], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    one, jobs = result(RUNNING, RUNNING, RUNNING, DONE)
    monkeypatch.setattr(jobs, "patience", lambda: 0.001)
    assert wait(one) == (1, 2)


@both_ways
def test_waiting_for_a_failed_job_raises_with_its_traceback(wait: Callable[[TaskResult[Any]], Any]) -> None:
    with pytest.raises(TaskFailed, match=r"(?s)shop.send_mail failed: ValueError: no.*Traceback\nValueError: no$"):
        wait(result(RUNNING, FAILED)[0])


@both_ways
def test_waiting_for_a_cancelled_job_raises_its_reason(wait: Callable[[TaskResult[Any]], Any]) -> None:
    with pytest.raises(TaskCancelled, match="by hand"):
        wait(result(CANCELLED)[0])


@both_ways
def test_waiting_for_what_has_expired_raises(wait: Callable[[TaskResult[Any]], Any]) -> None:
    with pytest.raises(ResultNotFound, match=UUID):
        wait(result(RUNNING, None)[0])


@both_ways
def test_waiting_inside_a_job_is_refused(wait: Callable[[TaskResult[Any]], Any]) -> None:
    token = current_job.set(Job(Claim("another", 1, "app.work", "", 0.0), StepsHere()))
    try:
        with pytest.raises(RuntimeError, match="inside a job"):
            wait(result(RUNNING)[0])
    finally:
        current_job.reset(token)


@pytest.mark.parametrize("timeout", [0, 0.01, timedelta(milliseconds=10)])
def test_waiting_ends_at_the_timeout(timeout: float | timedelta) -> None:
    one, jobs = result(RUNNING)
    with pytest.raises(TimeoutError) as caught:
        one.wait(timeout)
    assert caught.type is ResultTimeout
    assert jobs.watched == []


def test_the_loop_goes_on_while_it_is_awaited() -> None:
    one, jobs = result(RUNNING, RUNNING, DONE)

    async def main() -> Any:
        waiting = asyncio.ensure_future(awaited(one))
        async with asyncio.timeout(10):
            while not jobs.watched:
                await asyncio.sleep(0)
        jobs.watched[0]()
        return await waiting

    assert asyncio.run(main()) == (1, 2)


def test_cancelling_who_awaits_leaves_nothing_behind() -> None:
    one, jobs = result(RUNNING)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(awaited(one), 0.05)

    asyncio.run(main())
    assert jobs.watched == []


@pytest.mark.parametrize("timeout", [-1, "5", True, float("nan")])
def test_a_timeout_must_be_one(timeout: Any) -> None:
    with pytest.raises(ConfigError, match="timeout"):
        to_seconds(timeout, "timeout")


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (QUEUED, "queued"),
        (msgspec.structs.replace(QUEUED, held="unknown task"), "queued (unknown task)"),
        (RUNNING, "running"),
        (DONE, "succeeded in 12 ms: (1, 2)"),
        (
            msgspec.structs.replace(DONE, result=None, error_message="result discarded: 9 bytes"),
            "succeeded in 12 ms: result discarded: 9 bytes",
        ),
        (msgspec.structs.replace(DONE, finished_at=24.0, result="250"), "succeeded in 3.0 s: 250"),
        (FAILED, "failed after 12 ms: ValueError: no"),
        (CANCELLED, "cancelled: by hand"),
        (StoreError("gone"), "(StoreError: gone)"),
        (RuntimeError("x"), "(RuntimeError)"),
        (msgspec.structs.replace(DONE, result='{"$nobody:Knows":1}'), "(CodecError)"),
    ],
)
def test_repr_says_what_one_wants_to_know_and_never_raises(state: StoredJob | Exception, text: str) -> None:
    assert repr(result(state)[0]) == f"<TaskResult send_mail 7f3a {text}>"


def test_repr_of_a_lost_one_and_of_a_long_value() -> None:
    assert "ResultNotFound" in repr(result(None)[0])
    assert len(repr(result(msgspec.structs.replace(DONE, result='"' + "x" * 10_000 + '"'))[0])) < 120


def test_a_result_is_found_by_its_uuid() -> None:
    one = find_result(UUID, Jobs(DONE))
    assert (one.task, one.wait()) == ("shop.send_mail", (1, 2))
    with pytest.raises(LookupError, match="expired"):
        find_result("unknown", Jobs(DONE))
