"""The frames between application, node and worker.

Applications and the node talk over a stream: each frame is a length (4 bytes, big endian) and a message.
The node and a worker talk over a sequenced-packet socket pair: each datagram is a message. A message too large for a
datagram travels in an anonymous file whose descriptor the datagram carries.
"""

import array
import os
import socket
import struct
from typing import Any

import msgspec

from autocron.model import Claim, Declaration, News, Outcome, Why

MAX_FRAME = 16 << 20
MAX_DATAGRAM = 64 << 10
_LENGTH = struct.Struct(">I")
_BY_REFERENCE = b"\xc1"  # a byte that no message begins with


class WireError(Exception):
    """The other side sent something that is not a frame of this protocol."""


# From an application to the node.


class MainModule(msgspec.Struct, frozen=True):
    """How the main module was started; a worker imports it under `name`."""

    name: str
    path: str
    is_spec: bool  # started as ``python -m name``
    argv: list[str]


class Program(msgspec.Struct, frozen=True):
    """What a worker needs to import the application's code."""

    python: str
    cwd: str
    sys_path: list[str]
    modules: list[str] = []
    main: MainModule | None = None
    django_settings: str | None = None
    environ: dict[str, str] = {}
    script: MainModule | None = None  # what was started; it is `main` as soon as it declares something
    known: list[str] = []  # more modules, in which applications have declared something before


class Hello(msgspec.Struct, frozen=True, tag=True):
    """An application is here."""

    program: Program
    pid: int
    version: str


class Wake(msgspec.Struct, frozen=True, tag=True):
    """There may be something to do."""


class Look(msgspec.Struct, frozen=True, tag=True):
    """Somebody has changed settings: read them now."""


class Declare(msgspec.Struct, frozen=True, tag=True):
    """The program as it is now: more modules than at the hello declare tasks."""

    program: Program


class Subscribe(msgspec.Struct, frozen=True, tag=True):
    """Tell when this job has come to its end."""

    uuid: str


class Unsubscribe(msgspec.Struct, frozen=True, tag=True):
    """No longer interested in this job."""

    uuid: str


class Bye(msgspec.Struct, frozen=True, tag=True):
    """The application stops; with `now` running jobs get no grace."""

    now: bool = False


class AskStatus(msgspec.Struct, frozen=True, tag=True):
    """How are you? Asking does not keep a node alive."""


FromApp = Hello | Wake | Look | Declare | Subscribe | Unsubscribe | Bye | AskStatus


# From the node to an application.


class Welcome(msgspec.Struct, frozen=True, tag=True):
    """The node works for this application, or `refusal` says why it does not."""

    pid: int
    refusal: str = ""


class Done(msgspec.Struct, frozen=True, tag=True):
    """A job that was subscribed to has come to its end."""

    uuid: str


class Output(msgspec.Struct, frozen=True, tag=True):
    """What tasks printed; stream 1 or 2."""

    stream: int
    data: bytes


class Log(msgspec.Struct, frozen=True, tag=True):
    """Something that the node has to say, for the application's log."""

    level: int
    text: str


class Farewell(msgspec.Struct, frozen=True, tag=True):
    """The answer to Bye while other applications remain."""


class WorkerStatus(msgspec.Struct, frozen=True):
    """A worker as the node sees it."""

    pid: int
    state: str
    jobs: list[str]
    queue: str = ""  # that it serves; "" for all


class Status(msgspec.Struct, frozen=True, tag=True):
    """The node and its workers."""

    pid: int
    started_at: float
    state: str
    applications: list[int]
    workers: list[WorkerStatus]


FromNode = Welcome | Done | Output | Log | Farewell | Status


# Between the node and a worker.


class Setup(msgspec.Struct, frozen=True, tag=True):
    """The first message to a worker: what it is to import, and where calls made by its jobs are stored."""

    program: Program
    address: str  # these two are the place of the database
    files: str
    slot: int  # which byte of the lock file it holds
    max_payload: int
    threads: int
    max_memory: int | None


class Import(msgspec.Struct, frozen=True, tag=True):
    """More modules to import."""

    modules: list[str]
    main: MainModule | None


