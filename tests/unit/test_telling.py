"""What is said about the outcomes of jobs."""

import logging

import pytest

from autocron.model import (
    Cancelled,
    Claim,
    Crashed,
    Failed,
    Interrupted,
    Outcome,
    Run,
    Settings,
    Snoozed,
    Succeeded,
    Unrunnable,
)
from autocron.node.telling import tell
from autocron.options import Plan
from autocron.retry import decide


def told(outcome: Outcome, **options: object) -> tuple[int, str] | None:
    policy = Plan().with_options(options).policy  # type: ignore[arg-type]
    run = Run(Claim("u", 1, "app.work", "[[],{}]", 1.0, 0, 0, 0, None, policy), outcome, 2.0, 5.0)
    return tell(run, decide(run, Settings()))


@pytest.mark.parametrize("outcome", [Succeeded("1"), Snoozed(5.0), Cancelled("why"), Crashed("SIGKILL"), Interrupted()])
def test_nothing_is_said_of_what_is_in_order_or_told_by_the_crew(outcome: Outcome) -> None:
    assert told(outcome) is None


def test_a_failure_is_an_error_unless_it_is_tried_again() -> None:
    failure = Failed("OSError: x", "Traceback ...", may_retry=True)
    assert told(failure) == (logging.ERROR, "app.work u failed:\nTraceback ...")
    again = (logging.WARNING, "app.work u failed and runs again in 1 s, retry 1:\nTraceback ...")
    assert told(failure, retries=1) == again


def test_a_value_that_could_not_be_kept_is_told() -> None:
    said = told(Succeeded(None, "result discarded: 9 bytes"))
    assert said == (logging.WARNING, "app.work u succeeded, but result discarded: 9 bytes")


def test_a_job_that_must_not_run_twice_does_not_end_in_silence() -> None:
    said = told(Interrupted(), on_crash="fail")
    assert said
    assert said[0] == logging.ERROR
    assert said[1].startswith("app.work u failed: stopped with its worker before it was done;")


def test_a_parked_job_is_told_of_with_the_way_out() -> None:
    said = told(Unrunnable("unknown task 'x'"))
    assert said
    assert said[0] == logging.ERROR
    assert "is parked: unknown task 'x'. It runs when a version of the code" in said[1]
