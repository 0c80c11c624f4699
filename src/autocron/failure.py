"""An exception as what is kept of it: the same for a worker and for a call that runs in its caller."""

import traceback

import msgspec

from autocron.control import Cancel, RetryLater, Snooze
from autocron.model import Backoff, Cancelled, Failed, Outcome, Snoozed
from autocron.names import full_name
from autocron.retry import policy_of
from autocron.text import storable

MAX_TEXT = 64 << 10  # characters of an error or a traceback that are kept
# What stands between a call and the code of a task.
_BETWEEN = frozenset(
    {"asyncio.runners", "asyncio.base_events", "concurrent.futures._base", "contextlib"}
    | {"autocron.eventloop", "autocron.hooks"}
)


def outcome_of(error: BaseException, caller: str, policy: str | None, report: str = "") -> Outcome:
    """Say what it means for the job that its function has raised this.

    Args:
        error: what was raised.
        caller: the name of the module that called the task.
        policy: the job's, as it is stored.
        report: belongs to the traceback.
    """
    if isinstance(error, Snooze):
        return Snoozed(error.delay)
    if isinstance(error, Cancel):
        return Cancelled(storable(str(error), MAX_TEXT))
    failure = failed(error, caller, report)
    if isinstance(error, RetryLater):
        return msgspec.structs.replace(failure, may_retry=True, delay=error.delay)
    if policy is not None and _may_retry(error, policy_of(policy).retry):
        return msgspec.structs.replace(failure, may_retry=True)
    return failure


def _may_retry(error: BaseException, retry: Backoff) -> bool:
    names = {full_name(kind) for kind in type(error).__mro__}
    return not names.isdisjoint(retry.on) and names.isdisjoint(retry.never)


def failed(error: BaseException, caller: str, report: str = "") -> Failed:
    """Describe an exception.

    Args:
        error: what a task raised.
        caller: the name of the module that called the task; its frames are no concern of those who read the traceback.
        report: is put behind the traceback.
    """
    try:
        message = f"{type(error).__name__}: {error}"
    except Exception:
        message = type(error).__name__
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__") in _BETWEEN | {caller}:
        frames = frames.tb_next
    lines = traceback.format_exception(type(error), error, frames)
    return Failed(
        storable(message, MAX_TEXT), storable(f"{''.join(lines)}\n{report}" if report else "".join(lines), MAX_TEXT)
    )
