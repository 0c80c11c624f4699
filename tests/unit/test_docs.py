"""The examples in the documentation run, and what it says about tests is so."""

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import pytest

from autocron import hooks, task
from autocron.app import App
from autocron.clock import SystemClock
from autocron.settings import wanted_settings
from autocron.task import Registry
from autocron.testing import captured

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    own = Registry()
    monkeypatch.setattr("autocron.app._app", App(own, SystemClock()))  # calls run here
    for module in (task, hooks):
        monkeypatch.setattr(module, "registry", own)
    return own


def test_examples_of_testing(registry: Registry) -> None:
    text = re.sub(r"<!-- not run.*?```.*?```", "", (DOCS / "testing.md").read_text(), flags=re.DOTALL)
    module = ModuleType("examples")
    for example in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(example, module.__dict__)
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    assert len(tests) == 4
    for test in tests:
        test()
    case = module.SigningUp("test_what_is_enqueued")
    result = case.run()
    assert result is not None
    assert result.wasSuccessful(), result


def test_the_example_of_schedules_at_run_time(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"<!-- run -->\s+```python\n(.*?)```", (DOCS / "cron.md").read_text(), re.DOTALL)
    with captured():
        exec(example, ModuleType("examples").__dict__)
    assert capsys.readouterr().out == "0 6 * * MON Europe/Berlin False queued\n"


def test_the_example_of_deploys(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"<!-- run -->\s+```python\n(.*?)```", (DOCS / "deploys.md").read_text(), re.DOTALL)
    exec(example, ModuleType("examples").__dict__)
    assert capsys.readouterr().out == "a@example.org: \n"
    assert list(registry.tasks) == ["shop.send_mail"]


def run_examples(name: str) -> None:
    module = ModuleType("examples")
    for example in re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(), re.DOTALL):
        exec(example, module.__dict__)


def test_examples_of_workflows(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    run_examples("workflows.md")
    assert capsys.readouterr().out.splitlines() == [
        "d.png@400",
        "News: <H1>EXAMPLE.ORG</H1>",
        "100",
        "failed",
        "cancelled",
    ]


def test_examples_of_tasks(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    run_examples("tasks.md")
    assert capsys.readouterr().out == "report 7\n"
    assert registry.tasks.keys() == {
        f"examples.{name}" for name in ("send_mail", "fetch", "charge", "publish", "transcode")
    }
    assert registry.schedules["examples.refresh"].expires == 30.0


def test_examples_of_running_jobs(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("autocron.start", lambda _, workers, **settings: wanted_settings(workers, "normal", settings))
    run_examples("jobs.md")
    said = "converting a\nconverting b\nconverting c\n2.0 3.0 c\nsending receipt for 7\n"
    assert capsys.readouterr().out == said
    assert registry.tasks.keys() == {"examples.convert", "examples.sell"}
    registry.tasks["examples.convert"](5)
    failed = "begin tell\nfailed: TypeError: 'int' object is not iterable\nend\n"
    assert capsys.readouterr().out == f"begin convert\n{failed}"


def test_examples_of_queues(registry: Registry) -> None:
    run_examples("queues.md")
    plans = {name.partition(".")[2]: task.plan.rules for name, task in registry.tasks.items()}
    assert plans.keys() == {"send_mail", "import_orders", "ask_service", "render", "export", "index"}
    assert (plans["send_mail"].placing.queue, plans["send_mail"].placing.priority) == ("mail", 10)


TEST = re.compile(r"\[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\)")
ON_EACH = {"sqlite", "postgres"}
ON_POSTGRES_ALONE = {"tests/process/test_postgres.py", "tests/process/test_transactions.py"}


def anchors(file: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def databases_of(files: set[str]) -> dict[tuple[str, str], set[str]]:
    """Give the tests in these files, each with the databases that are among its parameters."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-pno:cacheprovider", *sorted(files)]
    listed = subprocess.run(command, cwd=DOCS.parent, stdout=subprocess.PIPE, text=True, check=True).stdout
    found = defaultdict[tuple[str, str], set[str]](set)
    for file, name, parameters in re.findall(r"^(\S+)::(\w+)(.*)$", listed, re.MULTILINE):
        found[name, file] |= ON_EACH & set(re.split(r"\W", parameters))
    return found


def test_each_feature_is_proved_as_its_table_says() -> None:
    text = (DOCS / "features.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| [")]
    tests = databases_of({file for _, file in TEST.findall(text)})
    for feature, on_sqlite, on_postgres, under_kills in rows:
        assert TEST.search(on_sqlite), feature
        for test in TEST.findall(on_sqlite + on_postgres + under_kills):
            assert test in tests, (feature, test)
        if on_postgres == "the same":
            assert all(tests[test] == ON_EACH for test in TEST.findall(on_sqlite)), feature
        else:
            assert on_postgres == "–" or TEST.search(on_postgres), feature
        for name, file in TEST.findall(under_kills):
            assert tests[name, file] == ON_EACH or file in ON_POSTGRES_ALONE, feature


@pytest.mark.parametrize("file", sorted(DOCS.glob("*.md")), ids=lambda file: file.name)
def test_links_lead_somewhere(file: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL)):
        path, _, anchor = target.partition("#")
        if not target.startswith("http"):
            there = DOCS / path if path else file
            assert there.exists(), target
            assert not anchor or anchor in anchors(there), target
