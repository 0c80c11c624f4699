"""Steps of jobs: what was done once is not done again by a later attempt."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from autocron import codec


class Steps(Protocol):
    """Where the values of the steps of one attempt are kept, as JSON."""

    def kept(self, name: str) -> str | None:
        """Give the value of a step that was done, by this attempt or an earlier one."""
        ...

    def keep(self, name: str, value: str) -> None:
        """Keep the value of a step; when this returns, it is safe."""
        ...


class StepsHere:
    """Keeps them in memory, for calls that run in their caller."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def kept(self, name: str) -> str | None:
        """Give the value of a step that was done."""
        return self._values.get(name)

    def keep(self, name: str, value: str) -> None:
        """Keep the value of a step."""
        self._values[name] = value


def run_step(steps: Steps, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Do a step unless it was done; give its value, of an async function an awaitable of it."""
    if inspect.iscoroutinefunction(func):
        return _run_async(steps, name, func, args, kwargs)
    text = steps.kept(name)
    if text is None:
        text = _encode(name, func(*args, **kwargs))
        steps.keep(name, text)
    return codec.decode(text)  # the first attempt gets what later ones would get


async def _run_async(
    steps: Steps, name: str, func: Callable[..., Awaitable[Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    import asyncio  # whoever has coroutines has it already

    text = await asyncio.to_thread(steps.kept, name)
    if text is None:
        text = _encode(name, await func(*args, **kwargs))
        await asyncio.to_thread(steps.keep, name, text)
    return codec.decode(text)


def _encode(name: str, value: Any) -> str:
    return codec.encode(value, f"the value of the step {name!r}")
