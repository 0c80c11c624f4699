"""What options mean, which are refused, and what they come to for a job."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from autocron import ConfigError, Retry
from autocron.model import Backoff, Policy
from autocron.options import CallOptions, Options, Plan

NOW = 1_700_000_000.0


class OrderError(Exception):
    """Raised by a shop."""


def plan(**options: Any) -> Plan:
    return Plan().with_options(options)  # type: ignore[arg-type]


def policy(**options: Any) -> Policy:
    text = plan(**options).policy
    assert text is not None
    return msgspec.json.decode(text, type=Policy)


def begin_by(**options: Any) -> float | None:
    return plan(**options).job("u", "task", "[[],{}]", NOW).begin_by


def test_what_is_not_given_is_not_stored() -> None:
    for options in ({}, {"seconds": 5}, {"retries": 0}, {"retries": Retry(0)}, {"on_crash": "retry"}):
        job = plan(**options).job("u", "task", "[[],{}]", NOW)
        assert (job.begin_by, job.policy) == (None, None)


def test_a_number_of_retries_has_the_defaults_of_retry() -> None:
    assert plan(retries=3).policy == '{"retry":{"times":3}}'
    assert policy(retries=Retry(3)) == policy(retries=3) == Policy(Backoff(3))


def test_a_retry_is_stored_with_the_names_of_its_exceptions() -> None:
    retry = Retry(
        4,
        delay=timedelta(minutes=1),
        factor=3,
        max_delay=600,
        jitter=False,
        on=(OSError, OrderError),
        never=(KeyError,),
    )
    on = ("builtins.OSError", f"{__name__}.OrderError")
    assert policy(retries=retry).retry == Backoff(4, 60.0, 3.0, 600.0, False, on, ("builtins.KeyError",))


def test_later_options_replace_earlier_ones_of_the_same_name_only() -> None:
    first = plan(retries=3, on_crash="fail", hours=1)
    later = first.with_options({"retries": 1, "result_ttl": timedelta(hours=1)})
    assert later.policy == plan(retries=1, on_crash="fail", result_ttl=3600).policy
    assert later.when == first.when
    assert first.with_options({}) is first


def test_any_time_replaces_all_times_and_nothing_else() -> None:
    first = plan(retries=3, hours=1, minutes=5)
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    for times, due in (({"seconds": 7}, NOW + 7), ({"schedule": moment}, moment.timestamp())):
        later = first.with_options(times)  # type: ignore[arg-type]
        assert later.when.due(NOW) == due
        assert later.policy == first.policy


def test_seconds_until_the_expiry_count_from_when_the_job_is_due() -> None:
    assert begin_by(expires=60) == NOW + 60
    assert begin_by(expires=timedelta(minutes=1), hours=1) == NOW + 3660
    assert begin_by(hours=1) is None


def test_a_moment_of_expiry_is_that_moment() -> None:
    moment = datetime(2030, 1, 2, tzinfo=UTC)
    assert begin_by(expires=moment, hours=1) == moment.timestamp()
    local = datetime(2030, 1, 2)  # noqa: DTZ001
    assert begin_by(expires=local) == local.timestamp()


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"retries": -1}, "retries: -1 is neither a whole number from 0 on nor a Retry"),
        ({"retries": True}, "retries: True is neither"),
        ({"retries": 2.0}, "retries: 2.0 is neither"),
        ({"retries": "many"}, "retries: 'many' is neither"),
        ({"expires": 0}, "no job could begin"),
        ({"expires": -1}, "expires: -1 is not a finite number of seconds from 0 on"),
        ({"expires": "soon"}, "expires: 'soon' is neither a number of seconds nor a timedelta"),
        ({"on_crash": "ignore"}, 'on_crash: \'ignore\' is neither "retry" nor "fail"'),
        ({"result_ttl": float("nan")}, "result_ttl: nan"),
        ({"result_ttl": True}, "result_ttl: True is neither"),
        ({"timeout": 0}, "timeout: in 0 s no job could end"),
        (
            {"retires": 1},
            "there is no option 'retires' here; there are queue, priority, retries, timeout, expires, on_crash",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        plan(**options)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"times": -1}, "retries: -1"),
        ({"delay": -1}, "delay: -1"),
        ({"factor": 0.5}, "factor: 0.5 is not a number from 1 on"),
        ({"factor": float("inf")}, "factor: inf"),
        ({"max_delay": "long"}, "max_delay: 'long'"),
        ({"on": OSError}, "on: .* is not a tuple of exception classes"),
        ({"on": ("OSError",)}, "on: 'OSError' is not a class of exceptions"),
        ({"never": (KeyboardInterrupt,)}, "never: .*KeyboardInterrupt.* is not a class of exceptions"),
    ],
)
def test_a_retry_that_makes_no_sense_is_refused(arguments: dict[str, Any], hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        Retry(**{"times": 1, **arguments})


def test_a_schedule_has_no_times() -> None:
    assert not Options.__annotations__.keys() & {"seconds", "schedule", "after"}
    assert CallOptions.__annotations__.keys() > Options.__annotations__.keys()
