"""For the tests of applications: calls that run at once, calls that are only kept, and a clock that can be moved.

Whatever stands here holds for the whole process, as applications call tasks from threads, too; the one that was
entered last has the calls. While one is entered, ``autocron.start()`` and ``stop()`` do nothing. Afterwards all is as
it was before.
"""

import shutil
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from autocron import task as tasks
from autocron.active import Active
from autocron.app import App, in_place, in_use
from autocron.clock import Clock, SystemClock, from_timestamp, to_timestamp
from autocron.drainer import Drainer, MovableClock
from autocron.model import Settings
from autocron.result import TaskResult
from autocron.store.base import Store
from autocron.store.sqlite import open_store
from autocron.task import AnyTask

__all__ = ["Call", "captured", "drain", "inline"]


@dataclass(frozen=True)
class Call:
    """A call that was kept.

    Attributes:
        task: the name of the task.
        args: its arguments as the caller gave them.
        kwargs: likewise.
        options: those of the task and of ``task.options(...)``.
        run_at: when the job is due (aware, UTC).
        result: what the caller got.
    """

    task: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: Mapping[str, Any]
    run_at: datetime
    result: TaskResult[Any] = field(compare=False, repr=False)


@contextmanager
def inline() -> Generator[None]:
    """Run each call at once, in its caller, and those that it makes; delays and pauses before retries are left out.

    Example:
        ``with inline(): assert sign_up("a@example.org").mail.result == 5``
    """
    with in_place(_TestApp(SystemClock())):
        yield


@contextmanager
def captured() -> Generator[list[Call]]:
    """Run no call, but keep it, in a temporary database, until drain() runs it or the block ends.

    Returns:
        The calls so far, in their order; those that tasks make while drain() runs them, too.

    Example:
        ``with captured() as calls: sign_up("a@example.org"); assert calls[0].args == ("a@example.org",)``
    """
    folder = Path(tempfile.mkdtemp(prefix="autocron-"))
    app = _Keeper(open_store(folder / "test.db"), MovableClock())
    try:
        with in_place(app):
            yield app.calls
    finally:
        app.store.close()
        shutil.rmtree(folder, ignore_errors=True)


def drain(now: datetime | None = None) -> int:
    """Run what is due of the calls that captured() keeps, in this thread, until nothing is left to do.

    With `now` the clock is moved on to that moment, from one to the next at which something is due: delayed jobs,
    retries after their pauses, what expires, and the slots of schedules. It never goes back. Only autocron sees this
    clock; ``time.time()`` is what it was.

    Args:
        now: when it is to be; naive: local time. None: the clock goes on by itself.

    Returns:
        How often a job was run.

    Raises:
        RuntimeError: not within captured().
    """
    app = in_use()
    if not isinstance(app, _Keeper):
        raise RuntimeError("drain() runs what captured() keeps: call it within `with captured() as calls:`")
    return app.drain(None if now is None else to_timestamp(now))


class _TestApp(App):
    """Runs calls here."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(tasks.registry, clock)
        self._is_inline = True
        self._is_worker = True  # start() and stop() do nothing


class _Keeper(_TestApp):
    """Keeps calls in a store."""

    def __init__(self, store: Store, clock: MovableClock) -> None:
        super().__init__(clock)
        self.store = store
        self.calls: list[Call] = []
        self._drainer = Drainer(store, tasks.registry, clock)
        self._active = Active(
            None, "normal", max_payload=Settings().max_payload, look=self._drainer.look, opener=lambda: store
        )
        self._draining = threading.RLock()

    def enqueue(self, task: AnyTask, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TaskResult[Any]:
        """Keep a call."""
        run_at = from_timestamp(task.plan.when.due(self.now))
        result = super().enqueue(task, args, kwargs)
        self.calls.append(Call(task.name, args, kwargs, task.plan.options, run_at, result))
        return result

    def enqueue_all(self, task: AnyTask, calls: Iterable[Sequence[Any]]) -> list[TaskResult[Any]]:
        """Keep many calls."""
        with self.transaction():
            return [self.enqueue(task, tuple(args), {}) for args in calls]

    @contextmanager
    def watch(self, uuid: str, wake: Callable[[], None]) -> Generator[None]:
        """Refuse to wait for what nobody runs."""
        raise RuntimeError(f"job {uuid} is only kept, so waiting for it would not end: call drain() before")
        yield

    def drain(self, until: float | None) -> int:
        """Run what is due."""
        with self._draining:
            return self._drainer.run(until)
