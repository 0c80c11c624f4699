"""Run one job: (claim, job) -> outcome. Never raises."""

import functools
import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from autocron import codec
from autocron.errors import JobCancelled, StoreError, TaskTimeout
from autocron.eventloop import EventLoop
from autocron.failure import MAX_TEXT, outcome_of
from autocron.hooks import acall_inside, call_inside
from autocron.job import current_job
from autocron.model import (
    CANCELLED,
    Cancelled,
    Claim,
    Expired,
    Failed,
    Interrupted,
    Outcome,
    Snoozed,
    StoredJob,
    Succeeded,
    Unrunnable,
)
from autocron.retry import policy_of
from autocron.task import registry
from autocron.worker.news import RunningJob
from autocron.worker.places import Interruption
from autocron.workflow import MissingValueError, filled, parents_in

_is_coroutine_function = functools.cache(inspect.iscoroutinefunction)
ReadJobs = Callable[[list[str]], Mapping[str, StoredJob]]
READ_AGAIN = 1.0  # seconds until a job is tried again whose arguments could not be read from the database
_NOTHING = Succeeded("null")
_Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class Runner:
    """Runs jobs.

    Args:
        max_payload: bytes of a result that are stored at most.
        before: called before each sync job.
        abefore: awaited before each async job.
        loop: runs what a sync function returns if that is a coroutine.
        read_jobs: gives the jobs whose values a job receives.
    """

    def __init__(
        self,
        max_payload: int,
        before: Callable[[], None],
        abefore: Callable[[], Awaitable[None]],
        loop: EventLoop,
        read_jobs: ReadJobs,
    ) -> None:
        self._max_payload = max_payload
        self._before = before
        self._abefore = abefore
        self._loop = loop
        self._read_jobs = read_jobs

    def run(self, claim: Claim, job: RunningJob) -> Outcome:
        """Run a job and say what it gave."""
        call = self._prepare(claim)
        if not isinstance(call, tuple):
            return call
        function, args, kwargs = call
        token = current_job.set(job)
        try:
            job.enter()
            self._before()
            value = call_inside(job, lambda: self._call(function, args, kwargs), self._loop.run)
            job.leave()
            return self._succeeded(claim, value)
        except BaseException as error:
            job.leave()
            return _outcome(error, claim, call, job)
        finally:
            current_job.reset(token)

    async def arun(self, claim: Claim, job: RunningJob) -> Outcome:
        """Do the same with an async function."""
        call = self._prepare(claim)
        if not isinstance(call, tuple):
            return call
        function, args, kwargs = call
        current_job.set(job)  # this asyncio task has a context of its own
        try:
            job.enter()
            await self._abefore()
            value = await acall_inside(job, lambda: function(*args, **kwargs))
            job.leave()
            return self._succeeded(claim, value)
        except BaseException as error:
            job.leave()
            return _outcome(error, claim, call, job)

    def _prepare(self, claim: Claim) -> _Call | Outcome:
        if claim.begin_by is not None and time.time() >= claim.begin_by:
            return Expired()
        function = registry.functions.get(claim.task)
        if function is None:
            return Unrunnable(f"unknown task {claim.task!r}")
        try:
            args, kwargs = codec.decode_call(self._with_values(claim.arguments))
        except codec.CodecError as error:
            return Unrunnable(f"its arguments cannot be read: {error}")
        except MissingValueError as error:
            return Failed(str(error), "")
        except StoreError:
            return Snoozed(READ_AGAIN)
        return function, args, kwargs

    def _with_values(self, arguments: str) -> str:
        uuids = parents_in(arguments)
        return filled(arguments, self._read_jobs(uuids)) if uuids else arguments

    def _call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = function(*args, **kwargs)
        return self._loop.run(value) if inspect.iscoroutine(value) else value

    def _succeeded(self, claim: Claim, value: Any) -> Succeeded:
        if claim.task not in registry.tasks:
            return Succeeded(None)  # a cron function: nobody asks for its value
        if value is None:
            return _NOTHING
        try:
            text = codec.encode(value, "the return value")
        except (TypeError, ValueError) as error:
            return Succeeded(None, f"result discarded: {error}"[:MAX_TEXT])
        size = len(text.encode())
        if size > self._max_payload:
            return Succeeded(None, f"result discarded: {size} bytes, but max_payload is {self._max_payload}")
        return Succeeded(text)


def is_async(name: str) -> bool:
    """Does the job of this task run on the event loop?"""
    return _is_coroutine_function(registry.functions.get(name))


def _outcome(error: BaseException, claim: Claim, call: _Call, job: RunningJob) -> Outcome:
    """Say what it means that the function raised this."""
    if job.stopped is Interruption:
        return Interrupted()
    if job.stopped is JobCancelled:
        return Cancelled(CANCELLED)
    if job.stopped is TaskTimeout and _is_stop(error, job):
        text = f"ran for longer than {policy_of(claim.policy).timeout:g} s"
        error = TaskTimeout(text).with_traceback(error.__traceback__)
    if isinstance(error, TypeError) and claim.task in registry.tasks and (misfit := _misfit(*call)):
        return Unrunnable(f"its arguments do not fit: {misfit}")
    return outcome_of(error, __name__, claim.policy, job.report)


def _is_stop(error: BaseException, job: RunningJob) -> bool:
    """Is this what was raised in the job to stop it?"""
    return isinstance(error, TaskTimeout) or (job.coroutine is not None and type(error).__name__ == "CancelledError")


def _misfit(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Say why the function as it is now does not take these arguments, which fitted when the call was made."""
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError as error:
        return str(error)
    return None
