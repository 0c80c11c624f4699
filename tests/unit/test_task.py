"""What the decorators take, what they refuse, and what they make of it."""

import inspect
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from autocron import ConfigError, task
from autocron.result import TaskResult
from autocron.task import AsyncTask, Registry, Task, cron, delay
from autocron.when import When

NOW = 1_700_000_000.0


class Calls:
    """Notes calls instead of storing them."""

    def __init__(self) -> None:
        self.made: list[tuple[str, tuple[Any, ...], dict[str, Any], float]] = []

    def enqueue(self, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TaskResult[Any]:
        self.made.append((task.name, args, kwargs, task.plan.when.due(NOW)))
        return TaskResult("uuid", None, task.name)  # type: ignore[arg-type]

    async def aenqueue(self, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TaskResult[Any]:
        return self.enqueue(task, args, kwargs)


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    own = Registry()
    own.caller = Calls()
    monkeypatch.setattr(task, "registry", own)
    return own  # type: ignore[return-value]


def send(address: str, text: str = "") -> int:
    """Send a mail."""
    return len(address + text)


async def fetch(url: str) -> str:
    return url


def clean() -> None:
    pass


class Shop:
    @staticmethod
    def restock() -> str:
        return "done"

    def method(self) -> None: ...

    @classmethod
    def of(cls) -> None: ...


def made(registry: Registry) -> list[Any]:
    return registry.caller.made  # type: ignore[attr-defined, no-any-return]


def test_a_task_keeps_name_docstring_and_signature() -> None:
    made = delay(send)
    assert (made.__name__, made.__doc__, made.__module__) == ("send", "Send a mail.", __name__)
    assert inspect.signature(made) == inspect.signature(send)
    assert made.name == f"{__name__}.send"


def test_the_ways_to_write_it_make_the_same_task(registry: Registry) -> None:
    for decorator in (delay, delay(), delay(minutes=1)):
        decorated = decorator(send)
        assert type(decorated) is Task
        assert registry.tasks == {f"{__name__}.send": decorated}
        assert registry.functions == {f"{__name__}.send": send}


def test_a_call_is_handed_on_with_its_arguments(registry: Registry) -> None:
    delay(send)("a@example.org", text="hello")
    assert made(registry) == [(f"{__name__}.send", ("a@example.org",), {"text": "hello"}, NOW)]


def test_arguments_that_do_not_fit_are_an_error_at_the_call(registry: Registry) -> None:
    with pytest.raises(TypeError, match=r"send: missing a required argument: 'address'; its parameters are \("):
        delay(send)()  # type: ignore[call-arg]
    assert made(registry) == []


def test_call_runs_the_function_itself(registry: Registry) -> None:
    assert delay(send).call("abc", "d") == 4
    assert made(registry) == []


async def _await(task: AsyncTask[[str], str]) -> tuple[str, str]:
    await task.aenqueue("x")
    return await task.call("y"), task.name


def test_an_async_function_makes_an_async_task(registry: Registry) -> None:
    import asyncio

    decorated = delay(fetch)
    assert type(decorated) is AsyncTask
    assert not inspect.iscoroutinefunction(decorated)
    assert asyncio.run(_await(decorated)) == ("y", f"{__name__}.fetch")
    assert [call[1] for call in made(registry)] == [("x",)]


def test_a_static_method_works_in_either_order(registry: Registry) -> None:
    inner = delay(Shop.__dict__["restock"])
    outer = staticmethod(delay(Shop.restock))
    assert inner.call() == outer.__func__.call() == "done"
    assert list(registry.tasks) == [f"{__name__}.Shop.restock"]


def test_a_name_replaces_the_default(registry: Registry) -> None:
    assert delay(name="mail")(send).name == "mail"
    assert list(registry.tasks) == ["mail"]


def test_a_delay_counts_from_the_call(registry: Registry) -> None:
    delay(weeks=1, days=1, hours=1, minutes=1, seconds=1)(clean)()
    assert made(registry)[0][3] - NOW == timedelta(weeks=1, days=1, hours=1, minutes=1, seconds=1).total_seconds()


def test_a_moment_may_be_aware_or_local_and_the_past_means_now() -> None:
    moment = datetime(2030, 1, 2, tzinfo=UTC)
    assert When.of(schedule=moment).due(NOW) == moment.timestamp()
    local = datetime(2030, 1, 2, 3)  # noqa: DTZ001
    assert When.of(schedule=local).due(NOW) == local.timestamp()
    assert When.of(schedule=datetime(2000, 1, 1, tzinfo=UTC)).due(NOW) == NOW
    assert When.of(seconds=-5).due(NOW) == NOW


def test_options_replace_every_time_given_before(registry: Registry) -> None:
    later = delay(hours=1)(clean)
    later.options(seconds=5)()
    later.options(schedule=datetime.fromtimestamp(NOW + 7, UTC))()
    later.options()()
    assert [call[3] - NOW for call in made(registry)] == [5, 7, 3600]
    assert registry.tasks[later.name] is later


@pytest.mark.parametrize(
    "options",
    [
        {"seconds": "5"},
        {"seconds": float("nan")},
        {"weeks": 1e12},
        {"schedule": "tomorrow"},
        {"seconds": 5, "schedule": datetime(2030, 1, 1, tzinfo=UTC)},
    ],
)
def test_a_time_that_is_none_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        delay(**options)


def test_an_option_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no option 'retires' here; there are queue, priority, retries"):
        delay(retires=3)  # type: ignore[call-overload]


# What a worker could not find


def test_a_lambda_is_refused() -> None:
    for decorator in (delay, cron):
        with pytest.raises(ConfigError, match="lambda"):
            decorator(lambda: None)


def test_a_local_function_is_refused() -> None:
    def local() -> None: ...

    for decorator in (delay, cron):
        with pytest.raises(ConfigError, match="top of its module"):
            decorator(local)


def test_methods_are_refused() -> None:
    for function in (Shop.method, Shop.__dict__["of"], Shop.__dict__["of"].__func__):
        with pytest.raises(ConfigError, match="method"):
            delay(function)
        with pytest.raises(ConfigError, match="method"):
            cron("0 * * * *")(function)


def test_what_is_no_function_is_refused() -> None:
    for thing in (Shop, Shop(), 5, "send"):
        with pytest.raises(ConfigError, match=r"decorates functions; .* is none; options have names"):
            delay(thing)  # type: ignore[call-overload]


def test_a_schedule_of_what_needs_arguments_is_refused() -> None:
    with pytest.raises(ConfigError, match="runs send without arguments: missing a required argument: "):
        cron("@daily")(send)


def test_a_task_is_not_delayed_twice() -> None:
    with pytest.raises(ConfigError, match="already"):
        delay(delay(send))


def test_what_is_typed_in_is_refused() -> None:
    code = "import autocron\ndef f(): pass\nautocron.delay(f)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ConfigError" in done.stderr
    assert "typed in" in done.stderr


def test_one_name_for_two_functions_is_refused(registry: Registry) -> None:
    delay(name="mail")(send)
    with pytest.raises(ConfigError, match=r"'mail' is taken: .*send has it, .*clean needs another"):
        delay(name="mail")(clean)
    cron("0 * * * *", name="nightly")(clean)
    with pytest.raises(ConfigError, match="taken"):
        cron("0 * * * *", name="nightly")(Shop.restock)
    assert registry.functions == {"mail": send, "nightly": clean}


def load(path: Path, text: str) -> ModuleType:
    module = ModuleType("reloaded")
    exec(compile(textwrap.dedent(text), str(path), "exec"), module.__dict__)
    return module


def test_a_module_that_is_imported_again_replaces_its_own(registry: Registry, tmp_path: Path) -> None:
    text = """
        import autocron.task
        @autocron.task.delay
        def work(): return {n}
        @autocron.task.cron("0 {n} * * *")
        @autocron.task.cron("30 {n} * * *")
        def tick(): pass
    """
    for number in (1, 2):
        load(tmp_path / "reloaded.py", text.format(n=number))
    assert registry.functions["reloaded.work"]() == 2
    assert {name: one.text for name, one in registry.schedules.items()} == {
        "reloaded.tick": "30 2 * * *",
        "reloaded.tick 0 2 * * *": "0 2 * * *",
    }


# Schedules


def test_a_schedule_says_everything_that_is_stored(registry: Registry) -> None:
    assert cron("30 2 * * *", tz="Europe/Berlin", missed="all", overlap="allow")(clean) is clean
    name = f"{__name__}.clean"
    (declared,) = registry.schedules.values()
    assert (declared.name, declared.task, declared.module) == (name, name, __name__)
    assert (declared.text, declared.tz, declared.missed, declared.overlap) == (
        "30 2 * * *",
        "Europe/Berlin",
        "all",
        "allow",
    )
    assert registry.functions == {name: clean}
    assert registry.tasks == {}


def test_the_ways_to_say_every_minute_are_the_same(registry: Registry) -> None:
    for decorator in (cron, cron(), cron(None), cron("* * * * *")):
        own = Registry()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(task, "registry", own)
            assert decorator(clean) is clean
        assert [one.text for one in own.schedules.values()] == ["* * * * *"]


def test_fields_and_intervals(registry: Registry) -> None:
    cron(minutes=[0, 30], hours=2, name="a")(clean)
    cron(every=timedelta(minutes=2), name="b")(clean)
    assert {name: one.text for name, one in registry.schedules.items()} == {"a": "0,30 2 * * *", "b": "every 120"}


def test_a_second_schedule_of_a_function_adds_its_expression(registry: Registry) -> None:
    cron("0 6 * * *")(cron("0 18 * * *")(clean))
    name = f"{__name__}.clean"
    assert list(registry.schedules) == [name, f"{name} 0 6 * * *"]
    assert {one.task for one in registry.schedules.values()} == {name}


def test_a_task_may_have_a_schedule(registry: Registry) -> None:
    decorated = delay(name="tidy")(clean)
    assert cron("@daily")(decorated) is decorated
    (declared,) = registry.schedules.values()
    assert declared.task == "tidy"


def test_a_scheduled_function_may_be_delayed_too(registry: Registry) -> None:
    delay(cron("@daily")(clean))
    assert list(registry.functions) == list(registry.tasks) == list(registry.schedules)


def test_a_static_method_may_have_a_schedule(registry: Registry) -> None:
    method = Shop.__dict__["restock"]
    assert cron(every=5)(method) is method
    assert registry.functions == {f"{__name__}.Shop.restock": Shop.restock}


def test_a_schedule_has_options_after_those_of_its_task(registry: Registry) -> None:
    task = delay(retries=2, on_crash="fail")(clean)
    cron("@daily", expires=timedelta(hours=1))(task)
    cron("@hourly", name="own", retries=0)(task)
    first, second = registry.schedules.values()
    assert (first.expires, first.policy) == (3600.0, task.plan.policy)
    assert (second.expires, second.policy) == (None, task.options(retries=0).plan.policy)


def test_a_schedule_refuses_options_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="retries: -1"):
        cron("@daily", retries=-1)
    with pytest.raises(ConfigError, match="can't all expire at one moment"):
        cron("@daily", expires=datetime(2030, 1, 1, tzinfo=UTC))(clean)
    with pytest.raises(
        ConfigError, match=r"there is no option 'seconds' here; there are minutes, .* every, .* retries"
    ):
        cron("@daily", seconds=5)  # type: ignore[call-overload]


def test_what_a_schedule_refuses() -> None:
    for arguments in (
        {"crontab": "61 * * * *"},
        {"every": 0.5},
        {"missed": "never"},
        {"overlap": "maybe"},
        {"retries": -1},
    ):
        with pytest.raises(ConfigError):
            cron(**arguments)(clean)  # type: ignore[call-overload]


def test_declarations_are_told_of_and_say_where_they_stand(registry: Registry) -> None:
    told: list[list[str]] = []
    registry.on_change = lambda: told.append(registry.modules())
    delay(send)
    delay(textwrap.dedent)  # a function of a library: the workers must import this module to know it
    assert told == [[__name__], [__name__, "textwrap"]]
