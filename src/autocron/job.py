"""The running job as its task sees it."""

import math
from collections.abc import Callable
from contextvars import ContextVar
from typing import ParamSpec, TypeVar, cast

from autocron.clock import from_timestamp
from autocron.model import Claim, Progress
from autocron.steps import Steps, run_step
from autocron.text import storable

P = ParamSpec("P")
T = TypeVar("T")

MAX_NOTE = 1000  # characters


class Job:
    """The running job, seen from inside: ``autocron.current()``.

    Attributes:
        uuid: its name, also that of its TaskResult.
        task: the name of the task.
        queue: in which it was.
        attempt: 1 for the first.
        expires: by when it had to begin; None if it need not, or was begun before.
        cancelled: somebody wants it to stop. A task that can't be interrupted everywhere looks at this now and then.
    """

    __slots__ = ("_steps", "attempt", "cancelled", "expires", "last_progress", "queue", "task", "uuid")

    def __init__(self, claim: Claim, steps: Steps) -> None:
        self._steps = steps
        self.uuid = claim.uuid
        self.task = claim.task
        self.queue = claim.queue
        self.attempt = claim.attempt
        self.expires = None if claim.begin_by is None else from_timestamp(claim.begin_by)
        self.cancelled = False
        self.last_progress: Progress | None = None

    @property
    def idempotency_key(self) -> str:
        """A text that is the same for every attempt at this job, for services that refuse to do a thing twice."""
        return self.uuid

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Say how far the job has come; callers see it as ``result.progress``.

        It may be called as often as is convenient: what is stored, a few times per second, is the last that was said.

        Args:
            done: how much is done, in any unit.
            total: how much there is to do; None: unknown.
            note: what is being done, up to 1000 characters.

        Raises:
            ValueError: a number is not finite.

        Example:
            ``autocron.current().progress(number, len(rows), "rows")``
        """
        numbers = (float(done), None if total is None else float(total))
        if not all(math.isfinite(number) for number in numbers if number is not None):
            raise ValueError(f"progress: {done!r} of {total!r} is not finite")
        self.last_progress = Progress(*numbers, storable(str(note)[:MAX_NOTE]))

    def step(self, name: str, func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Do something once, whatever becomes of this attempt: its value is stored before this returns.

        A later attempt, after a retry or a crash, gets the stored value instead of doing it again. What was under way
        when a worker died is done again.

        Args:
            name: of the step, different from those of the job's other steps.
            func: does it. If it is async, await what this gives.
            args: are given to it.
            kwargs: as well.

        Returns:
            What it returned, as it comes back from the database.

        Raises:
            TypeError: the value can't be stored.
            ValueError: it is too large (max_payload).
            RuntimeError: this attempt is over, another one may run.
            StoreError: the database can't be used.

        Example:
            ``receipt = autocron.current().step("charge", charge, order, 19)``
        """
        return cast("T", run_step(self._steps, name, func, args, kwargs))

    def __repr__(self) -> str:
        return f"<Job {self.task} {self.uuid} attempt {self.attempt}>"


current_job: ContextVar[Job | None] = ContextVar("autocron_job", default=None)


def current() -> Job:
    """Give the job that is running here; in a call that runs in its caller, too.

    It is found in the task, in what it awaits and in asyncio tasks that it creates. A thread has it when it was started
    with the context: ``asyncio.to_thread(...)``, or ``contextvars.copy_context().run`` as the target.

    Raises:
        LookupError: no job is running here.
    """
    job = current_job.get()
    if job is None:
        raise LookupError(
            "no job is running here. A thread that a task starts has its job only if it gets the context:"
            " threading.Thread(target=contextvars.copy_context().run, args=(function,))"
        )
    return job
