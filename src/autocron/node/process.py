"""A worker as a process: spawned, talked to, watched, ended."""

import contextlib
import os
import select
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autocron import wire
from autocron.model import Claim
from autocron.node.lane import MAX_WINDOW, Lane
from autocron.outbox import Outbox
from autocron.outbox import create as create_outbox
from autocron.permits import Permits
from autocron.store.paths import package_environ

READ_SIZE = 64 << 10
PACK = 16  # jobs that are sent together


class WorkerProcess:
    """One worker and the descriptors through which the node knows it."""

    def __init__(self, number: int, lane: Lane, generation: int, comparisons: int, setup: wire.Setup) -> None:
        self.number = number
        self.lane = lane
        self.slot = setup.slot
        self.generation = generation
        self.comparisons = comparisons  # those that its last report, or its birth, has taken into account
        self.asked_to_stop = False
        self.at_end = False  # it can't send anything any more
        ours, theirs = wire.channel_pair()
        life_ours, life_theirs = socket.socketpair()
        self._permits = Permits()
        outbox = create_outbox()
        inherited = (theirs.fileno(), life_theirs.fileno(), self._permits.fileno(), outbox)
        command = [setup.program.python, "-P", "-m", "autocron.worker", *map(str, inherited)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=inherited,
            cwd=setup.program.cwd if Path(setup.program.cwd).is_dir() else "/",
            env=package_environ(setup.program.environ),
            start_new_session=True,
        )
        life_theirs.close()
        self._life = life_ours
        self._outbox = Outbox(outbox)
        os.close(outbox)
        self._ends_seen = 0  # of those that went through the outbox
        self._sent = deque[str](maxlen=MAX_WINDOW + lane.threads + lane.async_jobs)  # uuids of the jobs, in their order
        self.channel = wire.Channel(ours, wire.SentByWorker)
        # The worker's own end, to take back what it has not begun without its help.
        self._their_end = wire.Channel(theirs, wire.ToWorker)
        self.outputs: dict[int, int] = {}
        for stream, pipe in ((1, self._process.stdout), (2, self._process.stderr)):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self.outputs[stream] = pipe.fileno()
        self.pidfd = _pidfd(self._process.pid)
        self.channel.send(setup)

    @property
    def pid(self) -> int:
        """The process id of the worker."""
        return self._process.pid

    def try_send(self, message: wire.ToWorker) -> bool:
        """Send without waiting; False when the worker has to read first or is gone."""
        try:
            self.channel.send(message, socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True

    def stop_job(self, stop: wire.Stop) -> None:
        """Have a job stopped that runs."""
        with contextlib.suppress(OSError):  # it is gone, or does not listen: it will be ended
            self._life.send(wire.frame(stop), socket.MSG_DONTWAIT)

    def begin(self, claims: Sequence[Claim]) -> bool:
        """Send jobs without waiting; False when some of them could not be sent."""
        self._sent.extend(claim.uuid for claim in claims)
        for start in range(0, len(claims), PACK):
            some = list(claims[start : start + PACK])
            self._permits.give(len(some))
            if not self.try_send(wire.Begin(some, self._permits.round)):
                return False
        return True

    def receive(self) -> list[wire.FromWorker]:
        """Give what the worker has sent; never waits.

        Raises:
            WireError: something that is no message came.
        """
        messages, self.at_end = _drain(self.channel)
        return [one for message in messages for one in self._unfold(message)]

    def _unfold(self, message: wire.SentByWorker) -> Sequence[wire.FromWorker]:
        if not isinstance(message, wire.Ends):
            return [message]
        new = message.ends[max(0, self._ends_seen - message.before) :]
        self._ends_seen = message.before + len(message.ends)
        return new

    def look_into_outbox(self) -> list[wire.Ended]:
        """Give the ends that the worker has not sent yet.

        Raises:
            WireError: something that is no end is there.
        """
        before, bodies = self._outbox.read()
        if before > self._ends_seen:
            return []  # they have been sent, and come before what is in the outbox now
        new = bodies[self._ends_seen - before :]
        self._ends_seen += len(new)
        return [wire.decode_end(body) for body in new]

    def take_back(self) -> list[str]:
        """Give the jobs that were sent and not begun: they will not be. What else was not read is sent again."""
        count = self._permits.take_back()
        messages, _ = _drain(self._their_end)
        begins = [message for message in messages if isinstance(message, wire.Begin)]
        in_hand = max(0, sum(len(begin.claims) for begin in begins) - count)  # permits of jobs that were not read
        for begin in begins:
            if claims := begin.claims[:in_hand]:
                self.try_send(wire.Begin(claims, begin.round))
            in_hand -= len(claims)
        for message in messages:
            if not isinstance(message, wire.Begin):
                self.try_send(message)
        return [self._sent.pop() for _ in range(count)][::-1]

    def read_output(self, stream: int) -> bytes | None:
        """Read what the worker has printed; None at the end of the stream."""
        try:
            return os.read(self.outputs[stream], READ_SIZE) or None
        except BlockingIOError:
            return b""
        except OSError:
            return None

    def finish(self) -> None:
        """Let the worker end when it has done what was sent."""
        self.asked_to_stop = True
        with contextlib.suppress(OSError):
            self.channel.socket.shutdown(socket.SHUT_WR)

    def interrupt(self) -> None:
        """Ask the running job to stop."""
        self.asked_to_stop = True
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the worker and every process of its group."""
        self.asked_to_stop = True
        self.destroy()

    def destroy(self) -> None:
        """Do the same, as a crash of the worker."""
        self.at_end = True
        self._signal(signal.SIGKILL)

    def ended(self) -> str | None:
        """Say how the process ended; None while it lives."""
        code = self._process.poll()
        if code is None:
            return None
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def close(self) -> None:
        """Release everything; what is left of the worker's process group is killed."""
        self._signal(signal.SIGKILL)
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()
        if self.pidfd is not None:
            os.close(self.pidfd)
        for end in (self.channel, self._their_end, self._life, self._permits, self._outbox):
            end.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _pidfd(pid: int) -> int | None:
    """Give a descriptor that is readable when the process has ended; None where the system has none."""
    opener = getattr(os, "pidfd_open", None)
    if opener is None or not hasattr(select, "epoll"):
        return None
    try:
        return int(opener(pid))
    except OSError:
        return None


def _drain(channel: wire.Channel) -> tuple[list[Any], bool]:
    """Give the messages that are there, and whether that was all that will ever come."""
    messages: list[Any] = []
    try:
        while (message := channel.receive(socket.MSG_DONTWAIT)) is not None:
            messages.append(message)
    except BlockingIOError:
        return messages, False
    except OSError:
        pass
    return messages, True
