"""What running jobs say: their progress and their output, on the way to the node a few times per second."""

import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from autocron.job import Job
from autocron.model import Claim, News, Progress
from autocron.steps import Steps
from autocron.text import Excerpt, storable
from autocron.worker.places import Place

INTERVAL = 0.25  # seconds between two things that the node is told about a job
OUTPUT_HEAD, OUTPUT_TAIL = 8 << 10, 24 << 10  # characters that are kept of what a job prints


class RunningJob(Job):
    """A job that runs in this worker.

    Attributes:
        stopped: what is raised in it to stop it; None: nothing.
        report: what the worker was doing when this one's time was over.
        inside: its function runs.
        place: where it runs.
    """

    __slots__ = ("_output", "_reporter", "_told_output", "_told_progress", "inside", "place", "report", "stopped")

    def __init__(self, claim: Claim, steps: Steps, reporter: "Reporter", place: Place) -> None:
        super().__init__(claim, steps)
        self._reporter = reporter
        self.place = place
        self.stopped: type[BaseException] | None = None
        self.report = ""
        self.inside = False
        self._output: Excerpt | None = None
        self._told_output = 0
        self._told_progress: Progress | None = None

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Say how far the job has come."""
        super().progress(done, total, note)
        self._reporter.has_news(self)

    @property
    def coroutine(self) -> Any:
        """Its coroutine, if it is one."""
        return self.place.coroutine

    def last_output(self, size: int) -> str:
        """Give the end of what it has printed."""
        return self._output.text()[-size:] if self._output else ""

    def stop(self, kind: type[BaseException]) -> None:
        """Let this be raised in it, unless something else was before."""
        if self.stopped is None:
            self.stopped = kind
            if self.inside:
                self.place.interrupt(kind)

    def enter(self) -> None:
        """From here on it can be stopped; raises what it was stopped with before."""
        self.inside = True
        if self.stopped is not None:
            raise self.stopped

    def leave(self) -> None:
        """From here on nothing is raised in it any more."""
        self.inside = False
        self.place.leave()

    progress.__doc__ = Job.progress.__doc__

    @property
    def output_size(self) -> int:
        """How many characters it has printed."""
        return self._output.size if self._output else 0

    def printed(self, text: str) -> None:
        """Take what it has printed."""
        if not text:
            return
        if self._output is None:
            self._output = Excerpt(OUTPUT_HEAD, OUTPUT_TAIL)
        self._output.add(text)
        self._reporter.has_news(self)

    def news(self) -> News | None:
        """Give what the node does not know yet, once; None when there is nothing."""
        progress, output = self.last_progress, self._output
        told = None if progress is self._told_progress else progress
        new_output = storable(output.text()) if output and output.size != self._told_output else None
        if told is None and new_output is None:
            return None
        self._told_progress = progress
        self._told_output = self.output_size
        text = None if told is None else msgspec.json.encode(told).decode()
        return News(self.uuid, self.attempt, text, new_output)


class Reporter:
    """Tells the node what running jobs say. Its thread begins with the first word.

    Args:
        send: sends to the node.
    """

    def __init__(self, send: Callable[[News], None]) -> None:
        self._send = send
        self._sending = threading.Lock()  # older news must not come behind newer ones
        self._waiting: set[RunningJob] = set()
        self._something = threading.Event()
        self._thread: threading.Thread | None = None

    def has_news(self, job: RunningJob) -> None:
        """Note that a job has said something."""
        self._waiting.add(job)
        if not self._something.is_set():
            self._something.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="autocron-news", daemon=True)
                self._thread.start()

    def finish(self, job: RunningJob) -> None:
        """Send what is left of a job that has ended."""
        if job in self._waiting:
            self._tell(job)

    def _run(self) -> None:
        while True:
            self._something.wait()
            time.sleep(INTERVAL)
            self._something.clear()
            for job in list(self._waiting):
                self._tell(job)

    def _tell(self, job: RunningJob) -> None:
        with self._sending:
            self._waiting.discard(job)
            if news := job.news():
                self._send(news)
