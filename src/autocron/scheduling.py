"""Schedules that the application makes while it runs: kept in the database, beside those that @cron declares."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any

from autocron import codec
from autocron.app import in_use
from autocron.clock import Seconds, from_timestamp
from autocron.crontab import parse
from autocron.errors import ConfigError
from autocron.model import Missed, Overlap, StoredSchedule
from autocron.result import TaskResult
from autocron.slots import job_of, next_run
from autocron.task import AnyTask, AsyncTask, Task


class Schedule:
    """A schedule, whether @cron declares it or it was added at run time.

    Every attribute is read fresh, and raises KeyError when the schedule is gone.

    Attributes:
        name: there is one of each name.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def crontab(self) -> str:
        """The expression, or ``"every SECONDS"``."""
        return self._read().declaration.text

    @property
    def tz(self) -> str:
        """The zone whose wall clock counts."""
        return self._read().declaration.tz

    @property
    def paused(self) -> bool:
        """Does it rest?"""
        return self._read().paused

    @property
    def next_run(self) -> datetime | None:
        """When it is due next (aware, UTC); None while it is paused, and when that will never be."""
        moment = next_run(self._read(), in_use().now)
        return None if moment is None else from_timestamp(moment)

    def pause(self) -> None:
        """Let it rest: nothing fires until resume()."""
        self._pause(True)

    def resume(self) -> None:
        """Let it go on. `missed` says what becomes of the runs that were due meanwhile."""
        self._pause(False)

    def remove(self) -> None:
        """Forget it; its jobs that are stored stay.

        Raises:
            ConfigError: the code declares it.
            KeyError: it is gone already.
        """
        database = in_use().database
        if not database.store.remove(self.name):
            module = self._read().declaration.module
            raise ConfigError(f"@cron declares {self.name!r} in {module}: it can be paused, or taken out there")
        database.look()

    def run_now(self) -> TaskResult[Any]:
        """Store a run that is due now, paused or not; the times at which it is due stay as they are."""
        app, declared = in_use(), self._read().declaration
        database = app.database
        now = app.now + database.store.ahead(app.now)
        job = job_of(declared, now, now)
        uuid = database.store.run_now(self.name, job)
        database.wake()
        return TaskResult(uuid, app, job.task)

    def _pause(self, paused: bool) -> None:
        database = in_use().database
        if not database.store.pause(self.name, paused):
            raise _unknown(self.name)
        database.look()

    def _read(self) -> StoredSchedule:
        for schedule in in_use().database.store.schedules():
            if schedule.declaration.name == self.name:
                return schedule
        raise _unknown(self.name)

    def __repr__(self) -> str:
        return f"<Schedule {self.name}>"


class Schedules:
    """All schedules of the database: ``autocron.schedules``. Whatever is asked of it may raise StoreError."""

    def add(
        self,
        name: str,
        when: str | Seconds,
        task: AnyTask,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        tz: str | tzinfo | None = None,
        missed: Missed = "once",
        overlap: Overlap = "skip",
    ) -> Schedule:
        """Keep a schedule; it fires until it is removed, also after restarts.

        One of the same name that was added before is replaced; with the same times it goes on where it was, and when it
        is paused it stays so. Adding it at each start of the application is fine.

        Args:
            name: what it is called.
            when: a crontab expression or ``@hourly`` and its kin, or an interval in seconds or as a timedelta.
            task: a delayed function; its options, except for times, are those of the jobs.
            args: what it is called with.
            kwargs: likewise.
            tz: the zone whose wall clock counts; the machine's by default. Not for intervals.
            missed: what to do about runs that were due while nothing ran, or while it was paused.
            overlap: whether a run may start while the one before it still runs.

        Raises:
            ConfigError: the time can't be understood, @cron has a schedule of this name, or start() was not called.
            TypeError: the arguments do not fit the task, or can't be stored.
            ValueError: the arguments are too large.

        Example:
            ``autocron.schedules.add("report 7", "0 6 * * MON", send_report, [7], tz="Europe/Berlin")``
        """
        if not isinstance(task, (Task, AsyncTask)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"{task!r} is not a task: decorate the function with @autocron.delay")
        if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"name: {name!r} is not a text")
        timetable = parse(when, tz=tz) if isinstance(when, str) else parse(every=when, tz=tz)
        given = dict(kwargs or {})
        inspect.signature(task.function).bind(*args, **given)
        arguments = codec.encode_call(tuple(args), given)
        declared = task.plan.declaration(
            name,
            task.name,
            None,
            timetable,
            missed=missed,
            overlap=overlap,
            arguments=arguments,
            placing=task.plan.rules.placing_of(task.name, inspect.signature(task.function), tuple(args), given),
        )
        app = in_use()
        database = app.database
        database.check_size(job_of(declared, app.now, app.now))
        if not database.store.add_schedule(declared, app.now):
            raise ConfigError(f"the name {name!r} is taken: @cron declares a schedule of that name")
        database.look()
        return Schedule(name)

    def __getitem__(self, name: str) -> Schedule:
        """Give the schedule of this name.

        Raises:
            KeyError: there is none.
        """
        if name not in self:
            raise _unknown(name)
        return Schedule(name)

    def __contains__(self, name: object) -> bool:
        return any(schedule.name == name for schedule in self)

    def __iter__(self) -> Iterator[Schedule]:
        return iter([Schedule(one.declaration.name) for one in in_use().database.store.schedules()])


def _unknown(name: str) -> KeyError:
    return KeyError(f"there is no schedule {name!r}")


schedules = Schedules()
