"""Background tasks for Python web applications: two decorators, one call, no broker."""

from autocron.app import get_result, lifespan, start, stop, transaction
from autocron.codec import register_type
from autocron.control import Cancel, RetryLater, Snooze
from autocron.errors import (
    AutocronError,
    ConfigError,
    DuplicateJob,
    JobCancelled,
    ResultNotFound,
    ResultTimeout,
    StoreError,
    TaskCancelled,
    TaskFailed,
    TaskTimeout,
)
from autocron.hooks import around, on_failure
from autocron.job import Job, current
from autocron.model import Attempt, Progress, State
from autocron.options import CallOptions, Options, Retry
from autocron.result import TaskResult
from autocron.scheduling import Schedule, schedules
from autocron.settings import Settings
from autocron.task import AsyncTask, Task, cron, delay
from autocron.version import VERSION

__version__ = VERSION

__all__ = [
    "AsyncTask",
    "Attempt",
    "AutocronError",
    "CallOptions",
    "Cancel",
    "ConfigError",
    "DuplicateJob",
    "Job",
    "JobCancelled",
    "Options",
    "Progress",
    "ResultNotFound",
    "ResultTimeout",
    "Retry",
    "RetryLater",
    "Schedule",
    "Settings",
    "Snooze",
    "State",
    "StoreError",
    "Task",
    "TaskCancelled",
    "TaskFailed",
    "TaskResult",
    "TaskTimeout",
    "around",
    "cron",
    "current",
    "delay",
    "get_result",
    "lifespan",
    "on_failure",
    "register_type",
    "schedules",
    "start",
    "stop",
    "transaction",
]
