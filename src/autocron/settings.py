"""The settings that applications give: what there is, and what can be meant by it."""

import os
from collections.abc import Mapping
from typing import Any, TypedDict, cast

from autocron.clock import Seconds, to_seconds
from autocron.errors import ConfigError
from autocron.placing import queue_name

OPTIONAL = frozenset({"max_jobs", "max_memory"})
NUMBERS = OPTIONAL | {"max_payload", "threads", "async_jobs"}


class Settings(TypedDict, total=False):
    """Settings that are stored in the database: the last one who gives them decides."""

    queues: Mapping[str, int]  # workers of each queue; by default, or with {}, all workers serve all queues
    grace: Seconds  # running jobs may finish for so long at a stop (5)
    linger: Seconds  # the node stays so long after its last application (2)
    result_ttl: Seconds  # results of jobs that succeeded or were cancelled are kept for so long (1800)
    failed_ttl: Seconds  # results of failed jobs (7 days)
    max_payload: int  # bytes of arguments or result (1 MiB)
    threads: int  # sync jobs at once in one worker (1)
    async_jobs: int  # async jobs at once in one worker (100)
    max_jobs: int | None  # a worker is replaced after so many (None: never)
    max_memory: int | None  # a worker is replaced between jobs when it has more bytes (None: never)
    reload: bool  # workers are replaced when a source file has changed (False)


NAMES = ("workers", *Settings.__annotations__)


def wanted_settings(workers: int | None, durability: str, settings: Settings) -> dict[str, Any]:
    """Give the settings to store; refuse what can't be meant."""
    if not hasattr(os, "fork"):
        raise ConfigError("autocron needs POSIX processes and sockets: start() does not work on Windows, WSL is fine")
    if durability not in ("normal", "full"):
        raise ConfigError(f'durability: {durability!r} is neither "normal" nor "full"')
    wanted = {name: value for setting in settings.items() for name, value in wanted_setting(*setting).items()}
    if workers is None or not _whole_number(workers, "workers", 0):
        return wanted
    if not wanted.get("queues"):
        return wanted | wanted_setting("workers", workers)
    if workers != wanted["workers"]:
        in_all = wanted["workers"]
        raise ConfigError(f"workers: {workers}, but the queues have {in_all} in all; leave workers out")
    return wanted


def wanted_setting(name: str, value: object) -> dict[str, Any]:
    """Give what to store for one setting: workers and queues go together.

    Raises:
        ConfigError: there is none of this name, or the value can't be meant.
    """
    if name not in NAMES:
        raise ConfigError(f"there is no setting {name!r}; there are {', '.join(NAMES)}")
    if value is None and name in OPTIONAL:
        return {name: None}
    if name in NUMBERS:
        return {name: _whole_number(value, name, 1)}
    if name == "workers":
        return {"workers": _whole_number(value, "workers", 1), "queues": {}}  # so many for all queues
    if name == "reload":
        return {name: _switch(value, name)}
    if name == "queues":
        queues = _queues(value)
        return {"queues": queues, "workers": sum(queues.values())} if queues else {"queues": {}}
    return {name: to_seconds(value, name)}  # type: ignore[arg-type]


def _queues(value: object) -> dict[str, int]:
    if not isinstance(value, Mapping):
        raise ConfigError(f'queues: {value!r} is not a mapping such as {{"default": 2, "mail": 1}}')
    queues = cast("Mapping[object, object]", value)
    return {
        queue_name(name, "queues"): _whole_number(count, f"queues: workers of {name!r}", 1)
        for name, count in queues.items()
    }


def _switch(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name}: {value!r} is neither True nor False")
    return value


def _whole_number(value: object, name: str, lowest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ConfigError(f"{name}: {value!r} is not a whole number from {lowest} on")
    return value
