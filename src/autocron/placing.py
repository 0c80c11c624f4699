"""The options that say where a job waits and what it waits for: queue, priority, limits, uniqueness."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

import msgspec

from autocron.errors import ConfigError
from autocron.model import PLAIN, Limit, NewJob, Placing
from autocron.rates import parse_rate

LONGEST_NAME = 100  # characters of a queue's name
LONGEST_KEY = 500
SEPARATOR = "\x1f"  # between task and key: in a limit's name both must be found again
Key = str | Callable[..., object]  # what a function gives is checked to be a text


@dataclass(frozen=True)
class Keys:
    """How the keys of a task's jobs are found.

    Attributes:
        limit: of the limit; None: all jobs of the task have the same one, if any.
        unique: of the uniqueness; None: there is none.
    """

    limit: Key | None = None
    unique: Key | None = None


@dataclass(frozen=True)
class Rules:
    """What the options come to: what is the same for all jobs of a task, and how the keys of each are found."""

    placing: Placing = PLAIN
    keys: Keys | None = None

    def check(self, function: Callable[..., Any], name: str) -> None:
        """Refuse keys that the arguments of a function can't give.

        Raises:
            ConfigError: there is such a key.
        """
        if self.keys:
            _check_fields(self.keys.limit, "limit_key", function, name)
            _check_fields(self.keys.unique, "unique_key", function, name)

    def place(self, job: NewJob, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NewJob:
        """Give the job of a call with its place.

        Raises:
            TypeError: what gives a key gave something else than a text.
            ValueError: a key is too long.
        """
        return msgspec.structs.replace(job, placing=self.placing_of(job.task, signature, args, kwargs))

    def placing_of(
        self, task: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Placing:
        """Give the place of a job that is called with these arguments."""
        placing, keys = self.placing, self.keys
        if keys is None:
            return placing
        limit_key = "" if placing.limit is None else task
        if keys.limit is not None:
            limit_key += SEPARATOR + _key(keys.limit, "limit_key", signature, args, kwargs)
        unique_key = None if keys.unique is None else _key(keys.unique, "unique_key", signature, args, kwargs)
        return Placing(placing.queue, placing.priority, limit_key, placing.limit, unique_key, placing.on_duplicate)


def rules(options: Mapping[str, Any]) -> Rules:
    """Give what a task's options come to.

    Raises:
        ConfigError: one of them makes no sense.
    """
    limit, unique = _limit(options), options.get("unique_key")
    _check_unique(options)
    placing = Placing(
        queue_name(options.get("queue", "default")),
        _priority(options.get("priority", 0)),
        limit=limit,
        on_duplicate=options.get("on_duplicate", "return"),
    )
    has_keys = limit is not None or unique is not None
    keys = Keys(_kind_of_key(options.get("limit_key"), "limit_key"), _kind_of_key(unique, "unique_key"))
    return Rules(placing, keys if has_keys else None) if has_keys or placing != PLAIN else NO_RULES


NO_RULES = Rules()


def queue_name(name: object, option: str = "queue") -> str:
    """Give a name that a queue may have."""
    if not isinstance(name, str) or not name.isprintable() or name != name.strip() or not 0 < len(name) <= LONGEST_NAME:
        raise ConfigError(f"{option}: {name!r} is no name; give a text of 1 to {LONGEST_NAME} characters")
    return name


def _priority(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -100 <= value <= 100:
        raise ConfigError(f"priority: {value!r} is not a whole number from -100 to 100; higher ones come first")
    return value


def _limit(options: Mapping[str, Any]) -> Limit | None:
    concurrency, rate = options.get("concurrency"), options.get("rate")
    if concurrency is None and rate is None:
        if options.get("limit_key") is not None:
            raise ConfigError("limit_key: there is no limit that could count per key; give concurrency or rate, too")
        return None
    if concurrency is not None and (
        isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1
    ):
        raise ConfigError(f"concurrency: {concurrency!r} is not a whole number from 1 on")
    burst, period = (None, None) if rate is None else parse_rate(rate)
    return Limit(concurrency, burst, period)


def _check_unique(options: Mapping[str, Any]) -> None:
    on_duplicate = options.get("on_duplicate", "return")
    if on_duplicate not in ("return", "replace", "raise"):
        raise ConfigError(f'on_duplicate: {on_duplicate!r} is none of "return", "replace", "raise"')
    for name in ("unique_for", "on_duplicate"):
        if options.get(name) is not None and options.get("unique_key") is None:
            raise ConfigError(f"{name}: without a unique_key no job is another one's duplicate; give that, too")
    if on_duplicate == "replace" and options.get("unique_for") is not None:
        raise ConfigError(
            'unique_for does not go with on_duplicate="replace": a job that has ended can\'t be replaced. Leave one out'
        )


def _kind_of_key(key: object, name: str) -> Key | None:
    if key is None or isinstance(key, str) or callable(key):
        return key
    raise ConfigError(f'{name}: {key!r} is neither a text such as "{{customer}}" nor a function of the arguments')


def _check_fields(key: Key | None, name: str, function: Callable[..., Any], task: str) -> None:
    if not isinstance(key, str):
        return
    parameters = inspect.signature(function).parameters
    try:
        fields = [field for _, field, _, _ in Formatter().parse(key) if field is not None]
    except ValueError as error:
        raise ConfigError(f"{name}: {key!r} can't be understood: {error}") from error
    for field in fields:
        argument = field.partition(".")[0].partition("[")[0]
        if argument not in parameters:
            there = ", ".join(parameters) or "none"
            raise ConfigError(f"{name}: {task} has no parameter {argument!r}, as in {key!r}; there are {there}")


def _key(key: Key, name: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    if isinstance(key, str):
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        text: object = key.format(**bound.arguments)
    else:
        text = key(*args, **kwargs)
    if not isinstance(text, str):
        raise TypeError(f"{name} gave {text!r}; it must give a text")
    if len(text) > LONGEST_KEY:
        raise ValueError(f"{name}: the key has {len(text)} characters, {LONGEST_KEY} are allowed: {text[:60]!r}...")
    return text
