"""An exception as what is kept of it: the same for a worker and for a call that runs in its caller."""

import traceback

import msgspec

from autocron.control import Cancel, RetryLater, Snooze
from autocron.model import Backoff, Cancelled, Failed, Outcome, Snoozed
from autocron.names import full_name
from autocron.retry import policy_of

MAX_TEXT = 64 << 10  # characters of an error or a traceback that are kept


def outcome_of(error: BaseException, caller: str, policy: str | None) -> Outcome:
    """Say what it means for the job that its function has raised this.

    Args:
        error: what was raised.
        caller: the name of the module that called the task.
        policy: the job's, as it is stored.
    """
    if isinstance(error, Snooze):
        return Snoozed(error.delay)
    if isinstance(error, Cancel):
        return Cancelled(_storable(str(error)))
    failure = failed(error, caller)
    if isinstance(error, RetryLater):
        return msgspec.structs.replace(failure, may_retry=True, delay=error.delay)
    if policy is not None and _may_retry(error, policy_of(policy).retry):
        return msgspec.structs.replace(failure, may_retry=True)
    return failure


def _may_retry(error: BaseException, retry: Backoff) -> bool:
    names = {full_name(kind) for kind in type(error).__mro__}
    return not names.isdisjoint(retry.on) and names.isdisjoint(retry.never)


def failed(error: BaseException, caller: str) -> Failed:
    """Describe an exception.

    Args:
        error: what a task raised.
        caller: the name of the module that called the task; its frames are no concern of those who read the traceback.
    """
    try:
        message = f"{type(error).__name__}: {error}"
    except Exception:
        message = type(error).__name__
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__") in (caller, "asyncio.runners"):
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
