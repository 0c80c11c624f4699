"""Imports go down only: a module may import from its own level or a lower one, as docs/architecture.md shows."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import autocron

ROOT = Path(autocron.__file__).parent
LEVELS = [
    {"control", "errors", "model", "clock", "names", "text", "version"},
    {"codec", "crontab", "failure", "kinds", "rates", "retry", "signatures", "slots", "timetable", "wire", "workflow"}
    | {"outbox", "permits"},
    {"store"},
    {"program", "terminal", "log", "launch", "bell", "link", "waiting"}
    | {
        "eventloop",
        "hooks",
        "inline",
        "job",
        "steps",
        "options",
        "placing",
        "result",
        "when",
        "task",
        "settings",
        "active",
        "app",
        "scheduling",
        "batch",
        "here",
    },
    {"node", "worker"},
    {"cli", "testing", "drainer", "pytest_plugin", "__init__", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}


def part(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def own_part(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "autocron":
            yield from (f"autocron.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield node.module or ""


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path: Path):
    used = {part(name) for name in imports(path) if name.split(".")[0] == "autocron"}
    wrong = {name for name in used - {own_part(path)} if LEVEL[name] > LEVEL[own_part(path)]}
    assert not wrong


@pytest.mark.parametrize(("one", "other"), [("node", "worker"), ("worker", "node")])
def test_node_and_worker_do_not_know_each_other(one: str, other: str):
    for path in (ROOT / one).rglob("*.py"):
        assert not [name for name in imports(path) if part(name) == other]


def test_only_the_clock_and_what_measures_durations_ask_for_the_date():
    for path in ROOT.rglob("*.py"):
        text = path.read_text()
        assert "datetime.now(" not in text, path
        assert "utcnow(" not in text, path
