import msgspec
import pytest

from autocron.model import (
    Claim,
    Crashed,
    Failed,
    Finished,
    Interrupted,
    NodeLost,
    NotBegun,
    Outcome,
    PastAttempt,
    Requeued,
    Run,
    Settings,
    State,
    Succeeded,
    Unrunnable,
)
from autocron.retry import MAX_CRASHES, MAX_LOSSES, decide, fail_instead

SETTINGS = Settings(result_ttl=10.0, failed_ttl=100.0)


def run(outcome: Outcome, crashes: int = 0, losses: int = 0) -> Run:
    return Run(Claim("u", 3, "task", "[[],{}]", crashes, losses, 1.0), outcome, 2.0, 5.0)


def test_success_keeps_the_result_for_its_time():
    assert decide(run(Succeeded("42")), SETTINGS) == Finished("u", 3, State.SUCCEEDED, "42", "", "", 2.0, 5.0, 15.0)


def test_failure_keeps_the_error_for_longer():
    end = decide(run(Failed("ValueError: x", "Traceback")), SETTINGS)
    assert end == Finished("u", 3, State.FAILED, None, "ValueError: x", "Traceback", 2.0, 5.0, 105.0)


def test_a_job_that_kills_its_worker_fails_at_last():
    again = decide(run(Crashed("SIGSEGV"), crashes=MAX_CRASHES - 2), SETTINGS)
    assert isinstance(again, Requeued)
    assert again.crashes == MAX_CRASHES - 1
    assert again.past
    past = msgspec.json.decode(again.past, type=PastAttempt)
    assert past == PastAttempt(2.0, 5.0, "crashed", "worker lost: SIGSEGV", "")
    end = decide(run(Crashed("SIGSEGV"), crashes=MAX_CRASHES - 1), SETTINGS)
    assert isinstance(end, Finished)
    assert end.error_message == "worker died 3 times, the last time with SIGSEGV"


def test_losses_with_the_node_are_counted_apart():
    again = decide(run(NodeLost(), crashes=2, losses=1), SETTINGS)
    assert isinstance(again, Requeued)
    assert (again.crashes, again.losses) == (2, 2)
    assert isinstance(decide(run(NodeLost(), losses=MAX_LOSSES - 1), SETTINGS), Finished)


@pytest.mark.parametrize("outcome", [NotBegun(), Interrupted(), Unrunnable("unknown task 'x'")])
def test_what_is_not_the_jobs_fault_costs_nothing(outcome: Outcome):
    again = decide(run(outcome, crashes=1, losses=1), SETTINGS)
    assert isinstance(again, Requeued)
    assert (again.crashes, again.losses, again.run_at) == (1, 1, None)


def test_a_job_without_its_code_is_parked_with_the_reason():
    again = decide(run(Unrunnable("unknown task 'x'")), SETTINGS)
    assert isinstance(again, Requeued)
    assert again.held == "unknown task 'x'"


@pytest.mark.parametrize("outcome", [Succeeded("42"), NotBegun()])
def test_a_job_whose_outcome_the_store_does_not_take_fails(outcome: Outcome):
    end = fail_instead(decide(run(outcome), SETTINGS), "too big", 7.0, SETTINGS)
    started_at = 2.0 if isinstance(outcome, Succeeded) else 7.0
    message = "its outcome could not be stored: too big"
    assert end == Finished("u", 3, State.FAILED, None, message, "", started_at, 7.0, 107.0)
