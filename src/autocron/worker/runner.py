"""Run one job: (claim) -> outcome. Never raises."""

import inspect
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from autocron import codec
from autocron.failure import MAX_TEXT, outcome_of
from autocron.model import Claim, Expired, Interrupted, Outcome, Succeeded, Unrunnable
from autocron.task import current_job, registry

if TYPE_CHECKING:
    import asyncio


class Interruption(BaseException):
    """Raised inside the running job when the node ends before it is done."""


class Runner:
    """Runs jobs one after another, coroutines on an event loop of its own."""

    def __init__(self, max_payload: int, around: Callable[[], None]) -> None:
        self._max_payload = max_payload
        self._around = around
        self._loop: asyncio.Runner | None = None

    def run(self, claim: Claim) -> Outcome:
        """Run a job and say what it gave."""
        if claim.begin_by is not None and time.time() >= claim.begin_by:
            return Expired()
        function = registry.functions.get(claim.task)
        if function is None:
            return Unrunnable(f"unknown task {claim.task!r}")
        try:
            args, kwargs = codec.decode_call(claim.arguments)
        except codec.CodecError as error:
            return Unrunnable(f"its arguments cannot be read: {error}")
        token = current_job.set(claim.uuid)
        try:
            self._around()
            return self._succeeded(claim, self._call(function, args, kwargs))
        except Interruption:
            return Interrupted()
        except TypeError as error:
            misfit = _misfit(function, args, kwargs) if claim.task in registry.tasks else None
            return (
                Unrunnable(f"its arguments do not fit: {misfit}")
                if misfit
                else outcome_of(error, __name__, claim.policy)
            )
        except BaseException as error:
            return outcome_of(error, __name__, claim.policy)
        finally:
            current_job.reset(token)

    def _call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = function(*args, **kwargs)
        return self._await(value) if inspect.iscoroutine(value) else value

    def _await(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        if self._loop is None:
            import asyncio  # two megabytes and some milliseconds, for those who have coroutines

            self._loop = asyncio.Runner()
        return self._loop.run(coroutine)

    def _succeeded(self, claim: Claim, value: Any) -> Succeeded:
        if claim.task not in registry.tasks:
            return Succeeded(None)  # a cron function: nobody asks for its value
        try:
            text = codec.encode(value, "the return value")
        except (TypeError, ValueError) as error:
            return Succeeded(None, f"result discarded: {error}"[:MAX_TEXT])
        size = len(text.encode())
        if size > self._max_payload:
            return Succeeded(None, f"result discarded: {size} bytes, at most {self._max_payload} are stored")
        return Succeeded(text)


def _misfit(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Say why the function as it is now does not take these arguments, which fitted when the call was made."""
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError as error:
        return str(error)
    return None
