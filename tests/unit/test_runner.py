"""What running one job gives."""

import time

import pytest

from autocron import Snooze, task
from autocron.eventloop import EventLoop
from autocron.model import Claim, Expired, Failed, Outcome, Snoozed, Succeeded
from autocron.options import Plan
from autocron.steps import StepsHere
from autocron.task import Registry
from autocron.worker.news import Reporter, RunningJob
from autocron.worker.places import MainThread
from autocron.worker.runner import Runner


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
    for function in (give, doze, lose):
        own.add_task(function, function.__name__, Plan())
    monkeypatch.setattr(task, "registry", own)
    monkeypatch.setattr("autocron.worker.runner.registry", own)
    return own


def run(name: str, *, begin_by: float | None = None, policy: str | None = None) -> Outcome:
    claim = Claim("u", 1, name, "[[],{}]", 0, 0, 1.0, 0, begin_by, policy)
    job = RunningJob(claim, StepsHere(), Reporter(lambda _: None), MainThread())
    return Runner(1 << 20, lambda: None, nothing, EventLoop()).run(claim, job)


def test_a_job_is_not_begun_after_its_time() -> None:
    assert run("give", begin_by=time.time()) == Expired()
    assert run("give", begin_by=time.time() + 60) == Succeeded('"value"')


def test_what_is_raised_is_judged_by_the_policy_of_the_job() -> None:
    assert run("doze") == Snoozed(5.0)
    for policy, expected in ((None, False), (Plan().with_options({"retries": 1}).policy, True)):
        failure = run("lose", policy=policy)
        assert isinstance(failure, Failed)
        assert failure.may_retry is expected
