"""The options of tasks: what there is, what can be meant by it, and what it comes to for a job."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Self, TypedDict, cast

import msgspec

from autocron.clock import Seconds, to_seconds, to_timestamp
from autocron.errors import ConfigError
from autocron.model import (
    NO_ARGUMENTS,
    PLAIN,
    Backoff,
    Declaration,
    Missed,
    NewJob,
    OnCrash,
    OnDuplicate,
    Overlap,
    Parent,
    Placing,
    Policy,
)
from autocron.names import full_name
from autocron.placing import NO_RULES, Rules, rules
from autocron.result import TaskResult
from autocron.timetable import Timetable
from autocron.when import When
from autocron.workflow import parents_in


@dataclass(frozen=True)
class Retry:
    """When a job that raised an exception runs again: ``@delay(retries=Retry(5, delay=10, on=(ConnectionError,)))``.

    The first pause is `delay`, and each further one `factor` times as long, up to `max_delay`. With jitter a pause is a
    random part of that, so that jobs that failed together do not come again together.

    Attributes:
        times: how many attempts may follow the first one.
        delay: seconds or a timedelta.
        factor: 1 or more.
        max_delay: seconds or a timedelta.
        jitter: whether the pauses are random.
        on: only after these exceptions.
        never: not after these, even if `on` has them.

    Raises:
        ConfigError: something of it makes no sense.
    """

    times: int
    delay: Seconds = 1.0
    factor: float = 2.0
    max_delay: Seconds = 3600.0
    jitter: bool = True
    on: tuple[type[Exception], ...] = (Exception,)
    never: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        self.backoff()

    def backoff(self) -> Backoff:
        """Give it as it is stored."""
        return Backoff(
            _whole_number(self.times, "retries"),
            to_seconds(self.delay, "delay"),
            _factor(self.factor),
            to_seconds(self.max_delay, "max_delay"),
            bool(self.jitter),
            _names(self.on, "on"),
            _names(self.never, "never"),
        )


class Options(TypedDict, total=False):
    """At @delay, @cron and .options(); a later one replaces an earlier one."""

    queue: str  # "default"
    priority: int  # -100..100, higher first (0)
    retries: int | Retry  # after the first attempt (0)
    timeout: Seconds  # run time of one attempt
    expires: Seconds | datetime  # not begun by then: cancelled, reason "expired"; seconds count from when it is due
    on_crash: OnCrash  # "retry", at most three crashes; "fail": what was begun does not run again when it is lost
    concurrency: int  # running at once, over all machines
    rate: str  # "100/m"
    limit_key: str | Callable[..., str]  # concurrency and rate count per key of the arguments
    unique_key: str | Callable[..., str]  # no two unfinished jobs of a task have the same
    unique_for: Seconds  # also after the end, if it succeeded
    on_duplicate: OnDuplicate  # "return"
    result_ttl: Seconds  # instead of the setting, for a job that succeeded or was cancelled


class CallOptions(Options, total=False):
    """At @delay and .options() only; any time given replaces all times given before."""

    weeks: float
    days: float
    hours: float
    minutes: float
    seconds: float
    schedule: datetime  # naive: local time; in the past: now
    after: Sequence[TaskResult[Any]]  # wait for these without receiving their values
    on_parent_failure: Literal["cancel", "run"]  # "cancel"; when one of `after` fails or is cancelled


TIMES = frozenset({"weeks", "days", "hours", "minutes", "seconds", "schedule"})


@dataclass(frozen=True)
class Plan:
    """What the options of a task come to.

    Attributes:
        when: its jobs are due.
        expires: they must have begun by this moment, or within so many seconds after they are due.
        policy: how they are run, as it is stored; None: as by default.
        parents: those for which its jobs wait without receiving their values.
        rules: where they wait, and for what.
    """

    when: When = field(default_factory=When)
    expires: float | datetime | None = None
    policy: str | None = None
    parents: tuple[Parent, ...] = ()
    rules: Rules = NO_RULES
    _given: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def options(self) -> Mapping[str, Any]:
        """The options as they were given."""
        return self._given

    def with_options(self, options: CallOptions | Options, known: Iterable[str] = CallOptions.__annotations__) -> Self:
        """Give the plan with these options, which replace those of the same names; any time replaces all times.

        Args:
            options: what a developer wrote.
            known: the names that are allowed.

        Raises:
            ConfigError: there is no such option, or it makes no sense.
        """
        if not options:
            return self
        _refuse_unknown(options, list(known))
        kept = self._given
        if not TIMES.isdisjoint(options):
            kept = {name: value for name, value in kept.items() if name not in TIMES}
        given = {**kept, **cast("Mapping[str, Any]", options)}
        times = {name: value for name, value in given.items() if name in TIMES}
        parents, where = _parents(given), rules(given)
        return type(self)(When.of(**times), _expires(given.get("expires")), _policy(given), parents, where, given)

    def job(self, uuid: str, task: str, arguments: str, now: float) -> NewJob:
        """Give the job of a call that is made now."""
        run_at, is_moment = self.when.due(now), self.when.moment is not None
        begins_by_moment = is_moment or isinstance(self.expires, datetime)
        begin_by = self._begin_by(run_at)
        placing = self.rules.placing
        return NewJob(uuid, task, arguments, run_at, now, begin_by, self.policy, is_moment, begins_by_moment, placing)

    def parents_of(self, arguments: str) -> tuple[Parent, ...]:
        """Give those for which the job of a call waits; without the values among its arguments it can't run."""
        received = parents_in(arguments)
        if not received:
            return self.parents
        others = (parent for parent in self.parents if parent.uuid not in received)
        return (*(Parent(uuid, needed=True) for uuid in received), *others)

    def _begin_by(self, run_at: float) -> float | None:
        if self.expires is None:
            return None
        return to_timestamp(self.expires) if isinstance(self.expires, datetime) else run_at + self.expires

    def declaration(
        self,
        name: str,
        task: str,
        module: str | None,
        timetable: Timetable,
        *,
        missed: Missed,
        overlap: Overlap,
        arguments: str = NO_ARGUMENTS,
        placing: Placing = PLAIN,
    ) -> Declaration:
        """Give the schedule whose jobs have these options, and this place.

        Raises:
            ConfigError: `missed`, `overlap` or the options make no sense for a schedule.
        """
        _check_choice("missed", missed, ("once", "all", "skip"))
        _check_choice("overlap", overlap, ("skip", "allow"))
        if isinstance(self.expires, datetime):
            raise ConfigError("expires: the jobs of a schedule can't all expire at one moment; give seconds")
        text, tz = timetable.text, timetable.tz
        place = None if placing == PLAIN else msgspec.json.encode(placing).decode()
        return Declaration(name, task, module, text, tz, missed, overlap, self.expires, self.policy, arguments, place)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name}: {value!r} is none of {', '.join(choices)}")


