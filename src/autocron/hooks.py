"""Hooks: what is run around every job, and what runs after a job that failed."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from typing import Any, TypeVar, cast

from autocron.job import Job
from autocron.task import registry

F = TypeVar("F", bound=Callable[..., Any])
_Surroundings = AbstractContextManager[Any] | AbstractAsyncContextManager[Any]
_RunCoroutine = Callable[[Coroutine[Any, Any, Any]], Any]


def around(
    func: Callable[[Job], _Surroundings | Iterator[Any] | AsyncIterator[Any]],
) -> Callable[..., Any]:
    """Run this around every job: an app context, a database session, a span of a trace.

    It stands in a module of the application, best in one with tasks. Of several hooks the first one is the outermost.
    What it raises is an error of the job, and it sees what the job raises.

    Args:
        func: takes the Job and yields once, sync or async, or gives a context manager.

    Example:
        ``@around`` above ``def in_app_context(job): with app.app_context(): yield``
    """
    registry.add_around(func)
    return func


def on_failure(func: F) -> F:
    """Let this run, as a job of its own, for each job that ended as failed, whatever the cause.

    It runs once for each, like any job: again if its worker dies. Its own failure calls no hook.

    Args:
        func: takes the TaskResult of the job; a function of a module.

    Example:
        ``@on_failure`` above ``def tell(result): mail_admins(result.task, result.traceback)``

    Raises:
        ConfigError: a worker could not find this function.
    """
    registry.add_failure_hook(func)
    return func


def call_inside(job: Job, call: Callable[[], Any], run_coroutine: _RunCoroutine) -> Any:
    """Call a function inside of all hooks.

    Args:
        job: which runs.
        call: runs its function.
        run_coroutine: runs the coroutines of async hooks.
    """
    if not registry.around:
        return call()
    with ExitStack() as stack:
        for hook in registry.around.values():
            surroundings = _surroundings(hook, job)
            if _is_async(surroundings):
                surroundings = _in_sync(surroundings, run_coroutine)
            stack.enter_context(surroundings)
        return call()


async def acall_inside(job: Job, call: Callable[[], Awaitable[Any]]) -> Any:
    """Await an async function inside of all hooks."""
    if not registry.around:
        return await call()
    async with AsyncExitStack() as stack:
        for hook in registry.around.values():
            surroundings = _surroundings(hook, job)
            if _is_async(surroundings):
                await stack.enter_async_context(surroundings)
            else:
                stack.enter_context(surroundings)
        return await call()


def _surroundings(hook: Callable[[Job], Any], job: Job) -> Any:
    if inspect.isgeneratorfunction(hook):
        hook = contextmanager(hook)
    elif inspect.isasyncgenfunction(hook):
        hook = asynccontextmanager(hook)
    surroundings: Any = hook(job)
    if not (_is_async(surroundings) or isinstance(surroundings, AbstractContextManager)):
        raise TypeError(f"@around: {hook!r} neither yields nor gives a context manager, but {surroundings!r}")
    return cast("Any", surroundings)


def _is_async(surroundings: Any) -> bool:
    return isinstance(surroundings, AbstractAsyncContextManager)


@contextmanager
def _in_sync(surroundings: AbstractAsyncContextManager[Any], run_coroutine: _RunCoroutine) -> Generator[None]:
    """Let a sync function run inside of an async context manager."""

    async def enter() -> None:
        await surroundings.__aenter__()

    async def leave(*error: Any) -> bool | None:
        return await surroundings.__aexit__(*error)

    run_coroutine(enter())
    try:
        yield
    except BaseException as error:
        if not run_coroutine(leave(type(error), error, error.__traceback__)):
            raise
    else:
        run_coroutine(leave(None, None, None))
