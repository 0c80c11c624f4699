"""What the options about queues, limits and uniqueness come to."""

from typing import Any

import pytest

from autocron import delay, task
from autocron.app import App
from autocron.clock import SystemClock
from autocron.errors import ConfigError
from autocron.model import PLAIN, Limit, Placing
from autocron.options import Plan
from autocron.placing import SEPARATOR
from autocron.task import Registry


def work(customer: str, number: int = 5, *more: int) -> None: ...


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    own = Registry()
    App(own, SystemClock())
    monkeypatch.setattr(task, "registry", own)
    return own


def placing(*args: Any, **options: Any) -> Placing:
    one: Any = delay(name="work", **options)(work)
    job = one.plan.job("u", "work", "[]", 1.0)
    return one.place(job, args or ("c1",), {}).placing if one.plan.rules.keys else job.placing


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, PLAIN),
        ({"queue": "mail", "priority": -100}, Placing("mail", -100)),
        ({"concurrency": 2}, Placing(limit_key="work", limit=Limit(2))),
        ({"rate": "5/m"}, Placing(limit_key="work", limit=Limit(None, 5, 60.0))),
        (
            {"concurrency": 1, "limit_key": "{customer}-{number}"},
            Placing(limit_key=f"work{SEPARATOR}c1-5", limit=Limit(1)),
        ),
        ({"unique_key": "{customer}"}, Placing(unique_key="c1")),
        ({"unique_key": ""}, Placing(unique_key="")),
        ({"unique_key": lambda customer: customer.upper()}, Placing(unique_key="C1")),
        ({"unique_key": "all", "on_duplicate": "raise"}, Placing(unique_key="all", on_duplicate="raise")),
    ],
)
def test_what_options_come_to(options: dict[str, Any], expected: Placing) -> None:
    assert placing(**options) == expected


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"queue": ""}, "queue: '' is no name"),
        ({"queue": " x"}, "queue: ' x' is no name"),
        ({"queue": "a\n"}, "is no name"),
        ({"queue": 5}, "queue: 5 is no name"),
        ({"priority": 101}, "priority: 101 is not a whole number from -100 to 100"),
        ({"priority": True}, "priority: True is not"),
        ({"concurrency": 0}, "concurrency: 0 is not a whole number from 1 on"),
        ({"rate": "fast"}, "rate: 'fast' is none"),
        ({"limit_key": "x"}, "limit_key: there is no limit that could count per key"),
        ({"unique_for": 5}, "unique_for: without a unique_key"),
        ({"on_duplicate": "raise"}, "on_duplicate: without a unique_key"),
        ({"unique_key": "x", "on_duplicate": "drop"}, "on_duplicate: 'drop' is none of"),
        ({"unique_key": 5}, "unique_key: 5 is neither a text"),
        ({"unique_key": "x", "unique_for": 5, "on_duplicate": "replace"}, "unique_for does not go with"),
    ],
)
def test_what_makes_no_sense_is_refused(options: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text.replace("(", r"\(")):
        Plan().with_options(options)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("{costumer}", "work has no parameter 'costumer', as in '{costumer}'; there are customer, number, more"),
        ("{}", "work has no parameter ''"),
        ("{customer", "can't be understood"),
    ],
)
def test_a_key_of_no_parameter_is_refused_where_it_is_written(key: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        delay(name="work", unique_key=key)(work)
    plain = delay(name="work")(work)
    with pytest.raises(ConfigError, match=text):
        plain.options(unique_key=key)


@pytest.mark.usefixtures("registry")
def test_a_key_must_be_a_text_of_some_size() -> None:
    with pytest.raises(TypeError, match="unique_key gave 7; it must give a text"):
        placing(unique_key=lambda customer: 7)
    with pytest.raises(ValueError, match="limit_key: the key has 501 characters, 500 are allowed"):
        placing("x" * 501, concurrency=1, limit_key="{customer}")
