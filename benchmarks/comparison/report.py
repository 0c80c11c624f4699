"""The report: one page of Markdown with tables, and bar charts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from .chart import Bar, chart

Results = dict[str, Any]  # of one peer
Row = list[str]
NONE = "–"
YARDSTICK = "bare_sqlite"
ORDER = (
    "autocron_2-normal",
    "autocron_2",
    "autocron_1",
    "huey",
    "django",
    "celery",
    "dramatiq",
    "rq",
    "saq",
    "autocron_postgres",
    "procrastinate",
    "pgqueuer",
    "oban",
)


@dataclass(frozen=True)
class Column:
    """A figure of a measurement, and how it is written."""

    title: str
    measurement: str
    figure: str
    form: Callable[[float], str]

    def values(self, results: Results) -> list[float]:
        return [run[self.figure] for run in results.get(self.measurement, []) if self.figure in run]

    def cell(self, results: Results) -> str:
        if any("wrong" in run for run in results.get(self.measurement, [])):
            return "wrong"
        values = self.values(results)
        return self.form(median(values)) if values else NONE

    def bar(self, results: Results) -> float | None:
        return median(self.values(results)) if self.cell(results) not in ("wrong", NONE) else None


def rate(value: float) -> str:
    return f"{value:,.0f}"


def micro(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f}"


def milli(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f}" if seconds < 0.1 else f"{seconds * 1e3:,.0f}"


def percent(part: float) -> str:
    return f"{part:.2%}".replace("%", " %")


CALLS = [
    Column("calls/s", "one_worker", "enqueue", rate),
    Column("call p50 µs", "one_worker", "p50", micro),
    Column("call p99 µs", "one_worker", "p99", micro),
    Column("bulk jobs/s", "bulk", "rate", rate),
    Column("1 worker jobs/s", "one_worker", "drain", rate),
    Column("2 workers jobs/s", "two_workers", "drain", rate),
]
LATENCIES = [
    Column("idle p50", "idle_latency", "p50", milli),
    Column("idle p99", "idle_latency", "p99", milli),
    Column("100/s p50", "steady_100", "p50", milli),
    Column("100/s p99", "steady_100", "p99", milli),
    Column("1,000/s p50", "steady_1000", "p50", milli),
    Column("1,000/s p99", "steady_1000", "p99", milli),
    Column("call under load p99", "load", "p99", milli),
    Column("call under load max", "load", "max", milli),
]
REST = [
    Column("idle: workers", "idle_cost", "workers", percent),
    Column("idle: server", "idle_cost", "server", percent),
    Column("killed: ended", "crash", "ended", rate),
    Column("not ended", "crash", "lost", rate),
    Column("begun again", "crash", "twice", rate),
]
BARE = [
    Column("insert/s, synchronous=NORMAL", "yardstick", "normal_rate", rate),
    Column("p50 µs", "yardstick", "normal_p50", micro),
    Column("p99 µs", "yardstick", "normal_p99", micro),
    Column("insert/s, synchronous=FULL", "yardstick", "full_rate", rate),
    Column("p50 µs", "yardstick", "full_p50", micro),
    Column("p99 µs", "yardstick", "full_p99", micro),
    Column("claim and finish one by one, jobs/s", "yardstick", "one", rate),
    Column("in batches of 100, jobs/s", "yardstick", "hundred", rate),
]


def write(everything: dict[str, Results], folder: Path) -> None:
    """Write peers.md and its charts into a folder, and print the tables."""
    bare = everything.pop(YARDSTICK, {})
    peers = [everything[name] for name in sorted(everything, key=place)]
    measured = [peer for peer in peers if "skipped" not in peer]
    if not measured:
        return
    text = page(measured, [peer for peer in peers if "skipped" in peer], bare)
    (folder / "peers.md").write_text(text)
    for name, drawing in charts(measured).items():
        (folder / f"peers-{name}.svg").write_text(drawing)
    print(text)
    print(f"written to {folder}")


def place(name: str) -> tuple[int, str]:
    return next((index for index, start in enumerate(ORDER) if name.startswith(start)), len(ORDER)), name


def page(measured: list[Results], skipped: list[Results], bare: Results) -> str:
    machines = sorted({peer["machine"] for peer in measured})
    parts = [
        "# Beside other libraries: the figures",
        "Written by `make bench-peers`. [What it costs](performance.md#beside-other-libraries) tells what is measured"
        " and how to read it.",
        f"Machine: {'; '.join(machines)}.",
        "## Calls, and jobs that do nothing",
        table(measured, CALLS),
        "## Latency in milliseconds",
        table(measured, LATENCIES),
        "## Idle, and killed",
        table(measured, REST),
        "## Bare SQLite",
        "Autocron's rows, one process, no library; write-ahead log, claims with synchronous=NORMAL.",
        table([bare], BARE) if bare else "",
        "## What was measured, and how it was set",
        settings(measured),
        *wrongs(measured),
        *[f"- **{peer['title']}** was skipped: {peer['skipped']}." for peer in skipped],
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(peers: list[Results], columns: list[Column]) -> str:
    titles = ["", *(column.title for column in columns)]
    return grid(titles, [[peer["title"], *(column.cell(peer) for column in columns)] for peer in peers])


def grid(titles: Row, rows: list[Row]) -> str:
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def settings(peers: list[Results]) -> str:
    titles = ["", "version", "Python", "store", "on power loss", "settings"]
    keys = ("title", "version", "python", "store", "durability", "settings")
    lines = [titles, ["---"] * len(titles), *([peer[key] for key in keys] for peer in peers)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def wrongs(peers: list[Results]) -> list[str]:
    """Tell why there is no figure, and which calls raised."""
    lines = []
    for peer in peers:
        for name, runs in peer.items():
            for run in runs if isinstance(runs, list) else []:
                if "wrong" in run:
                    lines.append(f"- {peer['title']}, {name}: {run['wrong']}.")
                if run.get("errors"):
                    lines.append(f"- {peer['title']}, {name}: {len(run['errors'])} calls raised {run['errors'][0]}.")
    return ["\n".join(lines)] if lines else []


def charts(peers: list[Results]) -> dict[str, str]:
    return {
        "calls": chart("Calls per second, one process", bars(peers, CALLS[0])),
        "jobs": chart("Jobs per second, 2 worker processes", bars(peers, CALLS[5])),
        "latency": chart(
            "From call to function, idle, median, milliseconds", bars(peers, LATENCIES[0]), logarithmic=True
        ),
        "idle": chart("Processor while idle, workers and server, parts of a core", idle_bars(peers), logarithmic=True),
    }


def bars(peers: list[Results], column: Column) -> list[Bar]:
    return [Bar(peer["title"], column.bar(peer), column.cell(peer)) for peer in peers]


def idle_bars(peers: list[Results]) -> list[Bar]:
    both = [[column.bar(peer) for column in REST[:2]] for peer in peers]
    sums = [sum(part for part in parts if part is not None) or None for parts in both]
    return [
        Bar(peer["title"], value, percent(value) if value else NONE) for peer, value in zip(peers, sums, strict=True)
    ]
