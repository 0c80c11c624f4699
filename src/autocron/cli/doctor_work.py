"""The doctor's look at the work: the node of this machine, the settings, queues, jobs and schedules."""

from collections import deque
from collections.abc import Iterator

import msgspec

from autocron import crontab, wire
from autocron.cli.doctor_findings import Finding, ok, problem, warning
from autocron.cli.facts import ask_node, node_pid
from autocron.errors import BadSetting, ConfigError
from autocron.model import QueueCounts, Settings, StoredSchedule
from autocron.node.configuration import read_settings
from autocron.node.ending import Phase
from autocron.store import paths
from autocron.store.base import Store
from autocron.store.place import Place
from autocron.text import duration

RUNNING = Phase.RUNNING.value
LATE = 5.0  # seconds; a node that has just ended may be replaced by then
LONG = 60.0  # seconds that a due job waits, or a schedule is overdue
DAY = 86400.0
REASONS = 5
LAST_LINES = 3


class WorkFacts(msgspec.Struct, frozen=True):
    """What there is to know of the work.

    Attributes:
        now: the time of the database.
        settings: of this machine, or what is wrong with them.
        node: what the node of this machine and user says of itself.
        pid: the process that is the node, even if it says nothing.
        alive: how many nodes there are, also on other machines and of other users.
        log: the last lines of the node's log.
        queues: what is in each.
        served: queues that have workers; None: all.
        due: by queue, how many jobs wait for nothing but a worker, and since when.
        held: why jobs are parked: reason, task, number.
        failed: how many jobs failed in the last day.
        last_failure: the task and the error of the last one.
        schedules: those that the code declares, and others.
    """

    now: float
    settings: Settings | BadSetting
    node: wire.Status | None
    pid: int | None
    alive: int
    log: list[str]
    queues: list[QueueCounts]
    served: set[str] | None
    due: dict[str, tuple[int, float]]
    held: list[tuple[str, str, int]]
    failed: int
    last_failure: str
    schedules: list[StoredSchedule]


def collect(place: Place, store: Store, now: float, hosts: list[str], alive: int) -> WorkFacts:
    """Read the database and ask the node; `hosts` are the machines that count for the queues."""
    settings = read_settings(store)
    served = None if isinstance(settings, BadSetting) else store.served_queues(hosts)
    failed = store.failed_since(now, DAY)
    last = store.find("failed", 1, now) if failed else []
    return WorkFacts(
        now,
        settings,
        ask_node(place),
        node_pid(place),
        alive,
        _last_lines(place),
        store.queues(now),
        served,
        store.due_in(now),
        store.held_reasons(REASONS),
        failed,
        "".join(f"{one.task}: {one.error_message.partition(chr(10))[0]}" for one in last),
        store.schedules(),
    )


def _last_lines(place: Place) -> list[str]:
    try:
        with paths.log_path(place.files).open("r", encoding="utf-8", errors="replace") as log:
            return [line.strip() for line in deque(log, LAST_LINES)]
    except OSError:
        return []


def check(facts: WorkFacts) -> Iterator[Finding]:
    """Say what is to be said of the work."""
    yield from _settings(facts)
    yield _node(facts)
    if facts.pid is None and _due(facts) and facts.log:
        yield warning("node", f"its log ends with: {' | '.join(facts.log)}")
    yield from _queues(facts)
    yield from _held(facts)
    yield _failed(facts)
    yield from _schedules(facts)


def _settings(facts: WorkFacts) -> Iterator[Finding]:
    if isinstance(facts.settings, BadSetting):
        yield problem("settings", str(facts.settings))
    elif facts.settings.locked:
        what = "the autocron lock is on: calls run in their callers, and what is queued stays"
        yield warning("lock", what, "autocron DATABASE set locked off")


def _due(facts: WorkFacts) -> int:
    return sum(one.due for one in facts.queues if not one.paused)


