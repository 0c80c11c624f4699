import math

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as some

from autocron.model import (
    Backoff,
    Cancelled,
    Claim,
    Crashed,
    Expired,
    Failed,
    Finished,
    Interrupted,
    NodeLost,
    NotBegun,
    Outcome,
    PastAttempt,
    Policy,
    Requeued,
    Run,
    Settings,
    Snoozed,
    State,
    Succeeded,
    Unrunnable,
)
from autocron.retry import MAX_CRASHES, MAX_LOSSES, decide, fail_instead, pause, policy_of

SETTINGS = Settings(result_ttl=10.0, failed_ttl=100.0)


def run(
    outcome: Outcome, crashes: int = 0, losses: int = 0, *, retries: int = 0, policy: Policy | str | None = None
) -> Run:
    text = msgspec.json.encode(policy).decode() if isinstance(policy, Policy) else policy
    return Run(Claim("u", 3, "task", "[[],{}]", 1.0, crashes, losses, retries, None, text), outcome, 2.0, 5.0)


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


# Retries


RETRY = Policy(Backoff(times=2, delay=10.0, jitter=False))
FAILURE = Failed("OSError: x", "Traceback", may_retry=True)
durations = some.floats(0, 1e9)
retries = some.builds(
    Backoff, some.just(3), delay=durations, factor=some.floats(1, 1e308), max_delay=durations, jitter=some.booleans()
)
numbers, chances = some.integers(1, 10**6), some.floats(0, 1)


@given(retries, numbers, chances)
def test_a_pause_is_never_longer_than_allowed(retry: Backoff, number: int, chance: float):
    assert 0 <= pause(retry, number, chance) <= retry.max_delay


@given(retries, numbers, chances)
def test_without_jitter_pauses_only_grow(retry: Backoff, number: int, chance: float):
    steady = msgspec.structs.replace(retry, jitter=False)
    assert pause(steady, number, chance) == pause(steady, number, 1.0) <= pause(steady, number + 1, 1.0)
    assert pause(steady, 1, chance) == min(retry.delay, retry.max_delay)


@given(retries, numbers, chances)
def test_jitter_is_full(retry: Backoff, number: int, chance: float):
    steady, random = (msgspec.structs.replace(retry, jitter=jitter) for jitter in (False, True))
    assert pause(random, number, chance) == pause(steady, number, 0.0) * chance


@given(some.integers(1, 8), some.floats(1, 10))
def test_each_pause_is_a_factor_longer_until_the_longest(number: int, factor: float):
    retry = Backoff(9, 2.0, factor, 1e9, jitter=False)
    assume(factor**number < 1e8)
    assert math.isclose(pause(retry, number + 1, 0.5), pause(retry, number, 0.5) * factor)


def test_a_failure_is_tried_again_after_a_pause_and_kept():
    again = decide(run(FAILURE, policy=RETRY, retries=1), SETTINGS)
    assert isinstance(again, Requeued)
    assert (again.retries, again.run_at, again.begun, again.held) == (2, 5.0 + 20.0, True, None)
    assert again.past
    assert msgspec.json.decode(again.past, type=PastAttempt) == PastAttempt(
        2.0, 5.0, "failed", "OSError: x", "Traceback"
    )


def test_chance_shortens_the_pause():
    again = decide(run(FAILURE, policy=Policy(Backoff(1, delay=8.0))), SETTINGS, 0.25)
    assert isinstance(again, Requeued)
    assert again.run_at == 5.0 + 2.0


@pytest.mark.parametrize(
    ("failure", "used", "policy"),
    [
        (FAILURE, 2, RETRY),
        (Failed("OSError: x", "Traceback"), 0, RETRY),  # of a class that is not tried again
        (FAILURE, 0, None),
    ],
)
def test_a_failure_without_a_retry_is_the_end(failure: Failed, used: int, policy: Policy | None):
    end = decide(run(failure, policy=policy, retries=used), SETTINGS)
    assert end == Finished("u", 3, State.FAILED, None, "OSError: x", "Traceback", 2.0, 5.0, 105.0)


def test_a_task_may_say_itself_when_it_is_tried_again():
    later = Failed("RetryLater: again in 60 s", "Traceback", may_retry=True, delay=60.0)
    again = decide(run(later, policy=RETRY), SETTINGS, 0.0)
    assert isinstance(again, Requeued)
    assert (again.retries, again.run_at) == (1, 65.0)
    end = decide(run(later), SETTINGS)
    assert isinstance(end, Finished)
    assert end.error_message == "RetryLater: again in 60 s, but no retry is left (retries=0)"


def test_a_snooze_uses_no_retry_and_is_no_attempt():
    again = decide(run(Snoozed(60.0), policy=RETRY, retries=2, crashes=1), SETTINGS)
    assert again == Requeued("u", 3, 65.0, None, 1, 0, None, 2, True)


@pytest.mark.parametrize("outcome", [Crashed("SIGSEGV"), NodeLost(), Interrupted()])
def test_a_lost_job_uses_no_retry_and_runs_at_once(outcome: Outcome):
    again = decide(run(outcome, policy=RETRY, retries=1), SETTINGS)
    assert isinstance(again, Requeued)
    assert (again.retries, again.run_at, again.begun) == (1, None, True)


@pytest.mark.parametrize("outcome", [Crashed("SIGSEGV"), NodeLost(), Interrupted()])
def test_a_job_that_must_not_run_twice_fails_when_it_is_lost(outcome: Outcome):
    end = decide(run(outcome, policy=Policy(on_crash="fail")), SETTINGS)
    assert isinstance(end, Finished)
    assert end.state is State.FAILED
    assert end.error_message.endswith('; with on_crash="fail" it does not run again')


@pytest.mark.parametrize("outcome", [NotBegun(), Unrunnable("unknown task")])
def test_what_was_not_begun_is_queued_again_in_any_case(outcome: Outcome):
    again = decide(run(outcome, policy=Policy(on_crash="fail")), SETTINGS)
    assert isinstance(again, Requeued)
    assert not again.begun


# Ends that are neither success nor failure


def test_a_task_may_call_its_job_off():
    end = decide(run(Cancelled("withdrawn")), SETTINGS)
    assert end == Finished("u", 3, State.CANCELLED, None, "withdrawn", "", 2.0, 5.0, 15.0)


def test_an_expired_job_was_never_begun():
    end = decide(run(Expired()), SETTINGS)
    assert end == Finished("u", 3, State.CANCELLED, None, "expired", "", None, 5.0, 15.0)


@pytest.mark.parametrize(
    ("outcome", "expires_at"),
    [(Succeeded("1"), 35.0), (Cancelled(""), 35.0), (Expired(), 35.0), (Failed("", ""), 105.0)],
)
def test_a_task_says_how_long_its_results_are_kept(outcome: Outcome, expires_at: float):
    end = decide(run(outcome, policy=Policy(result_ttl=30.0)), SETTINGS)
    assert isinstance(end, Finished)
    assert end.expires_at == expires_at


@pytest.mark.parametrize("text", ["", "{", "[]", '{"retry":{"times":"x"}}', None])
def test_a_policy_that_somebody_has_damaged_counts_as_none(text: str | None):
    assert policy_of(text) == Policy()
    assert decide(run(FAILURE, policy=text), SETTINGS) == decide(run(FAILURE), SETTINGS)
