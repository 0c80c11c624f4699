"""What becomes of a job after an attempt: (run, settings, chance) -> transition."""

import math
from functools import lru_cache

import msgspec

from autocron.model import (
    Backoff,
    Cancelled,
    Crashed,
    CrashedTogether,
    Expired,
    Failed,
    Finished,
    Interrupted,
    NodeLost,
    NotBegun,
    PastAttempt,
    Policy,
    Requeued,
    Run,
    Settings,
    Snoozed,
    State,
    Succeeded,
    Transition,
    Unrunnable,
)

MAX_CRASHES = 3
# Jobs that are lost with the node may be innocent, every job it held is among them: they get more chances.
MAX_LOSSES = 20
EXPIRED = "expired"
NO_POLICY = Policy()


def decide(run: Run, settings: Settings, chance: float = 1.0) -> Transition:
    """Decide what becomes of the job.

    Args:
        run: the claim and what running it gave.
        settings: how long results are kept.
        chance: a random number from 0 to 1, by which the pause before a retry is shortened.

    Returns:
        Finished, or Requeued when the job is to run again or cannot run yet.
    """
    match run.outcome:
        case Succeeded(result=result, note=note):
            return _finished(run, State.SUCCEEDED, _result_ttl(run, settings), result=result, error_message=note)
        case Failed() as failure:
            return _after_failure(run, failure, settings, chance)
        case Snoozed(delay=delay):
            return _requeued(run, begun=True, run_at=run.finished_at + delay)
        case Cancelled(reason=reason):
            return _finished(run, State.CANCELLED, _result_ttl(run, settings), error_message=reason)
        case Expired():
            end = _finished(run, State.CANCELLED, _result_ttl(run, settings), error_message=EXPIRED)
            return msgspec.structs.replace(end, started_at=None)
        case Crashed(how=how):
            return _after_crash(run, how, settings)
        case CrashedTogether(how=how):
            return _after_loss(run, "crashed", f"worker lost: {how}, with several jobs", settings)
        case NodeLost():
            return _after_loss(run, "node lost", "the node died while it held this job", settings)
        case Interrupted():
            return _lost(run, settings, "interrupted", "stopped with its worker before it was done")
        case Unrunnable(reason=reason):
            return _requeued(run, held=reason)
        case NotBegun():
            return _requeued(run)


@lru_cache(256)
def policy_of(text: str | None) -> Policy:
    """Give the policy of a job; what somebody else has made unreadable counts as none."""
    try:
        return NO_POLICY if text is None else msgspec.json.decode(text, type=Policy)
    except msgspec.DecodeError:
        return NO_POLICY


def pause(retry: Backoff, number: int, chance: float) -> float:
    """Give the seconds before a retry.

    Args:
        retry: how the pauses grow.
        number: 1 for the first retry.
        chance: a random number from 0 to 1.
    """
    try:
        growth = retry.factor ** (number - 1)
    except OverflowError:
        growth = math.inf
    longest = min(retry.max_delay, retry.delay * growth) if retry.delay else 0.0
    return longest * chance if retry.jitter else longest


def fail_instead(transition: Transition, why: str, now: float, settings: Settings) -> Finished:
    """Decide what becomes of a job when the store does not take what was decided.

    Args:
        transition: what was decided.
        why: what the store says about it.
        now: seconds since the epoch.
        settings: how long results are kept.
    """
    started_at = transition.started_at if isinstance(transition, Finished) else now
    message = f"its outcome could not be stored: {why}"
    uuid, attempt = transition.uuid, transition.attempt
    return Finished(uuid, attempt, State.FAILED, None, message, "", started_at, now, now + settings.failed_ttl)


def _after_failure(run: Run, failure: Failed, settings: Settings, chance: float) -> Transition:
    retry, used = policy_of(run.claim.policy).retry, run.claim.retries
    message, traceback = failure.error_message, failure.traceback
    if failure.may_retry and used < retry.times:
        delay = pause(retry, used + 1, chance) if failure.delay is None else failure.delay
        past = _past(run, "failed", message, traceback)
        return _requeued(run, begun=True, run_at=run.finished_at + delay, retries=used + 1, past=past)
    if failure.delay is not None:
        message += f", but no retry is left (retries={retry.times})"
    return _finished(run, State.FAILED, settings.failed_ttl, error_message=message, traceback=traceback)


def _after_crash(run: Run, how: str, settings: Settings) -> Transition:
    crashes = run.claim.crashes + 1
    if crashes >= MAX_CRASHES:
        message = f"worker died {crashes} times, the last time with {how}"
        return _finished(run, State.FAILED, settings.failed_ttl, error_message=message)
    return _lost(run, settings, "crashed", f"worker lost: {how}", crashes=crashes)


def _after_loss(run: Run, outcome: str, how: str, settings: Settings) -> Transition:
    losses = run.claim.losses + 1
    if losses >= MAX_LOSSES:
        message = f"it was lost {losses} times, the last time because {how}"
        return _finished(run, State.FAILED, settings.failed_ttl, error_message=message)
    return _lost(run, settings, outcome, how, losses=losses)


def _lost(
    run: Run, settings: Settings, outcome: str, message: str, *, crashes: int | None = None, losses: int | None = None
) -> Transition:
    """Run a job again that was, or may have been, begun and has come to no end of its own, if it bears that."""
    if policy_of(run.claim.policy).on_crash == "fail":
        message += '; with on_crash="fail" it does not run again'
        return _finished(run, State.FAILED, settings.failed_ttl, error_message=message)
    return _requeued(run, begun=True, crashes=crashes, losses=losses, past=_past(run, outcome, message))


def _result_ttl(run: Run, settings: Settings) -> float:
    if run.claim.policy is None:
        return settings.result_ttl
    policy = policy_of(run.claim.policy)
    ttl = settings.result_ttl if policy.result_ttl is None else policy.result_ttl
    return max(ttl, policy.unique_for or 0.0)  # while calls are its duplicates, it must be there


def _past(run: Run, outcome: str, message: str, traceback: str = "") -> str:
    past = PastAttempt(run.started_at, run.finished_at, outcome, message, traceback)
    return msgspec.json.encode(past).decode()


def _finished(
    run: Run, state: State, ttl: float, *, result: str | None = None, error_message: str = "", traceback: str = ""
) -> Finished:
    return Finished(
        run.claim.uuid,
        run.claim.attempt,
        state,
        result,
        error_message,
        traceback,
        run.started_at,
        run.finished_at,
        run.finished_at + ttl,
    )


def _requeued(
    run: Run,
    *,
    begun: bool = False,
    run_at: float | None = None,
    held: str | None = None,
    crashes: int | None = None,
    losses: int | None = None,
    past: str | None = None,
    retries: int | None = None,
) -> Requeued:
    claim = run.claim
    return Requeued(
        claim.uuid,
        claim.attempt,
        run_at,
        held,
        claim.crashes if crashes is None else crashes,
        claim.losses if losses is None else losses,
        past,
        claim.retries if retries is None else retries,
        begun,
    )