def _refuse_unknown(options: Iterable[str], known: list[str]) -> None:
    for name in options:
        if name not in known:
            raise ConfigError(f"there is no option {name!r} here; there are {', '.join(known)}")


def _expires(value: Any) -> float | datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    seconds = to_seconds(value, "expires")
    if not seconds:
        raise ConfigError("expires: in 0 s no job could begin; give more seconds, or leave it out")
    return seconds


def _policy(options: Mapping[str, Any]) -> str | None:
    retries = options.get("retries", 0)
    retry = retries.backoff() if isinstance(retries, Retry) else Backoff(_whole_number(retries, "retries"))
    on_crash = options.get("on_crash", "retry")
    if on_crash not in ("retry", "fail"):
        raise ConfigError(f'on_crash: {on_crash!r} is neither "retry" nor "fail"')
    ttl, unique_for = _seconds(options, "result_ttl"), _seconds(options, "unique_for")
    policy = Policy(retry, on_crash, ttl, _timeout(options), unique_for)
    return None if policy == Policy() else msgspec.json.encode(policy).decode()


def _seconds(options: Mapping[str, Any], name: str) -> float | None:
    value = options.get(name)
    return None if value is None else to_seconds(value, name)


def _timeout(options: Mapping[str, Any]) -> float | None:
    timeout = options.get("timeout")
    if timeout is None:
        return None
    seconds = to_seconds(timeout, "timeout")
    if not seconds:
        raise ConfigError("timeout: in 0 s no job could end; give more seconds, or leave it out")
    return seconds


def _parents(options: Mapping[str, Any]) -> tuple[Parent, ...]:
    mode, after = options.get("on_parent_failure", "cancel"), options.get("after", ())
    if mode not in ("cancel", "run"):
        raise ConfigError(f'on_parent_failure: {mode!r} is neither "cancel" nor "run"')
    if not isinstance(after, (list, tuple)) or not all(isinstance(one, TaskResult) for one in cast("list[Any]", after)):
        raise ConfigError(f"after: {after!r} is not a list of what calls of tasks have returned, such as [fetch(url)]")
    uuids = dict.fromkeys(one.uuid for one in cast("list[TaskResult[Any]]", after))
    return tuple(Parent(uuid, mode == "cancel") for uuid in uuids)


def _whole_number(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{name}: {value!r} is neither a whole number from 0 on nor a Retry(...)")
    return value


def _factor(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value < math.inf:
        raise ConfigError(f"factor: {value!r} is not a number from 1 on, so the pauses would become shorter")
    return float(value)


def _names(classes: object, name: str) -> tuple[str, ...]:
    """Give the full names of exception classes: neither the node nor the database knows the classes themselves."""
    if not isinstance(classes, tuple):
        raise ConfigError(f"{name}: {classes!r} is not a tuple of exception classes, such as (ConnectionError,)")
    for one in cast("tuple[object, ...]", classes):
        if not (isinstance(one, type) and issubclass(one, Exception)):
            raise ConfigError(f"{name}: {one!r} is not a class of exceptions")
    return tuple(full_name(one) for one in cast("tuple[type, ...]", classes))