class Begin(msgspec.Struct, frozen=True, tag=True):
    """Run these jobs, each when there is a permit of this round for it."""

    claims: list[Claim]
    round: int


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Stop this job. It goes over another socket, which a worker reads while it runs jobs."""

    uuid: str
    attempt: int
    why: Why


ToWorker = Setup | Import | Begin


class Report(msgspec.Struct, frozen=True, tag=True):
    """What the worker has found in the modules it was told to import."""

    tasks: dict[str, str]  # with what they take, as signatures.describe() gives it
    schedules: list[Declaration]
    imported: list[str]
    missing: list[str]  # these do not exist
    errors: dict[str, str]  # these exist but could not be imported: name -> traceback
    sources: dict[str, float]  # the application's source files -> mtime when imported
    async_tasks: list[str]
    failure_hooks: dict[str, str]  # name -> module


class Ended(msgspec.Struct, frozen=True, tag=True):
    """A job has been run."""

    uuid: str
    attempt: int
    outcome: Outcome
    started_at: float
    finished_at: float
    elapsed: float  # seconds


class Ends(msgspec.Struct, frozen=True, tag=True):
    """Jobs have been run that have waited in the outbox."""

    before: int  # so many were sent like this before
    ends: list[Ended]


class SentEnds(msgspec.Struct, frozen=True, tag="Ends"):
    """The same, each encoded already."""

    before: int
    ends: list[msgspec.Raw]


class Said(msgspec.Struct, frozen=True, tag=True):
    """A running job has said something about itself."""

    news: News


class Begun(msgspec.Struct, frozen=True, tag=True):
    """A job that has a timeout runs from now on."""

    uuid: str


class Stopping(msgspec.Struct, frozen=True, tag=True):
    """A job is being stopped because of its timeout."""

    uuid: str
    report: str  # what the worker was doing at that moment


class Worn(msgspec.Struct, frozen=True, tag=True):
    """The worker has grown beyond `max_memory`, to so many bytes."""

    size: int


FromWorker = Report | Begun | Ended | Said | Stopping | Worn | Wake
SentByWorker = FromWorker | Ends

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
_decode_end = msgspec.msgpack.Decoder(Ended).decode


def decode_end(body: bytes) -> Ended:
    """Give an end that was encoded.

    Raises:
        WireError: it is none.
    """
    try:
        return _decode_end(body)
    except msgspec.DecodeError as error:
        raise WireError(f"not an end: {error}") from error


def frame(message: FromApp | FromNode | Stop) -> bytes:
    """Give the message with its length in front, for a stream."""
    body = encode(message)
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Cuts a stream into messages."""

    def __init__(self, kind: Any) -> None:
        self._decode = msgspec.msgpack.Decoder(kind).decode
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """Add what was received.

        Returns:
            The messages that are complete now.

        Raises:
            WireError: the stream is not one of this protocol.
        """
        buffer = self._buffer
        buffer += data
        messages: list[Any] = []
        start = 0
        while len(buffer) - start >= 4:
            (length,) = _LENGTH.unpack_from(buffer, start)
            if length > MAX_FRAME:
                raise WireError(f"a frame of {length} bytes is too large")
            end = start + 4 + length
            if len(buffer) < end:
                break
            messages.append(self._message(bytes(buffer[start + 4 : end])))
            start = end
        del buffer[:start]
        return messages

    def _message(self, body: bytes) -> Any:
        try:
            return self._decode(body)
        except msgspec.DecodeError as error:
            raise WireError(f"not a message: {error}") from error


class Channel:
    """One end of a socket pair between the node and a worker; each datagram is a message."""

    def __init__(self, sock: socket.socket, kind: Any) -> None:
        self.socket = sock
        self._decode = msgspec.msgpack.Decoder(kind).decode
        self._buffer = bytearray(MAX_DATAGRAM)
        self._ancillary = socket.CMSG_SPACE(4)

    def fileno(self) -> int:
        """Give the descriptor, for a selector."""
        return self.socket.fileno()

    def send(self, message: ToWorker | FromWorker | SentEnds, flags: int = 0) -> None:
        """Send a message.

        Raises:
            BlockingIOError: with MSG_DONTWAIT, when the other end has to read first.
            OSError: the other end is gone.
        """
        body = encode(message)
        if len(body) <= MAX_DATAGRAM:
            self.socket.send(body, flags)
            return
        with _anonymous_file(body) as file:
            rights = array.array("i", [file.fileno()])
            self.socket.sendmsg([_BY_REFERENCE], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)], flags)

    def receive(self, flags: int = 0) -> Any | None:
        """Receive a message; None at the end of the stream.

        Raises:
            WireError: what came is no message.
            BlockingIOError: with MSG_DONTWAIT, when nothing is there.
            OSError: the other end is gone.
        """
        size, ancillary, _, _ = self.socket.recvmsg_into([self._buffer], self._ancillary, flags)
        if size == 0:
            return None
        body = _read_reference(ancillary[0][2]) if ancillary else memoryview(self._buffer)[:size]
        try:
            return self._decode(body)
        except msgspec.DecodeError as error:
            raise WireError(f"not a message: {error}") from error

    def close(self) -> None:
        """Close this end."""
        self.socket.close()


def _anonymous_file(body: bytes) -> Any:
    if hasattr(os, "memfd_create"):
        file: Any = os.fdopen(os.memfd_create("autocron"), "w+b")
    else:
        import tempfile  # some milliseconds of each start, for systems that need it

        file = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    file.write(body)
    file.flush()
    return file


def _read_reference(rights: bytes) -> bytes:
    (descriptor,) = array.array("i", rights[:4])
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        return file.read()


def channel_pair() -> tuple[socket.socket, socket.socket]:
    """Give the two ends for a node and a worker: datagrams that keep their borders and their order."""
    try:
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except (AttributeError, OSError):
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
