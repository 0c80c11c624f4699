"""Schedules that an application makes while it runs."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

import autocron
from autocron import task as tasks
from autocron.app import App, in_place
from autocron.clock import SystemClock
from autocron.crontab import parse
from autocron.errors import ConfigError
from autocron.options import Plan
from autocron.task import AnyTask, Registry
from autocron.testing import captured, drain

ran: list[object] = []


def report(number: int, *, draft: bool = False) -> tuple[int, bool]:
    ran.append(number)
    return number, draft


def tick() -> None:
    ran.append("tick")


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    own = Registry()
    own.add_task(report, "report", Plan().with_options({"retries": 1}))
    own.add_schedule(tick, parse(every=3600), name="tick", task=None, missed="once", overlap="skip", plan=Plan())
    monkeypatch.setattr(tasks, "registry", own)
    ran.clear()
    with captured():
        yield own


def task() -> AnyTask:
    return tasks.registry.tasks["report"]


def soon(**times: float) -> datetime:
    return datetime.now(UTC) + timedelta(**times)


def test_it_fires_with_its_arguments() -> None:
    added = autocron.schedules.add("seven", 3600, task(), [7])
    assert (added.name, added.crontab, added.tz, added.paused) == ("seven", "every 3600", "UTC", False)
    assert added.next_run
    assert soon() < added.next_run <= soon(hours=1)
    drain(soon(hours=2, seconds=1))
    assert ran.count(7) == ran.count("tick") == 2


def test_a_paused_one_rests_and_then_goes_on_as_missed_says() -> None:
    for missed in ("once", "all", "skip"):
        added = autocron.schedules.add(missed, 3600, task(), [missed], missed=missed)  # type: ignore[arg-type]
        added.pause()
        assert added.paused
        assert added.next_run is None
    drain(soon(hours=5))
    assert ran == ["tick"] * 5
    for schedule in autocron.schedules:
        schedule.resume()
    drain()
    assert [ran.count(missed) for missed in ("once", "all", "skip")] == [1, 5, 0]


def test_a_declared_one_can_be_paused_but_not_removed_or_replaced() -> None:
    drain()
    declared = autocron.schedules["tick"]
    declared.pause()
    drain(soon(hours=5))
    assert ran == []
    with pytest.raises(ConfigError, match=r"@cron declares 'tick' in .*test_scheduling"):
        declared.remove()
    with pytest.raises(ConfigError, match="the name 'tick' is taken"):
        autocron.schedules.add("tick", 60, task(), [1])


def test_a_removed_one_is_gone() -> None:
    added = autocron.schedules.add("seven", "@hourly", task(), [7])
    assert "seven" in autocron.schedules
    added.remove()
    assert "seven" not in autocron.schedules
    for gone in (added.remove, added.pause, added.run_now, lambda: added.next_run):
        with pytest.raises(KeyError, match="there is no schedule 'seven'"):
            gone()
    with pytest.raises(KeyError, match="seven"):
        autocron.schedules["seven"]
    drain(soon(hours=2))
    assert 7 not in ran


def test_a_run_now_gives_its_result() -> None:
    added = autocron.schedules.add("seven", "0 6 * * MON", task(), [7], {"draft": True}, tz="Europe/Berlin")
    added.pause()
    result = added.run_now()
    assert drain() == 1
    assert result.result == (7, True)
    assert result.task == "report"
    drain()
    assert autocron.schedules["tick"].run_now().status is autocron.State.QUEUED


def test_the_same_name_is_replaced() -> None:
    for number in (1, 2):
        autocron.schedules.add("it", 3600, task(), [number])
    assert [one.name for one in autocron.schedules] == ["it"]
    drain(soon(hours=1, seconds=1))
    assert ran.count(1) == 0
    assert ran.count(2) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (("x", "61 * * * *", None, [7]), ConfigError, "61 is not within 0..59"),
        (("x", 0.5, None, [7]), ConfigError, "not within 1 second"),
        (("", 60, None, [7]), ConfigError, "name"),
        (("x", 60, None), TypeError, "missing a required argument: 'number'"),
        (("x", 60, None, [7], {"color": 1}), TypeError, "unexpected keyword argument 'color'"),
        (("x", 60, None, [object()]), TypeError, "argument 1"),
        (("x", 60, None, ["x" * (2 << 20)]), ValueError, "max_payload"),
        (("x", 60, report, [7]), ConfigError, "not a task"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[object, ...], error: type[Exception], text: str) -> None:
    name, when, function, *rest = arguments
    with pytest.raises(error, match=text):
        autocron.schedules.add(name, when, function or task(), *rest)  # type: ignore[arg-type]
    assert list(autocron.schedules) == []


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="missed"):
        autocron.schedules.add("x", 60, task(), [7], missed="never")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expires"):
        autocron.schedules.add("x", 60, task().options(expires=soon(hours=1)), [7])


def test_without_a_database_there_are_none(registry: Registry) -> None:
    with in_place(App(registry, SystemClock())), pytest.raises(ConfigError, match=r"autocron.start\(...\)"):
        autocron.schedules.add("x", 60, task(), [7])
