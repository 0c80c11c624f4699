"""What running one job gives."""

import time
from typing import Any

import pytest

from autocron import Snooze, State, StoreError, task
from autocron.eventloop import EventLoop
from autocron.model import Claim, Expired, Failed, Outcome, Snoozed, StoredJob, Succeeded
from autocron.options import Plan
from autocron.steps import StepsHere
from autocron.task import Registry
from autocron.worker.news import Reporter, RunningJob
from autocron.worker.places import MainThread
from autocron.worker.runner import READ_AGAIN, Runner


async def nothing() -> None:
    pass


def give() -> str:
    return "value"


def doze() -> None:
    raise Snooze(5)


def lose() -> None:
    raise TypeError("lost")


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    own = Registry()
    for function in (give, doze, lose, echo):
        own.add_task(function, function.__name__, Plan())
    monkeypatch.setattr(task, "registry", own)
    monkeypatch.setattr("autocron.worker.runner.registry", own)
    return own


def echo(value: object) -> object:
    return value


def run(name: str, *, begin_by: float | None = None, policy: str | None = None) -> Outcome:
    claim = Claim("u", 1, name, "[[],{}]", 1.0, 0, 0, 0, begin_by, policy)
    job = RunningJob(claim, StepsHere(), Reporter(lambda _: None), MainThread())
    return Runner(1 << 20, lambda: None, nothing, EventLoop(), lambda _: {}).run(claim, job)


def test_a_job_is_not_begun_after_its_time() -> None:
    assert run("give", begin_by=time.time()) == Expired()
    assert run("give", begin_by=time.time() + 60) == Succeeded('"value"')


def test_what_is_raised_is_judged_by_the_policy_of_the_job() -> None:
    assert run("doze") == Snoozed(5.0)
    for policy, expected in ((None, False), (Plan().with_options({"retries": 1}).policy, True)):
        failure = run("lose", policy=policy)
        assert isinstance(failure, Failed)
        assert failure.may_retry is expected


@pytest.mark.parametrize(
    ("parents", "outcome"),
    [
        (
            {"p": StoredJob("p", "app.p", State.SUCCEEDED, None, 1, 1.0, 1.0, 1.0, 2.0, "[5]", "", "", [])},
            Succeeded("[5]"),
        ),
        ({}, Failed("the job p, whose value is an argument, is not in the database any more", "")),
        (StoreError("locked"), Snoozed(READ_AGAIN)),
    ],
)
def test_values_of_other_jobs_are_read_before_the_call(parents: Any, outcome: Outcome) -> None:
    asked: list[str] = []

    def read(uuids: list[str]) -> dict[str, StoredJob]:
        asked.extend(uuids)
        if isinstance(parents, StoreError):
            raise parents
        return parents  # type: ignore[no-any-return]

    claim = Claim("u", 1, "echo", '[[{"$result":"p"}],{}]', 1.0)
    job = RunningJob(claim, StepsHere(), Reporter(lambda _: None), MainThread())
    assert Runner(1 << 20, lambda: None, nothing, EventLoop(), read).run(claim, job) == outcome
    assert asked == ["p"]
