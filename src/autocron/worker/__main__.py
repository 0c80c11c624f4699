"""Start a worker: ``python -m autocron.worker CHANNEL LIFE``, two inherited descriptors. Only the node does this."""

import contextlib
import ctypes
import importlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

from autocron import wire
from autocron.app import become_worker
from autocron.model import Claim
from autocron.store import paths
from autocron.store.place import Place, open_store
from autocron.worker.importer import Importer
from autocron.worker.runner import Interruption, Runner

if TYPE_CHECKING:
    import io

PR_SET_PDEATHSIG = 1


class Worker:
    """Takes jobs out of its channel and sends their outcomes back, until the node closes it."""

    def __init__(self, channel: wire.Channel, setup: wire.Setup) -> None:
        self._channel = channel
        self._importer = Importer(setup.program)
        self._runner = Runner(setup.max_payload, _before_each_job(setup.program))
        self._modules_seen = 0
        self._busy = False
        signal.signal(signal.SIGTERM, self._asked_to_stop)

    def work(self) -> None:
        """Import the program, report, then run jobs."""
        self._report(self._importer.import_all())
        while (message := self._channel.receive()) is not None:
            match message:
                case wire.Begin(claim=claim):
                    self._run(claim)
                case wire.Import(modules=modules, main=main):
                    self._report(self._importer.import_more(modules, main))
                case _:
                    raise wire.WireError(f"a worker cannot do anything with {message!r}")

    def _run(self, claim: Claim) -> None:
        started_at, started = time.time(), time.perf_counter()
        self._busy = True
        try:
            outcome = self._runner.run(claim)
        finally:
            self._busy = False
        elapsed = time.perf_counter() - started
        _flush()
        self._channel.send(wire.Ended(claim.uuid, claim.attempt, outcome, started_at, started_at + elapsed, elapsed))
        if len(sys.modules) != self._modules_seen:
            self._report(self._importer.report())

    def _report(self, report: wire.Report) -> None:
        self._modules_seen = len(sys.modules)
        _flush()
        self._channel.send(report)

    def _asked_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        if self._busy:
            raise Interruption
        os._exit(0)


def main() -> None:
    """Set the process up, then work."""
    channel_fd, life_fd = int(sys.argv[1]), int(sys.argv[2])
    for descriptor in (channel_fd, life_fd):
        os.set_inheritable(descriptor, False)
    _die_with_node(life_fd)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = wire.Channel(socket.socket(fileno=channel_fd), wire.ToWorker)
    setup = channel.receive()
    if not isinstance(setup, wire.Setup):
        return
    place = Place(setup.address, Path(setup.files))
    if not paths.try_lock(place.files, setup.slot):
        raise SystemExit("the place of this worker is taken")
    sys.path[:] = [*setup.program.sys_path, *(path for path in sys.path if path not in setup.program.sys_path)]
    become_worker(open_store(place), setup.max_payload, partial(_wake, channel))
    cast("io.TextIOWrapper[Any]", sys.stdout).reconfigure(line_buffering=True)
    Worker(channel, setup).work()
    _flush()
    # Threads that tasks have left running must not keep the process.
    os._exit(0)


def _wake(channel: wire.Channel) -> bool:
    with contextlib.suppress(OSError):  # the node is gone, and so is this worker in a moment
        channel.send(wire.Wake())
        return True
    return False


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # A task may have closed or replaced it; that is no reason to lose an outcome.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _die_with_node(life_fd: int) -> None:
    """End when the node ends: by the kernel's signal where there is one, else by watching a socket to it."""
    node = os.getppid()
    prctl = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != node:
            os._exit(0)
    life = socket.socket(fileno=life_fd)
    threading.Thread(target=_watch, args=(life,), name="autocron-life", daemon=True).start()


def _watch(life: socket.socket) -> None:
    life.recv(1)  # nothing is ever sent: this returns at the end of the stream
    os._exit(0)


def _before_each_job(program: wire.Program) -> Callable[[], None]:
    """Django drops database connections that have timed out at each request; a job is one too."""
    if not program.django_settings:
        return lambda: None
    close: Callable[[], None] = importlib.import_module("django.db").close_old_connections
    return close


if __name__ == "__main__":
    main()
