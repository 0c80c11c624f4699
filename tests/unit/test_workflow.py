"""Results as arguments: found in the text of a call, replaced by their values, and what calls make of it at once."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from autocron import ConfigError, TaskCancelled, TaskFailed, TaskResult, codec
from autocron.app import App
from autocron.clock import SystemClock
from autocron.model import Parent, State, StoredJob
from autocron.options import Plan
from autocron.task import AnyTask, Registry
from autocron.workflow import MissingValueError, filled, parents_in, why_cancelled

DONE = StoredJob("a", "app.work", State.SUCCEEDED, None, 1, 1.0, 1.0, 1.0, 2.0, '{"$tuple":[1,"ü"]}', "", "", [])


def result(uuid: str) -> Any:
    return TaskResult[Any](uuid, None, "app.work").later  # type: ignore[arg-type]


# Arguments as they are stored


def test_results_are_found_wherever_they_are() -> None:
    call = codec.encode_call(
        (result("a"), [result("b"), {"k": (result("c"),)}]), {"k": {1: result("d")}, "l": result("a")}
    )
    assert parents_in(call) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("value", ['"$result"', {"$result": "a"}, {"$result": ["x"]}, "$result", ["$result", "a"]])
def test_what_looks_like_a_result_is_none(value: Any) -> None:
    call = codec.encode_call((value,), {})
    assert parents_in(call) == []
    assert codec.decode_call(filled(call, {})) == ((value,), {})


def test_values_take_the_places_of_results() -> None:
    call = codec.encode_call(([result("a"), (1, result("b"))],), {"k": {b"x": result("a")}, "n": 2.5})
    nothing = msgspec.structs.replace(DONE, uuid="b", result=None)
    args, kwargs = codec.decode_call(filled(call, {"a": DONE, "b": nothing}))
    assert args == ([(1, "ü"), (1, None)],)
    assert kwargs == {"k": {b"x": (1, "ü")}, "n": 2.5}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": State.FAILED, "error_message": "no"}, "app.work a failed: no"),
        ({"state": State.CANCELLED}, "app.work a was cancelled: no reason was given"),
        ({"result": None, "error_message": "result discarded: 2 bytes"}, "has none: result discarded: 2 bytes"),
    ],
)
def test_without_a_value_there_is_no_call(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MissingValueError, match=message):
        filled(codec.encode_call((result("a"),), {}), {"a": msgspec.structs.replace(DONE, **changes)})


def test_a_value_that_is_gone_is_named() -> None:
    with pytest.raises(MissingValueError, match="the job a, whose value is an argument, is not in the database"):
        filled(codec.encode_call((result("a"),), {}), {})


@pytest.mark.parametrize("text", ['[[{"$result":"a"}', '{"$result":' * 5000])
def test_what_somebody_has_damaged_is_left_to_the_codec(text: str) -> None:
    assert filled(text, {"a": DONE}) == text
    with pytest.raises(codec.CodecError):
        codec.decode_call(text)


def test_a_value_that_was_not_filled_in_cannot_be_read() -> None:
    with pytest.raises(codec.CodecError, match="the value of the job a was not put in its place"):
        codec.decode_call(codec.encode_call((result("a"),), {}))


def test_a_result_cannot_be_returned() -> None:
    with pytest.raises(TypeError, match=r"the return value: a TaskResult can only be an argument.*get_result\(uuid\)"):
        codec.encode([result("a")], "the return value")


def test_a_long_error_is_no_long_reason() -> None:
    assert len(why_cancelled("app.work", "a", State.FAILED, "x" * 5000)) < 350


# Options


def test_a_job_waits_for_its_arguments_and_for_others() -> None:
    plan = Plan().with_options({"after": [result("a"), result("b"), result("a")], "on_parent_failure": "run"})
    assert plan.parents_of("[[],{}]") == (Parent("a", needed=False), Parent("b", needed=False))
    call = codec.encode_call((result("b"), result("c")), {})
    assert plan.parents_of(call) == (Parent("b", needed=True), Parent("c", needed=True), Parent("a", needed=False))
    assert Plan().parents_of(call) == (Parent("b", needed=True), Parent("c", needed=True))
    assert plan.with_options({"after": ()}).parents_of("[[],{}]") == ()


@pytest.mark.parametrize(
    "options", [{"after": 5}, {"after": ["uuid"]}, {"after": result("a")}, {"on_parent_failure": "go"}]
)
def test_options_that_make_no_sense(options: Any) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Plan().with_options(options)


# Where calls run at once


def add(first: int, second: int = 0) -> int:
    return first + second


def fail(value: object = None) -> None:
    raise ValueError("too bad")


def total(values: list[int]) -> int:
    return sum(values)


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture(autouse=True)
def app(registry: Registry) -> Iterator[App]:
    one = App(registry, SystemClock())
    yield one
    one.stop()


def task(registry: Registry, function: Any, **options: Any) -> AnyTask:
    return registry.add_task(function, None, Plan().with_options(options))


def test_a_graph_runs_at_once(registry: Registry) -> None:
    work, collect = task(registry, add), task(registry, total)
    parts = [work(number, work(1).later) for number in range(1500)]
    end = collect([part.later for part in parts])
    assert end.wait() == sum(range(1500)) + 1500
    assert [one.uuid for one in end.graph()] == [end.uuid]


def test_a_failure_cancels_what_needs_it_at_once(registry: Registry) -> None:
    failed = task(registry, fail)()
    first = task(registry, add)(failed.later)
    second = task(registry, add)(first.later)
    with pytest.raises(TaskCancelled, match=rf"fail {failed.uuid} failed: ValueError: too bad"):
        first.wait()
    with pytest.raises(TaskCancelled, match=rf"add {first.uuid} was cancelled: .*fail {failed.uuid} failed"):
        second.wait()


def test_what_only_comes_after_a_failure_may_run(registry: Registry) -> None:
    failed, work = task(registry, fail)(), task(registry, add)
    with pytest.raises(TaskCancelled):
        work.options(after=[failed])(1).wait()
    assert work.options(after=[failed], on_parent_failure="run")(1).wait() == 1
    with pytest.raises(TaskCancelled):
        work.options(after=[failed], on_parent_failure="run")(failed.later).wait()
    with pytest.raises(TaskFailed):
        failed.wait()
