"""The decorators, and the registry of what they have seen."""

import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import tzinfo
from types import FunctionType
from typing import Any, Generic, Literal, ParamSpec, Protocol, Self, TypeVar, Unpack, cast, overload

from autocron.clock import Seconds
from autocron.crontab import Numbers, parse
from autocron.errors import ConfigError
from autocron.model import Declaration, Missed, NewJob, Overlap
from autocron.names import MAIN_NAMES, full_name, main_name, real_module_name
from autocron.options import CallOptions, Options, Plan
from autocron.result import TaskResult
from autocron.timetable import Timetable

__all__ = ["AsyncTask", "Registry", "Task", "cron", "delay", "registry"]

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])
_SCHEDULE_OPTIONS = (
    *("minutes", "hours", "days", "months", "days_of_week", "every"),
    *("tz", "name", "missed", "overlap"),
)
MAX_SHAPES = 100  # that are remembered; a function with **kwargs may have any number of them


class Caller(Protocol):
    """What becomes of a call."""

    def enqueue(self, task: "AnyTask", args: tuple[Any, ...], kwargs: dict[str, Any]) -> TaskResult[Any]:
        """Store the call, or run it."""
        ...

    def enqueue_all(self, task: "AnyTask", calls: Iterable[Sequence[Any]]) -> list[TaskResult[Any]]:
        """Store many calls, all or none, or run them."""
        ...

    def aenqueue(self, task: "AnyTask", args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[TaskResult[Any]]:
        """Do the same without blocking the event loop."""
        ...


class _Task(Generic[P, R]):
    """A function whose calls run in the background."""

    def __init__(self, function: Callable[..., Any], name: str, plan: Plan, registry: "Registry") -> None:
        functools.update_wrapper(self, function)
        self.name = name
        self.function = function
        self.plan = plan
        self._registry = registry
        self._signature = inspect.signature(function)
        self._shapes = set[tuple[object, ...]]()  # of arguments that fit: binding them takes a fifth of a call

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> TaskResult[R]:
        """Store the call; a worker runs it.

        Raises:
            TypeError: an argument can't be stored, or the arguments do not fit the function.
            ValueError: the arguments are too large.
            StoreError: the database can't be written.
        """
        self._check(args, kwargs)
        return self._registry.caller.enqueue(self, args, kwargs)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> TaskResult[R]:
        """Do what a call does, without ever blocking the event loop."""
        self._check(args, kwargs)
        return await self._registry.caller.aenqueue(self, args, kwargs)

    def map(self, values: Iterable[Any], /) -> list[TaskResult[R]]:
        """Call the task once for each value, which is its only argument, and store all calls in one transaction.

        Args:
            values: any iterable. All calls are in memory before the first one is stored.

        Raises:
            TypeError: an argument can't be stored, or does not fit the function. Nothing was stored.
            ValueError: the arguments of a call are too large. Nothing was stored.
            StoreError: the database can't be written.
        """
        return self.starmap((value,) for value in values)

    def starmap(self, args: Iterable[Sequence[Any]], /) -> list[TaskResult[R]]:
        """Do what map() does with the positional arguments of each call: ``send_mail.starmap([("a@b.c", 1)])``."""
        return self._registry.caller.enqueue_all(self, map(self._fitting, args))

    def _fitting(self, args: Sequence[Any]) -> Sequence[Any]:
        self._check(args, {})
        return args

    def _check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Refuse arguments that do not fit the function, which is a matter of their number and names."""
        shape = len(args), *kwargs
        if shape not in self._shapes:
            try:
                self._signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{self.name}: {error}; its parameters are {self._signature}") from None
            if len(self._shapes) < MAX_SHAPES:
                self._shapes.add(shape)

    def options(self, **options: Unpack[CallOptions]) -> Self:
        """Give the same task with other options.

        Each replaces the one of the same name that was given before; any time replaces all times given before.

        Raises:
            ConfigError: an option makes no sense.
        """
        plan = self.plan.with_options(options)
        plan.rules.check(self.function, self.name)
        return type(self)(self.function, self.name, plan, self._registry)

    def place(self, job: NewJob, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NewJob:
        """Give the job of a call with the keys that the arguments give."""
        return self.plan.rules.place(job, self._signature, args, kwargs)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class Task(_Task[P, R]):
    """A function whose calls run in the background."""

    def call(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now."""
        return cast("R", self.function(*args, **kwargs))


class AsyncTask(_Task[P, R]):
    """An async function whose calls run in the background."""

    async def call(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now."""
        return cast("R", await self.function(*args, **kwargs))


AnyTask = _Task[..., Any]


class Registry:
    """All tasks and schedules of this process.

    Attributes:
        tasks: by their names.
        functions: every function that a worker may be asked to run, by the name of its task.
        schedules: by their names.
        around: hooks that run around every job, by the names of the functions.
        failure_hooks: functions that run for jobs that failed, with the names of their modules.
        caller: what carries out the calls.
        on_change: called when something new was declared.
    """

    caller: Caller

    def __init__(self) -> None:
        self.tasks: dict[str, AnyTask] = {}
        self.functions: dict[str, Callable[..., Any]] = {}
        self.schedules: dict[str, Declaration] = {}
        self.around: dict[str, Callable[..., Any]] = {}
        self.failure_hooks: dict[str, str] = {}
        self.on_change: Callable[[], None] = lambda: None
        self.has_main = False  # something in the module that was started is declared
        self._scheduled: dict[str, Callable[..., Any]] = {}
        self._modules: dict[str, None] = {}

    def modules(self) -> list[str]:
        """Give the real names of the modules in which something is declared."""
        return list(self._modules)

    def add_task(self, function: Callable[..., Any], name: str | None, plan: Plan) -> AnyTask:
        """Make a task of a function.

        Raises:
            ConfigError: this function can't be a task, or the name is taken.
        """
        _refuse_unreachable(function, "delay")
        name = name or full_name(function)
        plan.rules.check(function, name)
        self._add_function(name, function)
        is_async = inspect.iscoroutinefunction(function)
        kind: Callable[..., AnyTask] = AsyncTask[..., Any] if is_async else Task[..., Any]
        task = kind(function, name, plan, self)
        self.tasks[name] = task
        self._declared_in(function)
        return task

    def add_schedule(
        self,
        function: Callable[..., Any],
        timetable: Timetable,
        *,
        name: str | None,
        task: str | None,
        missed: Missed,
        overlap: Overlap,
        plan: Plan,
    ) -> None:
        """Let a function run by a timetable.

        Raises:
            ConfigError: this function can't be run by a worker, or not without arguments, or the name is taken.
        """
        _refuse_unreachable(function, "cron")
        _refuse_needed_arguments(function)
        self._forget_reloaded(function)
        schedule = name or full_name(function)
        if schedule in self._scheduled:
            if self._scheduled[schedule] is not function:
                raise ConfigError(_taken(schedule, self._scheduled[schedule], function))
            schedule += f" {timetable.text}"
        task = task or name or full_name(function)
        plan.rules.check(function, task)
        placing = plan.rules.placing_of(task, inspect.signature(function), (), {})
        module = real_module_name(function.__module__)
        declared = plan.declaration(schedule, task, module, timetable, missed=missed, overlap=overlap, placing=placing)
        self._add_function(task, function)
        self.schedules[schedule] = declared
        self._scheduled[schedule] = function
        self._declared_in(function)

    def add_around(self, function: Callable[..., Any]) -> None:
        """Let this run around every job."""
        self.around[full_name(function)] = function
        self._declared_in(function)

    def add_failure_hook(self, function: Callable[..., Any]) -> None:
        """Let this run, as a job, for each job that ended as failed.

        Raises:
            ConfigError: this function can't be run by a worker.
        """
        _refuse_unreachable(function, "on_failure")
        name = full_name(function)
        self.failure_hooks[name] = real_module_name(function.__module__)
        self.functions[name] = _with_result(function)
        self._declared_in(function)

    def _add_function(self, name: str, function: Callable[..., Any]) -> None:
        known = self.functions.get(name)
        if known is not None and full_name(known) != full_name(function):
            raise ConfigError(_taken(name, known, function))
        self.functions[name] = function

    def _forget_reloaded(self, function: Callable[..., Any]) -> None:
        """Drop the schedules of an earlier import of the same module."""
        own = full_name(function)
        old = [name for name, one in self._scheduled.items() if one is not function and full_name(one) == own]
        for name in old:
            del self._scheduled[name], self.schedules[name]

    def _declared_in(self, function: Callable[..., Any]) -> None:
        # Where the decorator stands need not be where the function comes from: delay(library.function).
        names = {function.__module__: None, calling_module(): None}
        self.has_main = self.has_main or not names.keys().isdisjoint(MAIN_NAMES)
        self._modules.update({real_module_name(name): None for name in names if name})
        self.on_change()


registry = Registry()


def _with_result(function: Callable[..., Any]) -> Callable[[str], Any]:
    """Give the function as one of the uuid of a job, which can be stored."""

    @functools.wraps(function)
    def sync_hook(uuid: str) -> Any:
        from autocron.app import get_result  # which imports this module

        return function(get_result(uuid))

    @functools.wraps(function)
    async def async_hook(uuid: str) -> Any:
        from autocron.app import get_result

        return await function(get_result(uuid))

    return async_hook if inspect.iscoroutinefunction(function) else sync_hook


def calling_module() -> str | None:
    """Give the name of the module whose code has called into this package."""
    frame = sys._getframe()  # pyright: ignore[reportPrivateUsage]
    name: str | None = __name__
    while name is not None and (name == "autocron" or name.startswith("autocron.")):
        back = frame.f_back
        if back is None:
            return None
        frame = back
        name = frame.f_globals.get("__name__")
    return name


def _taken(name: str, first: Callable[..., Any], second: Callable[..., Any]) -> str:
    return f"the name {name!r} is taken: {full_name(first)} has it, {full_name(second)} needs another one (name=)"


def _refuse_unreachable(function: Callable[..., Any], decorator: str) -> None:
    """Refuse what a worker could not find by its module and name."""
    if isinstance(function, classmethod):
        raise ConfigError(f"@{decorator} can't decorate a class method; make it a static method or a function")
    if isinstance(function, _Task):
        raise ConfigError(f"{function!r} is delayed already")
    if not isinstance(function, FunctionType) and not inspect.isroutine(function):
        raise ConfigError(
            f"@{decorator} decorates functions; {function!r} is none; options have names, as in queue=..."
        )
    name = function.__qualname__
    if function.__name__ == "<lambda>":
        raise ConfigError(f"a worker can't find a lambda; write a function with def for @{decorator}")
    if "<locals>" in name:
        raise ConfigError(f"a worker can't find {name}; move it out of the function, to the top of its module")
    if "." in name and _first_parameter(function) in {"self", "cls"}:
        raise ConfigError(f"{name} is a method: a worker has no object for it. Use a static method or a function")
    if function.__module__ in MAIN_NAMES and main_name() is None:
        raise ConfigError(f"a worker can't import what is typed in: write {name} into a module of your application")


def _refuse_needed_arguments(function: Callable[..., Any]) -> None:
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise ConfigError(
            f"@cron runs {function.__qualname__} without arguments: {error}; give its parameters defaults"
        ) from None
    except ValueError:  # a builtin that does not tell its parameters
        pass


def _first_parameter(function: Callable[..., Any]) -> str | None:
    return next(iter(inspect.signature(function).parameters), None)


def _plain(function: Any) -> Any:
    """Give the function in a static method."""
    return function.__func__ if isinstance(function, staticmethod) else function  # pyright: ignore[reportUnknownMemberType]


class DelayDecorator(Protocol):
    """What ``@delay(...)`` gives."""

    @overload
    def __call__(self, func: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, func: Callable[P, R], /) -> Task[P, R]: ...


@overload
def delay(func: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
@overload
def delay(func: Callable[P, R], /) -> Task[P, R]: ...
@overload
def delay(*, name: str | None = None, **options: Unpack[CallOptions]) -> DelayDecorator: ...
def delay(func: Any = None, /, *, name: str | None = None, **options: Unpack[CallOptions]) -> Any:
    """Make a function one whose calls run in the background: ``@delay``, or ``@delay(minutes=5)``.

    A call returns a TaskResult at once.

    Args:
        func: a function of a module, or a static method; may be async.
        name: what the task is called; the default is ``module.qualname``. A name survives renaming the function.
        options: see CallOptions; ``task.options(...)`` gives the same task with others.

    Raises:
        ConfigError: a worker could not find this function (lambdas, local functions, methods), the name is taken, or
            the options make no sense.
    """
    plan = Plan().with_options(options)
    if func is not None:
        return registry.add_task(_plain(func), name, plan)
    return lambda func: registry.add_task(_plain(func), name, plan)  # pyright: ignore[reportUnknownLambdaType, reportUnknownVariableType]


@overload
def cron(func: F, /) -> F: ...
@overload
def cron(
    crontab: str | None = None,
    minutes: Numbers = None,
    hours: Numbers = None,
    days: Numbers = None,
    months: Numbers = None,
    days_of_week: Numbers = None,
    *,
    every: Seconds | None = None,
    tz: str | tzinfo | None = None,
    name: str | None = None,
    missed: Literal["once", "all", "skip"] = "once",
    overlap: Literal["skip", "allow"] = "skip",
    **options: Unpack[Options],
) -> Callable[[F], F]: ...
def cron(  # noqa: PLR0917 - the fields of a crontab line, in their order
    crontab: Any = None,
    minutes: Numbers = None,
    hours: Numbers = None,
    days: Numbers = None,
    months: Numbers = None,
    days_of_week: Numbers = None,
    *,
    every: Seconds | None = None,
    tz: str | tzinfo | None = None,
    name: str | None = None,
    missed: Missed = "once",
    overlap: Overlap = "skip",
    **options: Unpack[Options],
) -> Any:
    """Let a function run at certain times: ``@cron("30 2 * * *")``, ``@cron(hours=2, minutes=30)``, ``@cron(every=5)``.

    The function is returned as it was: a direct call runs it. Without any time it runs every minute.

    Args:
        crontab: five fields as in crontab(5), or ``@hourly`` and its kin.
        minutes: 0..59; a number, several, or None for every one, as in all fields.
        hours: 0..23.
        days: 1..31, days of the month.
        months: 1..12.
        days_of_week: 0..7; 0 and 7 are Sunday.
        every: an interval in seconds, one or more, or a timedelta.
        tz: the zone whose wall clock counts; the machine's by default.
        name: what the schedule is called; the default is ``module.qualname``, and for a second schedule of the same
            function that and the expression.
        missed: what to do about runs that were due while nothing ran: one run, all of them, or none.
        overlap: whether a run may start while the one before it still runs.
        options: of the jobs; see Options.

    Raises:
        ConfigError: the time can't be understood, the name is taken, the function needs arguments, or a worker could
            not find it, or the options make no sense.
    """
    if crontab is not None and not isinstance(crontab, str):
        return cron()(crontab)
    timetable = parse(
        crontab,
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        days_of_week=days_of_week,
        every=every,
        tz=tz,
    )
    allowed = Options.__annotations__
    own = Plan().with_options(options, (*_SCHEDULE_OPTIONS, *allowed))

    def decorate(func: F) -> F:
        plain = _plain(func)
        task, function, plan = None, plain, own
        if isinstance(plain, _Task):
            task, function, plan = plain.name, plain.function, plain.plan.with_options(options, allowed)
        registry.add_schedule(function, timetable, name=name, task=task, missed=missed, overlap=overlap, plan=plan)
        return func

    return decorate
