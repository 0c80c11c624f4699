"""What a worker is doing at this moment, for those who want to know why a job did not end."""

import sys
import threading
import traceback
from types import FrameType
from typing import TYPE_CHECKING, Any

from autocron.text import storable
from autocron.worker.memory import memory

if TYPE_CHECKING:
    from autocron.worker.news import RunningJob

MAX_REPORT = 32 << 10  # characters
LAST_OUTPUT = 2000  # characters


def report(job: "RunningJob") -> str:
    """Give the stacks of all threads and of the job's coroutines, the memory, and the job's last output."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = [f"Its worker when the time was over, with {memory() >> 20} MiB of memory:"]
    if frames := _awaited(job.coroutine):
        parts.append(f"\nThe job awaits:\n{_lines(frames)}")
    for ident, frame in sys._current_frames().items():  # pyright: ignore[reportPrivateUsage]
        if ident != threading.get_ident():
            stack = "".join(traceback.format_stack(frame))
            parts.append(f"\nThread {names.get(ident, ident)}:\n{stack}")
    if output := job.last_output(LAST_OUTPUT):
        parts.append(f"\nThe last that it printed:\n{output}")
    return storable("\n".join(parts), MAX_REPORT)


def _awaited(coroutine: Any) -> list[FrameType]:
    """Give the frames of a suspended coroutine, the innermost last."""
    frames = list[FrameType]()
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            frames.append(frame)
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return frames


def _lines(frames: list[FrameType]) -> str:
    return "".join(traceback.format_list(traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames)))
