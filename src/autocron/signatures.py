"""What a function takes, as text: a node, which imports none of the user's code, can tell whether a call fits."""

import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

ANYTHING = '[["args",2,false],["kwargs",4,false]]'
MANY = 4096


def describe(function: Callable[..., Any]) -> str:
    """Give the names and kinds of the parameters, and which of them may be left out, as JSON."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a builtin that does not tell
        return ANYTHING
    found = [(one.name, int(one.kind), one.default is not one.empty) for one in parameters]
    return msgspec.json.encode(found).decode()


@lru_cache(MANY)
def misfit(described: str, positional: int, keywords: Sequence[str]) -> str | None:
    """Say why a function does not take so many positional arguments and these keywords; None: it does."""
    try:
        _signature(described).bind(*range(positional), **dict.fromkeys(keywords))
    except TypeError as error:
        return str(error)
    return None


@lru_cache(MANY)
def _signature(described: str) -> inspect.Signature:
    kinds, empty = list(inspect._ParameterKind), inspect.Parameter.empty  # pyright: ignore[reportPrivateUsage]
    found = msgspec.json.decode(described, type=list[tuple[str, int, bool]])
    return inspect.Signature(
        [inspect.Parameter(name, kinds[kind], default=None if optional else empty) for name, kind, optional in found]
    )
