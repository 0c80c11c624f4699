"""Background tasks for Python web applications: two decorators, one call, no broker."""

from autocron.app import get_result, lifespan, start, stop
from autocron.codec import register_type
from autocron.control import Cancel, RetryLater, Snooze
from autocron.errors import (
    AutocronError,
    ConfigError,
    ResultNotFound,
    ResultTimeout,
    StoreError,
    TaskCancelled,
    TaskFailed,
)
from autocron.model import Attempt, State
from autocron.options import Retry
from autocron.result import TaskResult
from autocron.task import AsyncTask, Task, cron, delay
from autocron.version import VERSION

__version__ = VERSION

__all__ = [
    "AsyncTask",
    "Attempt",
    "AutocronError",
    "Cancel",
    "ConfigError",
    "ResultNotFound",
    "ResultTimeout",
    "Retry",
    "RetryLater",
    "Snooze",
    "State",
    "StoreError",
    "Task",
    "TaskCancelled",
    "TaskFailed",
    "TaskResult",
    "cron",
    "delay",
    "get_result",
    "lifespan",
    "register_type",
    "start",
    "stop",
]
