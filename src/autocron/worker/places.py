"""Where a job runs, and how an exception gets into it from outside."""

import ctypes
import signal
import threading
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio

_raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc


class Interruption(BaseException):
    """Raised inside the running job when the node ends before it is done."""


class Place(Protocol):
    """Where a job runs."""

    coroutine: Any

    def interrupt(self, kind: type[BaseException]) -> None:
        """Let this be raised in the job. Called from other threads."""

    def leave(self) -> None:
        """From here on nothing is raised there any more."""


class MainThread:
    """A sync job on the main thread, which a signal gets out of most system calls; its handler raises."""

    coroutine = None

    def interrupt(self, kind: type[BaseException]) -> None:
        """Send the signal whose handler raises what the job is stopped with."""
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def leave(self) -> None:
        """Nothing is to be done: the handler looks at the job."""


class PoolThread:
    """A sync job in one of several threads: the exception comes between two instructions, not in a system call."""

    coroutine = None

    def __init__(self) -> None:
        self._ident: int | None = threading.get_ident()
        self._lock = threading.Lock()

    def interrupt(self, kind: type[BaseException]) -> None:
        """Let the interpreter raise it."""
        with self._lock:
            if self._ident is not None:
                _raise_in(ctypes.c_ulong(self._ident), ctypes.py_object(kind))

    def leave(self) -> None:
        """Take back what was not raised yet: the thread's next job must not get it."""
        with self._lock:
            if self._ident is not None:
                _raise_in(ctypes.c_ulong(self._ident), None)
            self._ident = None


class LoopTask:
    """An async job: it is cancelled."""

    def __init__(self, task: "asyncio.Task[object]") -> None:
        self._task = task
        self.coroutine = task.get_coro()

    def interrupt(self, kind: type[BaseException]) -> None:
        """Cancel the task at its next await."""
        self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    def leave(self) -> None:
        """Nothing is to be done: a task that is done can't be cancelled."""
