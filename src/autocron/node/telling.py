"""What is said in an application's log about the outcomes of jobs. Pure."""

import logging

from autocron.model import Failed, Finished, Requeued, Run, State, Succeeded, Transition, Unrunnable
from autocron.text import duration


def tell(run: Run, transition: Transition) -> tuple[int, str] | None:
    """Give the level and the text of what there is to say about a run, and what becomes of its job."""
    claim = run.claim
    match run.outcome:
        case Succeeded(note=note):
            return (logging.WARNING, f"{claim.task} {claim.uuid} succeeded, but {note}") if note else None
        case Failed(traceback=traceback) if isinstance(transition, Requeued) and transition.run_at is not None:
            again = duration(transition.run_at - run.finished_at)
            text = f"{claim.task} {claim.uuid} failed and runs again in {again}, retry {transition.retries}:"
            return logging.WARNING, f"{text}\n{traceback}"
        case Failed(traceback=traceback):
            return logging.ERROR, f"{claim.task} {claim.uuid} failed:\n{traceback}"
        case Unrunnable(reason=reason):
            return logging.ERROR, (
                f"{claim.task} {claim.uuid} is parked: {reason}."
                " It runs when a version of the code that can run it is started"
            )
        case _ if isinstance(transition, Finished) and transition.state is State.FAILED:
            return logging.ERROR, f"{claim.task} {claim.uuid} failed: {transition.error_message}"
        case _:
            return None
