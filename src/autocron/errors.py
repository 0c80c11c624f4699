"""Every exception of autocron.

AutocronError
├── ConfigError            start() or a setting was given something that cannot work
├── StoreError             the database could not be read or written
│   ├── StoreBusy          somebody else held the database for too long
│   ├── StoreGone          the database file was deleted or replaced while in use
│   ├── StoreMoved         what was in this database is, or is being, moved to another one
│   ├── BadSetting         a stored setting cannot be used
│   ├── StoreCorrupt       the file is not a usable database
│   └── SchemaTooNew       a newer autocron has written this database
├── MoveRefused            the admin tool: a database cannot be moved as it is
├── TaskFailed             wait(): the task raised, or its worker died too often
├── TaskCancelled          wait(): the job was cancelled
├── ResultTimeout          wait(): not finished in time (a TimeoutError too)
├── ResultNotFound         get_result(): unknown or expired (a LookupError too)
└── DuplicateJob           a call with on_duplicate="raise": a job with its unique_key is there

Two are raised inside tasks and no AutocronError: TaskTimeout, a TimeoutError, and JobCancelled, a BaseException.
"""


class AutocronError(Exception):
    """The base of every error that autocron raises for its own reasons."""


class ConfigError(AutocronError):
    """Something was asked for that cannot work; the message says what would."""


class StoreError(AutocronError):
    """The database could not be read or written.

    Attributes:
        maybe_stored: True when it is unknown whether the call was kept (an error while committing).
    """

    def __init__(self, message: str, *, maybe_stored: bool = False) -> None:
        super().__init__(message)
        self.maybe_stored = maybe_stored


class StoreBusy(StoreError):
    """Somebody else held the database for longer than the caller may wait."""


class StoreGone(StoreError):
    """The database file was deleted or replaced while it was in use."""


class StoreMoved(StoreError):
    """What was in this database is in another one now, or on its way; the text says in which one."""


class BadSetting(StoreError):
    """A stored setting is none that can be used; somebody else must have written it."""


class StoreCorrupt(StoreError):
    """The file is damaged or is not an autocron database."""


class SchemaTooNew(StoreError):
    """The database was written by a newer autocron than this one."""


class MoveRefused(AutocronError):
    """A database cannot be moved as it is: something would be lost. The text says what to do."""


class TaskFailed(AutocronError):
    """Raised by wait(): the task failed. Its text ends with the traceback from the worker."""


class TaskCancelled(AutocronError):
    """Raised by wait(): the job was cancelled; the text gives the reason."""


class ResultTimeout(AutocronError, TimeoutError):
    """Raised by wait(): the job was not finished within the given time. It goes on."""


class ResultNotFound(AutocronError, LookupError):
    """No job with this uuid: it never existed, or its result has expired."""


class TaskTimeout(TimeoutError):
    """Raised inside a task that runs for longer than its timeout; in async code that is asyncio.CancelledError."""


class JobCancelled(BaseException):
    """Raised inside a task whose job is cancelled while it runs; in async code that is asyncio.CancelledError."""


class DuplicateJob(AutocronError):
    """Raised by a call with ``on_duplicate="raise"``: a job of this task with the same unique_key is there."""
