"""The words of the domain as types: states, jobs, schedules, outcomes and transitions. Nothing here does anything."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

import msgspec

Missed = Literal["once", "all", "skip"]
Overlap = Literal["skip", "allow"]
Durability = Literal["normal", "full"]
OnCrash = Literal["retry", "fail"]
Why = Literal["timeout", "cancelled"]
CANCELLED = "cancelled while it ran"
OnDuplicate = Literal["return", "replace", "raise"]
Duration = Annotated[float, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class State(StrEnum):
    """What a job is doing. The last three are final."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL_STATES = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})


class Limit(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many jobs may run at once, and how fast they may begin: a bucket of `burst` tokens, full after `period`."""

    concurrency: int | None = None
    burst: int | None = None
    period: float | None = None  # seconds; None if and only if there is no burst


class Placing(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a job waits for a worker, and what else it waits for."""

    queue: str = "default"
    priority: int = 0
    limit_key: str = ""  # the jobs that have it share the limit
    limit: Limit | None = None  # None if and only if there is no limit_key
    unique_key: str | None = None  # an unfinished job of the task that has it is this job's duplicate
    on_duplicate: OnDuplicate = "return"

    @property
    def is_free(self) -> bool:
        """It waits for nothing but a worker."""
        return not self.limit_key and self.unique_key is None


PLAIN = Placing()


class NewJob(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call that is to be stored. Times are seconds since the epoch."""

    uuid: str
    task: str
    arguments: str
    run_at: float
    created_at: float
    begin_by: float | None = None  # not begun by then: cancelled
    policy: str | None = None  # a Policy as JSON; None: all its defaults
    is_moment: bool = False  # run_at is a time on the calendar, not a delay from the call on
    begins_by_moment: bool = False  # so is begin_by
    placing: Placing = PLAIN


class Parent(msgspec.Struct, frozen=True, array_like=True):
    """A job for whose end another one waits."""

    uuid: str
    needed: bool  # the other one is cancelled unless this one succeeds


class Call(msgspec.Struct, frozen=True):
    """A job that is to be stored, and those for which it waits."""

    job: NewJob
    parents: Sequence[Parent] = ()


class Backoff(msgspec.Struct, frozen=True, omit_defaults=True):
    """How often and when a job that raised runs again. Exception classes are given by their full names."""

    times: int = 0
    delay: float = 1.0
    factor: float = 2.0
    max_delay: float = 3600.0
    jitter: bool = True
    on: tuple[str, ...] = ("builtins.Exception",)
    never: tuple[str, ...] = ()


class Policy(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the node and the worker must know of a task's options to run its job."""

    retry: Backoff = Backoff()
    on_crash: OnCrash = "retry"
    result_ttl: float | None = None  # None: the setting
    timeout: float | None = None  # seconds of one attempt
    unique_for: float | None = None  # so long after it has succeeded, a call may still be its duplicate


class News(msgspec.Struct, frozen=True, array_like=True):
    """What a running job has said about itself since the last time; None: nothing new."""

    uuid: str
    attempt: int
    progress: str | None  # a Progress as JSON
    output: str | None  # all that is kept of it

    def after(self, earlier: "News | None") -> "News":
        """Give this together with what was said before."""
        if earlier is None or earlier.attempt != self.attempt:
            return self
        progress = earlier.progress if self.progress is None else self.progress
        return News(self.uuid, self.attempt, progress, earlier.output if self.output is None else self.output)


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """A job held by the node: whatever is written about it later names the uuid and the attempt."""

    uuid: str
    attempt: int
    task: str
    arguments: str
    claimed_at: float
    crashes: int = 0
    losses: int = 0
    retries: int = 0  # used so far
    begin_by: float | None = None  # None also when it was begun before
    policy: str | None = None
    queue: str = "default"


# Outcomes: what running a job gave. They travel from the worker to the node, or are found out by the node itself.


class Succeeded(msgspec.Struct, frozen=True, tag=True):
    """The function returned; `result` is its value as JSON text, None when the value could not be stored."""

    result: str | None
    note: str = ""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The function raised."""

    error_message: str
    traceback: str
    may_retry: bool = False  # if retries are left
    delay: float | None = None  # seconds until then, if the task said so itself


class Snoozed(msgspec.Struct, frozen=True, tag=True):
    """The function asks to be run again after so many seconds."""

    delay: float


class Cancelled(msgspec.Struct, frozen=True, tag=True):
    """The function has called its job off."""

    reason: str


class Expired(msgspec.Struct, frozen=True, tag=True):
    """The job was to begin at a time that has passed; it was not begun."""


class Unrunnable(msgspec.Struct, frozen=True, tag=True):
    """The worker cannot run this job with the code it has; another version of the code may."""

    reason: str


class Interrupted(msgspec.Struct, frozen=True, tag=True):
    """The job was begun, but the node stopped its worker for a reason that is not the job's."""


class Crashed(msgspec.Struct, frozen=True, tag=True):
    """The worker died while the job ran."""

    how: str


class CrashedTogether(msgspec.Struct, frozen=True, tag=True):
    """The worker died while several jobs ran: nobody knows because of which of them."""

    how: str


class NodeLost(msgspec.Struct, frozen=True, tag=True):
    """The node died while it held the job."""


class NotBegun(msgspec.Struct, frozen=True, tag=True):
    """The claim is given back: no worker began the job."""


Outcome = (
    Succeeded
    | Failed
    | Snoozed
    | Cancelled
    | Expired
    | Unrunnable
    | Interrupted
    | Crashed
    | CrashedTogether
    | NodeLost
    | NotBegun
)


class Run(msgspec.Struct, frozen=True):
    """An outcome, the claim that it belongs to, and when that was."""

    claim: Claim
    outcome: Outcome
    started_at: float
    finished_at: float


# Transitions: what becomes of the job.


class Finished(msgspec.Struct, frozen=True, array_like=True):
    """The job has reached a final state."""

    uuid: str
    attempt: int
    state: State
    result: str | None
    error_message: str
    traceback: str
    started_at: float | None  # None: it was not begun
    finished_at: float
    expires_at: float


class Requeued(msgspec.Struct, frozen=True, array_like=True):
    """The job is queued again. `past` is this attempt for the record, as JSON, if it was begun."""

    uuid: str
    attempt: int
    run_at: float | None  # None: when it was due anyway
    held: str | None
    crashes: int
    losses: int
    past: str | None
    retries: int  # used so far
    begun: bool  # it can't expire any more


Transition = Finished | Requeued


class PastAttempt(msgspec.Struct, frozen=True):
    """An attempt that did not end the job, as stored."""

    started_at: float
    finished_at: float
    outcome: str
    error_message: str
    traceback: str


@dataclass(frozen=True)
class Attempt:
    """One begun attempt at a job. Those that ended with a Snooze are not among them.

    Attributes:
        number: 1 for the first.
        started_at: when the function was entered (aware, UTC).
        finished_at: None while it runs.
        outcome: "running", "succeeded", "failed", "cancelled", "crashed", "interrupted" or "node lost".
        error_message: empty when there was no error.
        traceback: text, empty when there was none.
    """

    number: int
    started_at: datetime
    finished_at: datetime | None
    outcome: str
    error_message: str
    traceback: str


@dataclass(frozen=True)
class Progress:
    """How far a running job has come.

    Attributes:
        done: how much is done.
        total: how much there is to do; None: unknown.
        note: what is being done; may be empty.
    """

    done: float
    total: float | None = None
    note: str = ""


class StoredJob(msgspec.Struct, frozen=True, weakref=True):
    """Everything that the store knows of a job."""

    uuid: str
    task: str
    state: State
    held: str | None
    attempt: int
    created_at: float
    run_at: float
    started_at: float | None
    finished_at: float | None
    result: str | None
    error_message: str
    traceback: str
    past_attempts: list[PastAttempt]
    progress: Progress | None = None
    output: str = ""


NO_ARGUMENTS = "[[],{}]"


class Declaration(msgspec.Struct, frozen=True):
    """A schedule as the code declares it, or as it was added at run time."""

    name: str
    task: str
    module: str | None  # None: added at run time
    text: str  # the expression, or "every SECONDS"
    tz: str
    missed: Missed = "once"
    overlap: Overlap = "skip"
    expires: float | None = None  # seconds after which its jobs need not begin any more
    policy: str | None = None  # of its jobs
    arguments: str = NO_ARGUMENTS  # of its jobs, as JSON
    placing: str | None = None  # of its jobs: a Placing as JSON


class StoredSchedule(msgspec.Struct, frozen=True):
    """A schedule and how far it has fired: no slot up to the cursor fires any more."""

    declaration: Declaration
    cursor: float
    paused: bool = False


class QueuedCall(msgspec.Struct, frozen=True):
    """The form of a job's call: enough to say whether a function takes it."""

    uuid: str
    task: str
    held: str | None
    positional: int | None  # how many arguments; None: it is not queued, or that is left to the worker
    keywords: tuple[str, ...] = ()


HOST_SETTINGS = frozenset({"workers", "queues"})  # each machine has its own


class Settings(msgspec.Struct, frozen=True):
    """What is stored in the database about how to run. Durations are seconds, sizes bytes."""

    workers: Positive = 1
    queues: dict[str, Positive] = {}  # workers of each; empty: all serve every queue
    locked: bool = False
    grace: Duration = 5.0
    linger: Duration = 2.0
    result_ttl: Duration = 1800.0
    failed_ttl: Duration = 7 * 86400.0
    max_payload: Positive = 1 << 20
    threads: Positive = 1
    async_jobs: Positive = 100
    max_jobs: Positive | None = None
    max_memory: Positive | None = None
    reload: bool = False


class QueueCounts(msgspec.Struct, frozen=True):
    """What is in a queue: jobs that are due, that are due later, and that run; parked ones are not counted."""

    queue: str
    due: int = 0
    later: int = 0
    running: int = 0
    paused: bool = False


@dataclass(frozen=True)
class Counts:
    """Jobs per state; `scheduled` are those of `queued` that are due later, `held` those that are parked."""

    by_state: dict[State, int] = field(default_factory=dict[State, int])
    scheduled: int = 0
    held: int = 0
