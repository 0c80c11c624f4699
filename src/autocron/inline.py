"""Running a call here and now, where no worker does it: the same values and errors, in a result that is ready."""

import inspect
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from contextvars import copy_context
from typing import Any

import msgspec

from autocron import codec
from autocron.clock import Clock
from autocron.eventloop import EventLoop
from autocron.failure import outcome_of
from autocron.hooks import acall_inside, call_inside
from autocron.job import Job, current_job
from autocron.model import (
    FINAL_STATES,
    Call,
    Cancelled,
    Claim,
    Expired,
    Failed,
    Finished,
    NewJob,
    Outcome,
    PastAttempt,
    Progress,
    Run,
    Settings,
    Snoozed,
    State,
    StoredJob,
    Succeeded,
)
from autocron.retry import decide
from autocron.steps import StepsHere
from autocron.workflow import filled, why_cancelled

SETTINGS = Settings()  # how long results are kept does not matter: these end with the process
MAX_SNOOZES = 100  # nothing waits here, so what a task waits for may never come


def run(call: Call, parents: Mapping[str, StoredJob], function: Callable[..., Any], clock: Clock) -> StoredJob:
    """Run the call as a worker would, retries at once; whatever the function raises ends up in the result.

    Args:
        call: as it would be stored.
        parents: the jobs for which it waits; one that has not come to its end won't.
        function: that of the task.
        clock: tells the time.
    """
    job = call.job
    claim = Claim(
        job.uuid,
        1,
        job.task,
        job.arguments,
        clock.now(),
        begin_by=job.begin_by,
        policy=job.policy,
        queue=job.placing.queue,
    )
    past: list[PastAttempt] = []
    snoozes, steps, obstacle = 0, StepsHere(), _obstacle(call, parents)
    while True:
        started_at = clock.now()
        seen = Job(claim, steps)
        outcome = Cancelled(obstacle) if obstacle else attempt(claim, seen, parents, function, started_at)
        snoozes += isinstance(outcome, Snoozed)
        if snoozes > MAX_SNOOZES:
            outcome = Failed(f"snoozed more than {MAX_SNOOZES} times; without a worker, it runs again at once", "")
        next_one = decide(Run(claim, outcome, started_at, clock.now()), SETTINGS)
        if isinstance(next_one, Finished):
            return _stored(job, claim, next_one, past, seen.last_progress)
        if next_one.past:
            past.append(msgspec.json.decode(next_one.past, type=PastAttempt))
        claim = msgspec.structs.replace(claim, attempt=claim.attempt + 1, retries=next_one.retries, begin_by=None)


def attempt(
    claim: Claim, job: Job, parents: Mapping[str, StoredJob], function: Callable[..., Any], now: float
) -> Outcome:
    """Run the function once, as a worker would, with the values of these jobs; only Ctrl-C gets out."""
    token = current_job.set(job)
    try:
        return _outcome(claim, job, parents, function, now)
    finally:
        current_job.reset(token)


def _stored(job: NewJob, claim: Claim, end: Finished, past: list[PastAttempt], progress: Progress | None) -> StoredJob:
    return StoredJob(
        job.uuid,
        job.task,
        end.state,
        None,
        claim.attempt,
        job.created_at,
        job.run_at,
        end.started_at,
        end.finished_at,
        end.result,
        end.error_message,
        end.traceback,
        past,
        progress,
    )


def _obstacle(call: Call, parents: Mapping[str, StoredJob]) -> str:
    """Say why a job can't run."""
    for uuid, needed in ((parent.uuid, parent.needed) for parent in call.parents):
        task, state, message = parents[uuid].task, parents[uuid].state, parents[uuid].error_message
        if state not in FINAL_STATES:
            return f"it waits for {task} {uuid}, which is {state}; a call that runs at once, in its caller, can't wait"
        if needed and state is not State.SUCCEEDED:
            return why_cancelled(task, uuid, state, message)
    return ""


def _outcome(
    claim: Claim, job: Job, parents: Mapping[str, StoredJob], function: Callable[..., Any], now: float
) -> Outcome:
    if claim.begin_by is not None and now >= claim.begin_by:
        return Expired()
    try:
        # What was stored, so that a value that changes on the way does so here too.
        args, kwargs = codec.decode_call(filled(claim.arguments, parents) if parents else claim.arguments)
        value = _call(job, function, args, kwargs)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return outcome_of(error, __name__, claim.policy)
    try:
        return Succeeded(codec.encode(value, "the return value"))
    except TypeError as error:
        return Succeeded(None, f"result discarded: {error}")


def _call(job: Job, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not inspect.iscoroutinefunction(function):
        with closing(EventLoop()) as loop:  # for async hooks; without them it does not begin
            return call_inside(job, lambda: function(*args, **kwargs), loop.run)
    import asyncio  # only those who have async functions need it

    def run() -> Any:
        return asyncio.run(acall_inside(job, lambda: function(*args, **kwargs)))

    return run() if asyncio._get_running_loop() is None else _in_thread(run)


def _in_thread(function: Callable[[], Any]) -> Any:
    """Run it in a thread of its own and wait; asyncio allows one event loop per thread."""
    context = copy_context()
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((context.run(function), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, name="autocron-inline")
    thread.start()
    thread.join()
    value, error = outcome[0]
    if error is not None:
        raise error
    return value
