"""TaskResult: what a caller holds of a job."""

import contextlib
import reprlib
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Generic, NoReturn, Protocol, TypeVar, cast

from autocron import codec, workflow
from autocron.clock import Seconds, from_timestamp, to_seconds
from autocron.errors import AutocronError, ResultNotFound, ResultTimeout, TaskCancelled, TaskFailed
from autocron.job import current_job
from autocron.kinds import add_kind
from autocron.model import FINAL_STATES, Attempt, Progress, State, StoredJob
from autocron.text import printable

R = TypeVar("R")
T = TypeVar("T")


class Source(Protocol):
    """Where results come from."""

    def get(self, uuid: str) -> StoredJob | None:
        """Read a job; None when it is unknown or has expired."""
        ...

    def cancel(self, uuid: str) -> bool:
        """Cancel a job; False if it has come to its end."""
        ...

    def graph(self, uuid: str) -> list[tuple[str, str]]:
        """Give (uuid, task) of the jobs that are connected with this one by waiting, itself among them."""
        ...

    def watch(self, uuid: str, wake: Callable[[], None]) -> AbstractContextManager[None]:
        """Call `wake`, from any thread, when the job may have come to its end; until the block ends."""
        ...

    def patience(self) -> float:
        """Give the seconds after which one who waits should read again by itself."""
        ...

    def in_thread(self, function: Callable[[], T]) -> Awaitable[T]:
        """Run what may block in a thread, for the running event loop."""
        ...


class TaskResult(Generic[R]):
    """A job as its caller sees it: what it is doing and, later, what it gave.

    Every attribute is read fresh until the job has come to its end, and may raise StoreError then, or ResultNotFound
    when the result has expired. It can be ignored safely. ``await result`` does the same as ``result.wait()``.

    Attributes:
        uuid: the name of the job, to find it again with get_result().
    """

    def __init__(self, uuid: str, source: Source, task: str, job: StoredJob | None = None) -> None:
        self.uuid = uuid
        self._source = source
        self._task = task
        self._final = job if job and job.state in FINAL_STATES else None

    @property
    def task(self) -> str:
        """The name of the task."""
        return self._task

    @property
    def later(self) -> R:
        """This very object, typed as its value, to be an argument: ``publish(render(fetch(url).later).later)``.

        The job of that call waits for this one and receives its value. It may also stand inside of lists, dicts,
        tuples and the like.
        """
        return cast("R", self)

    @property
    def status(self) -> State:
        """What the job is doing."""
        return self._read().state

    @property
    def held(self) -> str:
        """Why a queued job is parked ("unknown task ...", "its arguments do not fit: ..."); empty when it is not."""
        return self._read().held or ""

    @property
    def is_ready(self) -> bool:
        """Has the job come to its end: succeeded, failed or cancelled?"""
        return self._read().state in FINAL_STATES

    @property
    def has_error(self) -> bool:
        """Has the job failed, or was it cancelled?"""
        return self._read().state in {State.FAILED, State.CANCELLED}

    @property
    def result(self) -> R | None:
        """What the function returned; None until then."""
        text = self._read().result
        return None if text is None else codec.decode(text)

    @property
    def error_message(self) -> str:
        """The error in one line; empty when there is none."""
        return self._read().error_message

    @property
    def traceback(self) -> str:
        """The traceback as text; empty when there is none."""
        return self._read().traceback

    @property
    def attempt(self) -> int:
        """How often a worker was given the job."""
        return self._read().attempt

    @property
    def attempts(self) -> list[Attempt]:
        """All attempts that were begun, the first one first."""
        return _attempts(self._read())

    @property
    def created_at(self) -> datetime:
        """When the call was made (aware, UTC, as all times)."""
        return from_timestamp(self._read().created_at)

    @property
    def run_at(self) -> datetime:
        """When the job is or was due."""
        return from_timestamp(self._read().run_at)

    @property
    def started_at(self) -> datetime | None:
        """When the last attempt began."""
        return _moment(self._read().started_at)

    @property
    def finished_at(self) -> datetime | None:
        """When the job came to its end."""
        return _moment(self._read().finished_at)

    @property
    def progress(self) -> Progress | None:
        """What the job has last said with ``autocron.current().progress(...)``; None if nothing."""
        return self._read().progress

    @property
    def output(self) -> str:
        """What the last attempt has printed and logged in its worker: the beginning and the end if it was much.

        While the job runs, it is some tenths of a second behind. Control characters are escaped.
        """
        return "\n".join(printable(line, keep="\t") for line in self._read().output.split("\n"))

    def graph(self) -> list["TaskResult[Any]"]:
        """Give all jobs that are connected with this one, in the order of their calls; it is among them.

        These are those for which it waits or has waited, those that wait or have waited for it, and so on.

        Raises:
            ResultNotFound: the result has expired.
            StoreError: the database can't be read.
        """
        members = self._source.graph(self.uuid)
        if not members:
            _not_found(self.uuid)
        return [TaskResult(uuid, self._source, task) for uuid, task in members]

    def wait(self, timeout: Seconds | None = None) -> R:
        """Wait for the end of the job.

        Args:
            timeout: seconds or a timedelta; None waits for ever.

        Returns:
            What the function returned.

        Raises:
            TaskFailed: it raised; the text ends with the traceback.
            TaskCancelled: the job was cancelled.
            ResultTimeout: it takes longer. The job goes on.
            ResultNotFound: the result has expired.
            RuntimeError: called inside a job.
        """
        _refuse_inside_job()
        deadline = None if timeout is None else time.monotonic() + to_seconds(timeout, "timeout")
        if not self.is_ready:
            self._block(deadline)
        return self._value()

    def cancel(self) -> bool:
        """Cancel the job.

        One that is not begun will not be. One that runs is stopped: JobCancelled is raised inside the function,
        asyncio.CancelledError in an async one, and its worker is ended if that does not help within the time of grace.

        Returns:
            True if it had not come to its end. One that runs may still do so before it is stopped.

        Raises:
            StoreError: the database can't be used.
        """
        return self._final is None and self._source.cancel(self.uuid)

    def __await__(self) -> Generator[Any, None, R]:
        return self._wait_in_loop().__await__()

    def _block(self, deadline: float | None) -> None:
        changed = threading.Event()
        with self._source.watch(self.uuid, changed.set):
            while not self.is_ready:
                patience = self._source.patience()
                if deadline is not None:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise ResultTimeout(f"{self!r} was not finished in time; it goes on")
                    patience = min(patience, left)
                changed.wait(patience)
                changed.clear()

    async def _wait_in_loop(self) -> R:
        _refuse_inside_job()
        if self._final is None and not await self._is_ready_in_thread():
            await self._sleep_until_ready()
        return self._value()

    async def _sleep_until_ready(self) -> None:
        import asyncio  # whoever awaits has it already; others need not load it

        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                loop.call_soon_threadsafe(changed.set)

        with self._source.watch(self.uuid, wake):
            while not await self._is_ready_in_thread():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), self._source.patience())
                changed.clear()

    def _is_ready_in_thread(self) -> Awaitable[bool]:
        return self._source.in_thread(lambda: self.is_ready)

    def _value(self) -> R:
        job = self._read()
        if job.state is State.SUCCEEDED:
            value: R = None if job.result is None else codec.decode(job.result)  # type: ignore[assignment]
            return value
        if job.state is State.CANCELLED:
            raise TaskCancelled(f"{self.task} was cancelled: {job.error_message or 'no reason was given'}")
        raise TaskFailed(f"{self.task} failed: {job.error_message}\n\n{job.traceback}".rstrip())

    def _read(self) -> StoredJob:
        if self._final is not None:
            return self._final
        job = find_job(self.uuid, self._source)
        if job.state in FINAL_STATES:
            self._final = job
        return job

    def __repr__(self) -> str:
        return f"<TaskResult {self._task.rpartition('.')[2]} {self.uuid[-4:]} {self._condition()}>"

    def _condition(self) -> str:
        try:
            return _describe(self._read())
        except AutocronError as error:
            return f"({type(error).__name__}: {error})"
        except Exception as error:
            return f"({type(error).__name__})"


