"""What jobs print and log is kept with them, while it goes where it always went; log records name their job."""

import io
import logging
import os
import sys
from typing import Any, cast

from autocron.job import current_job
from autocron.worker.news import RunningJob

_plain = logging.Formatter("%(levelname)s %(name)s: %(message)s")


class Capture:
    """Knows which job prints: the one of the context or, where a thread has none, the only one that runs."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self.running: dict[str, RunningJob] = {}

    def job(self) -> RunningJob | None:
        """Give the job to which output of this moment belongs."""
        if self._pid != os.getpid():  # forked by a task, without the thread that tells the node
            return None
        job = current_job.get()
        if isinstance(job, RunningJob):
            return job if job.uuid in self.running else None
        running = list(self.running.values())
        return running[0] if len(running) == 1 else None

    def printed(self, text: str) -> None:
        """Take what was printed."""
        if job := self.job():
            job.printed(text)


class _Stream(io.TextIOWrapper):
    """A standard stream whose text is kept with the job."""

    def __init__(self, stream: io.TextIOWrapper, capture: Capture) -> None:
        super().__init__(stream.buffer, stream.encoding, stream.errors, line_buffering=True)
        self._capture = capture

    def write(self, text: str, /) -> int:
        size = super().write(text)
        self._capture.printed(text)
        return size


def install() -> Capture:
    """Put this between the standard streams, logging and whoever uses them. Call it before anything else does."""
    capture = Capture()
    for name in ("stdout", "stderr"):
        stream = cast("io.TextIOWrapper", getattr(sys, name))
        setattr(sys, name, _Stream(stream, capture))
    _name_jobs_in_records(capture)
    _keep_records(capture)
    return capture


def _name_jobs_in_records(capture: Capture) -> None:
    make = logging.getLogRecordFactory()

    def make_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        job = current_job.get() or capture.job()
        record.autocron_uuid, record.autocron_task = (job.uuid, job.task) if job else ("", "")
        return record

    logging.setLogRecordFactory(make_record)


def _keep_records(capture: Capture) -> None:
    """Keep the records that no handler has shown on the terminal; what was shown there is kept already.

    A handler of our own would make logging.basicConfig() and frameworks believe that logging is set up.
    """
    handle = logging.Logger.callHandlers

    def call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        job = capture.job()
        before = job.output_size if job else 0
        handle(self, record)
        if job and job.output_size == before:
            job.printed(f"{_plain.format(record)}\n")

    logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign]