def _jobs(number: int) -> str:
    return "1 job is due" if number == 1 else f"{number} jobs are due"


def _node(facts: WorkFacts) -> Finding:
    if (node := facts.node) is not None:
        ready = sum(one.state == "ready" for one in node.workers)
        return ok("node", f"{node.pid} is {node.state}, {ready} of {len(node.workers)} workers ready")
    if facts.pid is not None:
        then = "it is stopped or too busy; `kill -CONT` it, or kill it: an application starts another one"
        return problem("node", f"{facts.pid} is there, but does not answer", then)
    if facts.alive:
        return ok("node", f"none works for this user on this machine; others: {facts.alive}")
    due = _due(facts)
    if not due:
        return ok("node", "none works now, and no job is due")
    if isinstance(facts.settings, Settings) and facts.settings.locked:
        return warning("node", f"none works, as the lock is on; {_jobs(due)}")
    paused = {one.queue for one in facts.queues if one.paused}
    first = min((since for queue, (_, since) in facts.due.items() if queue not in paused), default=facts.now)
    then = "start the application, or run `autocron DATABASE work MODULE`"
    say = problem if facts.now - first > LATE else warning
    return say("node", f"none works, but {_jobs(due)}, the first for {duration(facts.now - first)}", then)


def _queues(facts: WorkFacts) -> Iterator[Finding]:
    found = list[Finding]()
    for one in facts.queues:
        due = f"{_jobs(one.due)} in the queue {one.queue}"
        if one.paused:
            then = f"autocron DATABASE resume {one.queue}"
            found.append(
                warning("queue", f"{due}, which is paused", then) if one.due else ok("queue", f"{one.queue} is paused")
            )
        elif one.due and facts.served is not None and one.queue not in facts.served:
            found.append(
                warning("queue", f"{due}, which has no workers", f"give it some: set queues ...,{one.queue}=1")
            )
        elif one.queue in facts.due and (free := _free(facts, one.queue)):
            waited = facts.now - facts.due[one.queue][1]
            if waited > LONG:
                what = f"{due}, the first for {duration(waited)}, although workers are free: {free}"
                found.append(warning("queue", what, "see what the node logs"))
    yield from found or [ok("queues", _jobs(sum(one.due for one in facts.queues)))]


def _free(facts: WorkFacts, queue: str) -> int:
    workers = facts.node.workers if facts.node else []
    return sum(one.state == "ready" and not one.jobs and one.queue in ("", queue) for one in workers)


def _held(facts: WorkFacts) -> Iterator[Finding]:
    for reason, task, number in facts.held:
        what = f"{number} of {task}: {reason.partition(chr(10))[0]}"
        yield warning("parked", what, "they run when the code takes them again; cancel them otherwise")


def _failed(facts: WorkFacts) -> Finding:
    if facts.failed:
        return warning("failed", f"{facts.failed} jobs in the last day; the last: {facts.last_failure or 'expired'}")
    return ok("failed", "no job in the last day")


def _schedules(facts: WorkFacts) -> Iterator[Finding]:
    found = [finding for one in facts.schedules if not one.paused and (finding := _schedule(facts, one))]
    paused = sum(one.paused for one in facts.schedules)
    yield from found or [ok("schedules", f"{len(facts.schedules)}, {paused} of them paused")]


def _schedule(facts: WorkFacts, one: StoredSchedule) -> Finding | None:
    declared = one.declaration
    try:
        slot = crontab.from_stored(declared.text, declared.tz).next_after(one.cursor)
    except ConfigError as error:
        return problem("schedule", f"{declared.name} does not fire here: {error}")
    if slot is None:
        return warning("schedule", f"{declared.name} never fires: {declared.text}", "correct the expression")
    if facts.node and facts.node.state == RUNNING and facts.now - slot > LONG:
        what = f"{declared.name} is overdue for {duration(facts.now - slot)} although a node works"
        return warning("schedule", what, "see what the node logs")
    return None