def settle(result: TaskResult[Any], job: StoredJob) -> None:
    """Let a result have the end of its job, which has run here."""
    result._final = job  # pyright: ignore[reportPrivateUsage]


def find_result(uuid: str, source: Source) -> TaskResult[Any]:
    """Give the result of a job.

    Raises:
        ResultNotFound: it is unknown or has expired.
    """
    job = find_job(uuid, source)
    return TaskResult(uuid, source, job.task, job)


def find_job(uuid: str, source: Source) -> StoredJob:
    """Give what is known of a job.

    Raises:
        ResultNotFound: it is unknown or has expired.
    """
    job = source.get(uuid)
    if job is None:
        _not_found(uuid)
    return job


def _not_found(uuid: str) -> NoReturn:
    raise ResultNotFound(
        f"no job {uuid}: it never existed, was called in a transaction that is not committed, or its result has"
        " expired (result_ttl, failed_ttl)"
    )


def _refuse_inside_job() -> None:
    if current_job.get() is not None:
        raise RuntimeError(
            "waiting for a job inside a job would block the worker that is to run it. Give the result to the job that"
            " needs it, which then waits without a worker: publish(render(page).later); or call the function directly"
            " with task.call(...)"
        )


def _describe(job: StoredJob) -> str:
    if job.state not in FINAL_STATES:
        return f"{job.state} ({job.held})" if job.held else str(job.state)
    took = "" if job.started_at is None or job.finished_at is None else _duration(job.finished_at - job.started_at)
    if job.state is State.SUCCEEDED:
        value = None if job.result is None else codec.decode(job.result)
        return f"succeeded in {took}: {job.error_message or reprlib.repr(value)}"
    return f"{job.state}{f' after {took}' if took else ''}: {job.error_message}"


def _duration(seconds: float) -> str:
    seconds = max(0.0, seconds)
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _attempts(job: StoredJob) -> list[Attempt]:
    attempts = [
        Attempt(
            number,
            from_timestamp(past.started_at),
            from_timestamp(past.finished_at),
            past.outcome,
            past.error_message,
            past.traceback,
        )
        for number, past in enumerate(job.past_attempts, 1)
    ]
    if job.started_at is not None and job.state not in {State.WAITING, State.QUEUED}:
        started_at, finished_at = from_timestamp(job.started_at), _moment(job.finished_at)
        error = (job.error_message, job.traceback)
        attempts.append(Attempt(len(attempts) + 1, started_at, finished_at, job.state.value, *error))
    return attempts


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else from_timestamp(seconds)


def _unfilled(uuid: str) -> NoReturn:
    raise codec.CodecError(f"the value of the job {uuid} was not put in its place")


add_kind(TaskResult, workflow.TAG, lambda result: result.uuid, str, _unfilled)
