"""What becomes of a job after an attempt: (run, settings) -> transition."""

import msgspec

from autocron.model import (
    Crashed,
    Failed,
    Finished,
    Interrupted,
    NodeLost,
    NotBegun,
    PastAttempt,
    Requeued,
    Run,
    Settings,
    State,
    Succeeded,
    Transition,
    Unrunnable,
)

MAX_CRASHES = 3
# Jobs that are lost with the node may be innocent, every job it held is among them: they get more chances.
MAX_LOSSES = 20


def decide(run: Run, settings: Settings) -> Transition:
    """Decide what becomes of the job.

    Args:
        run: the claim and what running it gave.
        settings: how long results are kept.

    Returns:
        Finished, or Requeued when the job is to run again or cannot run yet.
    """
    match run.outcome:
        case Succeeded(result=result, note=note):
            return _finished(run, State.SUCCEEDED, settings.result_ttl, result=result, error_message=note)
        case Failed(error_message=message, traceback=traceback):
            return _finished(run, State.FAILED, settings.failed_ttl, error_message=message, traceback=traceback)
        case Crashed(how=how):
            return _after_crash(run, how, settings)
        case NodeLost():
            return _after_loss(run, settings)
        case Unrunnable(reason=reason):
            return _requeued(run, held=reason)
        case Interrupted():
            return _requeued(run, past=_past(run, "interrupted", "stopped with its worker before it was done"))
        case NotBegun():
            return _requeued(run)


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


def _after_crash(run: Run, how: str, settings: Settings) -> Transition:
    crashes = run.claim.crashes + 1
    if crashes >= MAX_CRASHES:
        message = f"worker died {crashes} times, the last time with {how}"
        return _finished(run, State.FAILED, settings.failed_ttl, error_message=message)
    return _requeued(run, crashes=crashes, past=_past(run, "crashed", f"worker lost: {how}"))


def _after_loss(run: Run, settings: Settings) -> Transition:
    losses = run.claim.losses + 1
    if losses >= MAX_LOSSES:
        message = f"the node died {losses} times while it held this job"
        return _finished(run, State.FAILED, settings.failed_ttl, error_message=message)
    return _requeued(run, losses=losses, past=_past(run, "node lost", "the node died while it held this job"))


def _past(run: Run, outcome: str, message: str) -> str:
    past = PastAttempt(run.started_at, run.finished_at, outcome, message, "")
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
    held: str | None = None,
    crashes: int | None = None,
    losses: int | None = None,
    past: str | None = None,
) -> Requeued:
    claim = run.claim
    return Requeued(
        claim.uuid,
        claim.attempt,
        None,
        held,
        claim.crashes if crashes is None else crashes,
        claim.losses if losses is None else losses,
        past,
    )
