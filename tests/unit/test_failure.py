"""What it means for a job that its function has raised something."""

import pytest

from autocron import Cancel, ConfigError, Retry, RetryLater, Snooze
from autocron.failure import outcome_of
from autocron.model import Cancelled, Failed, Outcome, Snoozed
from autocron.options import Plan


class ShopError(OSError):
    """Raised by a shop."""


def outcome(error: BaseException, retry: Retry | None = None) -> Outcome:
    return outcome_of(error, "worker", Plan().with_options({"retries": retry}).policy if retry else None)


def may_retry(error: BaseException, retry: Retry) -> bool:
    failure = outcome(error, retry)
    assert isinstance(failure, Failed)
    return failure.may_retry


def test_without_retries_nothing_is_asked_for() -> None:
    assert outcome(ValueError("x")) == Failed("ValueError: x", "ValueError: x\n")


@pytest.mark.parametrize(
    ("error", "expected"),
    [(ShopError("x"), True), (OSError("x"), True), (KeyError("x"), False), (PermissionError("x"), False)],
)
def test_classes_include_their_subclasses_and_never_wins(error: Exception, expected: bool) -> None:
    retry = Retry(3, on=(OSError, PermissionError), never=(PermissionError,))
    assert may_retry(error, retry) is expected


def test_a_class_of_the_application_is_known_by_its_name() -> None:
    assert may_retry(ShopError("x"), Retry(3, on=(ShopError,)))
    assert not may_retry(OSError("x"), Retry(3, on=(ShopError,)))


def test_by_default_every_exception_is_tried_again_but_no_end_of_the_process() -> None:
    assert may_retry(Exception("x"), Retry(3))
    for error in (SystemExit(3), KeyboardInterrupt(), GeneratorExit()):
        assert not may_retry(error, Retry(3))


def test_a_task_says_what_is_to_become_of_its_job() -> None:
    assert outcome(Snooze(60)) == Snoozed(60.0)
    assert outcome(Cancel("with\0drawn")) == Cancelled("with\\x00drawn")
    later = outcome(RetryLater(90), Retry(1, on=()))
    assert later == Failed("RetryLater: again in 90 s", "autocron.control.RetryLater: again in 90 s\n", True, 90.0)


@pytest.mark.parametrize("signal", [Snooze, RetryLater])
@pytest.mark.parametrize("delay", [-1, "soon", float("nan"), None])
def test_a_pause_that_is_none_is_an_error_of_the_task(signal: type[Snooze], delay: float) -> None:
    with pytest.raises(ConfigError, match="delay: "):
        signal(delay)
