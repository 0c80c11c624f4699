"""The calls that a main module makes while a worker imports it: the application has made them already."""

import threading
from collections.abc import Awaitable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from autocron.log import logger
from autocron.names import new_uuid
from autocron.result import TaskResult
from autocron.task import AnyTask, Caller, registry


class MainEnds(BaseException):
    """Ends a main module that has come to the point where it would serve, or wait."""


@contextmanager
def imported_script(name: str) -> Generator[None]:
    """Store no call that this thread makes in the block, and raise MainEnds where it looks at what came of one.

    Args:
        name: of the main module.
    """
    usual = registry.caller
    registry.caller = _ScriptCaller(usual, _NoResults(name))
    try:
        yield
    finally:
        registry.caller = usual


class _NoResults:
    """Where the results of such calls would be."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _end(self, *_: object, **_options: object) -> NoReturn:
        logger.warning(
            "%s waits for a result where it is imported; workers know nothing of what stands below. Put what the script"
            ' does at its end, under: if __name__ == "__main__":',
            self._name,
        )
        raise MainEnds("result")

    get = cancel = graph = watch = patience = in_thread = _end


class _ScriptCaller:
    """Takes the calls of one thread; those of others, such as of running jobs, go on as usual."""

    def __init__(self, usual: Caller, results: _NoResults) -> None:
        self._usual = usual
        self._results = results
        self._thread = threading.get_ident()

    def enqueue(self, task: AnyTask, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TaskResult[Any]:
        """Store the call, unless the script makes it."""
        return self._result(task) if self._is_script() else self._usual.enqueue(task, args, kwargs)

    def enqueue_all(self, task: AnyTask, calls: Iterable[Sequence[Any]]) -> list[TaskResult[Any]]:
        """Do the same with many calls."""
        return [self._result(task) for _ in calls] if self._is_script() else self._usual.enqueue_all(task, calls)

    def aenqueue(self, task: AnyTask, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[TaskResult[Any]]:
        """Do the same without blocking the event loop."""
        return self._aresult(task) if self._is_script() else self._usual.aenqueue(task, args, kwargs)

    def _is_script(self) -> bool:
        return threading.get_ident() == self._thread

    def _result(self, task: AnyTask) -> TaskResult[Any]:
        return TaskResult(new_uuid(), self._results, task.name)

    async def _aresult(self, task: AnyTask) -> TaskResult[Any]:
        return self._result(task)
