"""Facts as tables for a terminal. Nothing here reads anything."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from autocron.cli.facts import Board, Facts, ScheduleFacts
from autocron.model import QueueCounts, State, StoredJob
from autocron.store.postgres_url import is_url
from autocron.text import duration, printable
from autocron.wire import Status


def headline(database: str) -> RenderableType:
    """Show the path in one piece, however long: it is there to be copied."""
    return Text(printable(database), style="bold", no_wrap=True, overflow="ignore")


def section(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> RenderableType:
    """Show rows under a title, which is the head of their first column."""
    table = Table(title, *columns, box=None, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    return Group(Text(), table) if table.row_count else Text(f"\nno {title}")


def overview(facts: Facts, settings: RenderableType) -> RenderableType:
    """Show settings, node, jobs and schedules."""
    return Group(
        headline(facts.database),
        settings,
        *_trouble(facts),
        *([_processes(facts.node, facts.now)] if facts.node else []),
        _jobs(facts),
        _queues(facts),
        schedules(facts),
    )


def board(live: Board) -> RenderableType:
    """Show what runs, what comes next, what failed, and the schedules."""
    now = live.facts.now
    return Group(
        headline(live.facts.database),
        *_trouble(live.facts),
        _jobs(live.facts),
        _job_table("running jobs", live.running, "for", lambda job: duration(now - (job.started_at or now))),
        _job_table("jobs to come", live.queued, "due", lambda job: _in(job.run_at - now)),
        *(
            [_job_table("parked jobs", live.held, "reason", lambda job: _first_line(job.held or ""))]
            if live.held
            else []
        ),
        _job_table("failed jobs", live.failed, "error", lambda job: _first_line(job.error_message)),
        _queues(live.facts),
        schedules(live.facts),
    )


def rows_of(height: int) -> int:
    """Say how many jobs of each kind go on a board of this height, with a few queues and schedules."""
    return max(1, (height - 14) // 4)


def schedules(facts: Facts) -> RenderableType:
    """Show the schedules."""
    rows = [(one.name, _when(one.text), one.tz, *_next_run(one, facts.now)) for one in facts.schedules]
    return section("schedules", ("when", "zone", "next run", ""), rows)


def _trouble(facts: Facts) -> Iterator[RenderableType]:
    """Say why nothing runs, if so."""
    if facts.settings.locked:
        text = "the autocron lock is on: nothing runs in the background until `autocron DATABASE set locked off`"
        yield Text(f"\n{text}", style="yellow")
    elif facts.node is None and facts.node_pid is None:
        where = " for this user on this machine" if is_url(facts.database) else ""
        yield Text(f"\nno node works on it{where} now: jobs run when an application starts one", style="yellow")
    if facts.node is None and facts.node_pid is not None:
        yield Text(f"\nnode {facts.node_pid} is there, but does not answer", style="red")


def _processes(node: Status, now: float) -> RenderableType:
    up = duration(now - node.started_at)
    rows: list[tuple[object, ...]] = [("node", node.pid, f"{node.state}, up for {up}", "")]
    rows += [(_worker(worker.queue), worker.pid, worker.state, len(worker.jobs)) for worker in node.workers]
    rows += [("application", pid, "", "") for pid in node.applications]
    return section("processes", ("pid", "state", "jobs"), rows)


def _jobs(facts: Facts) -> RenderableType:
    counts = [f"{number} {state.value}" for state in State if (number := facts.jobs.get(state.value))]
    of_those_queued = [f"{facts.scheduled} due later"] * bool(facts.scheduled) + [f"{facts.held} parked"] * bool(
        facts.held
    )
    more = f" (of those queued: {', '.join(of_those_queued)})" if of_those_queued else ""
    return Text(f"\njobs: {', '.join(counts)}{more}" if counts else "\nno jobs")


def _worker(queue: str) -> str:
    return f"worker of {queue}" if queue else "worker"


def _queues(facts: Facts) -> RenderableType:
    rows = [(one.queue, one.due, one.later, one.running, _service(facts, one)) for one in facts.queues]
    return section("queues in use", ("due", "due later", "running", ""), rows)


def _service(facts: Facts, queue: QueueCounts) -> str:
    if queue.paused:
        return "paused"
    served = facts.settings.queues
    return "" if not served or queue.queue in served else "no workers here"


def _when(text: str) -> str:
    return f"{text} s" if text.startswith("every ") else text


def _next_run(one: ScheduleFacts, now: float) -> tuple[str, str]:
    if one.next_run is None:
        return ("paused" if one.paused else "never"), ""
    return _moment(one.next_run, one.tz), _in(one.next_run - now)


def _job_table(title: str, jobs: Sequence[StoredJob], column: str, value: Callable[[StoredJob], str]) -> RenderableType:
    return section(title, ("task", column), [(job.uuid, job.task, value(job)) for job in jobs])


def _moment(seconds: float, zone: str) -> str:
    return f"{datetime.fromtimestamp(seconds, ZoneInfo(zone)):%Y-%m-%d %H:%M:%S}"


def _in(seconds: float) -> str:
    return "now" if seconds <= 0 else f"in {duration(seconds)}"


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
