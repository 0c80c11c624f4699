from autocron.model import CANCELLED, Cancelled, Claim, Failed, Succeeded
from autocron.node.deadlines import Deadlines
from autocron.options import Plan


def claim(uuid: str = "a", **options: object) -> Claim:
    policy = Plan().with_options(options).policy  # type: ignore[arg-type]
    return Claim(uuid, 1, "app.work", "[[],{}]", 0.0, 0, 0, 0, None, policy)


def test_a_job_without_a_timeout_is_never_due() -> None:
    deadlines = Deadlines()
    deadlines.begun(1, claim(retries=1), 0.0)
    assert deadlines.next_look() is None
    assert deadlines.due(1e9) == []
    assert deadlines.lost("a") is None
    assert deadlines.ended("a", Succeeded("1")) == Succeeded("1")


def test_a_job_is_stopped_at_its_timeout_and_its_worker_ended_after_the_grace() -> None:
    deadlines, job = Deadlines(), claim(timeout=10)
    deadlines.begun(1, job, 100.0)
    assert deadlines.next_look() == 110.0
    assert deadlines.due(109.0) == []
    assert deadlines.due(110.0) == [(1, job)]
    assert deadlines.due(111.0) == []
    assert deadlines.ask(1, job, "timeout", 5.0, 110.0)
    assert not deadlines.ask(1, job, "cancelled", 5.0, 112.0)
    assert deadlines.next_look() == 115.0
    assert deadlines.overdue(114.0) == set()
    assert deadlines.overdue(115.0) == {1}
    deadlines.explain("a", "Thread MainThread")
    outcome = deadlines.lost("a")
    assert isinstance(outcome, Failed)
    assert "TaskTimeout: ran for longer than 10 s and did not stop within 5 s" in outcome.error_message
    assert outcome.traceback.endswith("Thread MainThread")
    assert deadlines.next_look() is None


def test_a_timeout_may_be_retried_like_any_exception() -> None:
    deadlines = Deadlines()
    deadlines.ask(1, claim(timeout=1, retries=1), "timeout", 5.0, 0.0)
    outcome = deadlines.lost("a")
    assert isinstance(outcome, Failed)
    assert outcome.may_retry
    assert "did not answer" in outcome.traceback


def test_a_job_that_ends_in_time_is_left_alone() -> None:
    deadlines = Deadlines()
    deadlines.begun(1, claim(timeout=10), 0.0)
    assert deadlines.ended("a", Succeeded("1")) == Succeeded("1")
    assert deadlines.due(99.0) == []


def test_what_a_cancelled_job_does_counts_only_if_it_succeeds() -> None:
    for outcome, expected in (
        (Succeeded("1"), Succeeded("1")),
        (Failed("x", "y", may_retry=True), Cancelled(CANCELLED)),
    ):
        deadlines = Deadlines()
        deadlines.ask(1, claim(), "cancelled", 5.0, 0.0)
        assert deadlines.ended("a", outcome) == expected
        assert deadlines.overdue(9.0) == set()


def test_a_cancelled_job_that_takes_its_worker_along_is_cancelled() -> None:
    deadlines = Deadlines()
    deadlines.ask(1, claim(), "cancelled", 5.0, 0.0)
    assert deadlines.lost("a") == Cancelled(CANCELLED)
