"""Running a call here and now, where no worker does it: the same values and errors, in a result that is ready."""

import inspect
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from autocron import codec
from autocron.clock import Clock
from autocron.failure import failed
from autocron.model import NewJob, State, StoredJob


def run(job: NewJob, function: Callable[..., Any], clock: Clock) -> StoredJob:
    """Run the call as a worker would; whatever the function raises ends up in the result."""
    started_at = clock.now()
    state, result, error_message, trace = _outcome(job, function)
    return StoredJob(
        job.uuid,
        job.task,
        state,
        None,
        1,
        job.created_at,
        job.run_at,
        started_at,
        clock.now(),
        result,
        error_message,
        trace,
        [],
    )


def _outcome(job: NewJob, function: Callable[..., Any]) -> tuple[State, str | None, str, str]:
    try:
        # What was stored, so that a value that changes on the way does so here too.
        args, kwargs = codec.decode_call(job.arguments)
        value = _call(function, args, kwargs)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        failure = failed(error, __name__)
        return State.FAILED, None, failure.error_message, failure.traceback
    try:
        return State.SUCCEEDED, codec.encode(value, "the result"), "", ""
    except TypeError as error:
        return State.SUCCEEDED, None, f"the result was not kept: {error}", ""


def _call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not inspect.iscoroutinefunction(function):
        return function(*args, **kwargs)
    import asyncio  # only those who have async functions need it

    if asyncio._get_running_loop() is None:
        return asyncio.run(function(*args, **kwargs))
    return _in_thread(lambda: asyncio.run(function(*args, **kwargs)))


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
