"""Run one job: (claim) -> outcome. Never raises."""

import asyncio
import inspect
import traceback
from collections.abc import Callable
from typing import Any

from autocron import codec
from autocron.model import Claim, Failed, Interrupted, Outcome, Succeeded, Unrunnable
from autocron.task import current_job, registry

MAX_TEXT = 64 << 10  # characters of an error or a traceback that are kept


class Interruption(BaseException):
    """Raised inside the running job when the node ends before it is done."""


class Runner:
    """Runs jobs one after another, coroutines on an event loop of its own."""

    def __init__(self, max_payload: int, around: Callable[[], None]) -> None:
        self._max_payload = max_payload
        self._around = around
        self._loop = asyncio.Runner()

    def run(self, claim: Claim) -> Outcome:
        """Run a job and say what it gave."""
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
            return Unrunnable(f"its arguments do not fit: {misfit}") if misfit else failed(error)
        except BaseException as error:
            return failed(error)
        finally:
            current_job.reset(token)

    def _call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = function(*args, **kwargs)
        return self._loop.run(value) if inspect.iscoroutine(value) else value

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


def failed(error: BaseException) -> Failed:
    """Describe an exception, without the frames of autocron itself."""
    try:
        message = f"{type(error).__name__}: {error}"
    except Exception:
        message = type(error).__name__
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__") in (__name__, "asyncio.runners"):
        frames = frames.tb_next
    lines = traceback.format_exception(type(error), error, frames)
    return Failed(_storable(message), _storable("".join(lines)))


def _storable(text: str) -> str:
    """Give the text bounded, and without what a database refuses."""
    if len(text) > MAX_TEXT:
        text = (
            f"{text[: MAX_TEXT // 2]}\n[... {len(text) - MAX_TEXT} characters left out ...]\n{text[-MAX_TEXT // 2 :]}"
        )
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
