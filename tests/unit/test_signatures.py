"""Whether a call fits a function, told from a text about the function."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from autocron.signatures import ANYTHING, describe, misfit


def none() -> None: ...
def two(a: int, b: int = 1) -> None: ...
def only(a: int, /, *, b: int, c: int = 2) -> None: ...
def more(a: int, *rest: int, **named: int) -> None: ...


@given(
    some.sampled_from([none, two, only, more]),
    some.integers(0, 4),
    some.frozensets(some.sampled_from(["a", "b", "c", "x"])),
)
def test_it_says_what_binding_says(function: Callable[..., Any], positional: int, keywords: frozenset[str]) -> None:
    try:
        inspect.signature(function).bind(*range(positional), **dict.fromkeys(keywords))
    except TypeError as error:
        expected: str | None = str(error)
    else:
        expected = None
    assert misfit(describe(function), positional, tuple(keywords)) == expected


def test_defaults_and_annotations_do_not_count() -> None:
    def other(a: str, b: float = 2.5) -> int: ...  # type: ignore[empty-body]

    assert describe(other) == describe(two)
    assert describe(none) == "[]"


@pytest.mark.parametrize("function", [dict, print, none])
def test_what_does_not_tell_takes_anything(function: Callable[..., Any]) -> None:
    assert misfit(describe(function), 0, ()) is None
    assert misfit(ANYTHING, 9, ("x",)) is None
