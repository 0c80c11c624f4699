"""What there is to know about a database and the node that works on it."""

import contextlib

import msgspec

from autocron import wire
from autocron.clock import Clock
from autocron.model import QueueCounts, Settings, StoredJob, StoredSchedule
from autocron.slots import next_run
from autocron.store import paths
from autocron.store.base import Store
from autocron.store.place import Place

NODE_PATIENCE = 2.0  # seconds


class ScheduleFacts(msgspec.Struct, frozen=True):
    """A schedule and when it fires next, in seconds since the epoch; None: never, on this machine, or it is paused."""

    name: str
    text: str
    tz: str
    missed: str
    overlap: str
    next_run: float | None
    paused: bool
    declared: bool  # by the code, not added at run time
    task: str


class Facts(msgspec.Struct, frozen=True):
    """Everything that ``autocron DATABASE`` shows."""

    database: str
    now: float
    settings: Settings
    node: wire.Status | None  # what it says of itself
    node_pid: int | None  # it is there, even if it says nothing
    jobs: dict[str, int]
    scheduled: int
    held: int
    queues: list[QueueCounts]
    schedules: list[ScheduleFacts]


class Board(msgspec.Struct, frozen=True):
    """Everything that ``autocron DATABASE top`` shows."""

    facts: Facts
    running: list[StoredJob]
    queued: list[StoredJob]
    held: list[StoredJob]
    failed: list[StoredJob]


def collect(place: Place, store: Store, clock: Clock) -> Facts:
    """Read the database and ask the node."""
    now = clock.now()
    counts = store.counts(now)
    return Facts(
        str(place),
        now,
        store.settings(),
        ask_node(place),
        node_pid(place),
        {state.value: number for state, number in counts.by_state.items()},
        counts.scheduled,
        counts.held,
        store.queues(now),
        [_schedule_facts(schedule, now) for schedule in store.schedules()],
    )


def collect_board(place: Place, store: Store, clock: Clock, rows: int) -> Board:
    """Read what runs, what comes next and what failed, `rows` of each at most."""
    now = clock.now()
    running, queued = store.find("running", rows, now), store.find("queued", rows, now)
    held, failed = store.find("held", rows, now), store.find("failed", rows, now)
    return Board(collect(place, store, clock), running, queued, held, failed)


def _schedule_facts(schedule: StoredSchedule, now: float) -> ScheduleFacts:
    declared = schedule.declaration
    next_slot, is_declared = next_run(schedule, now), declared.module is not None
    times = (declared.text, declared.tz, declared.missed, declared.overlap, next_slot)
    return ScheduleFacts(declared.name, *times, schedule.paused, is_declared, declared.task)


def ask_node(place: Place) -> wire.Status | None:
    """Ask the node how it is; None when there is none."""
    with contextlib.suppress(OSError, wire.WireError), paths.connect(place.files, NODE_PATIENCE) as sock:
        sock.sendall(wire.frame(wire.AskStatus()))
        reader = wire.FrameReader(wire.FromNode)
        while data := sock.recv(65536):
            for message in reader.feed(data):
                if isinstance(message, wire.Status):
                    return message
    return None


def node_pid(place: Place) -> int | None:
    """Give the id of the process that holds the node's lock; None when there is none."""
    if not paths.lock_path(place.files).exists():
        return None  # asking for the holder would create the file
    return paths.lock_holder(place.files, paths.NODE_BYTE)
