"""What a check has found, and how it is shown."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from autocron.cli.render import headline
from autocron.text import printable


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}


class Finding(msgspec.Struct, frozen=True):
    """One line of what the doctor says.

    Attributes:
        level: how bad it is.
        about: what was looked at, in a word.
        what: what was found.
        next: what to do about it; empty when there is nothing to do.
    """

    level: Level
    about: str
    what: str
    next: str = ""


def ok(about: str, what: str) -> Finding:
    """Say that something is as it should be."""
    return Finding(Level.OK, about, what)


def warning(about: str, what: str, then: str = "") -> Finding:
    """Say that something deserves a look."""
    return Finding(Level.WARNING, about, what, then)


def problem(about: str, what: str, then: str = "") -> Finding:
    """Say that something does not work."""
    return Finding(Level.PROBLEM, about, what, then)


def is_ill(findings: Sequence[Finding]) -> bool:
    """Is there a problem among these?"""
    return any(one.level is Level.PROBLEM for one in findings)


def rendered(database: str, findings: Sequence[Finding]) -> RenderableType:
    """Show the findings of a database, each with its level as a word: colours may be missing."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for one in findings:
        what = Text(printable(one.what), overflow="fold")
        if one.next:
            what.append(f"\n→ {printable(one.next)}", style="bold")
        table.add_row(Text(one.level, style=COLOURS[one.level]), one.about, what)
    return Group(headline(database), Text(), table, Text(), _sum(findings))


def _sum(findings: Sequence[Finding]) -> Text:
    parts = list[str]()
    for level in (Level.PROBLEM, Level.WARNING):
        if count := sum(one.level is level for one in findings):
            parts.append(f"{count} {level}{'s' if count > 1 else ''}")
    worst = next(
        (level for level in (Level.PROBLEM, Level.WARNING) if any(f.level is level for f in findings)), Level.OK
    )
    return Text(", ".join(parts) or "nothing is wrong", style=COLOURS[worst])
