"""The examples in the documentation run."""

import re
from pathlib import Path
from types import ModuleType

import pytest

from autocron import task
from autocron.app import App
from autocron.clock import SystemClock
from autocron.task import Registry

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    own = Registry()
    App(own, SystemClock())  # calls run here
    monkeypatch.setattr(task, "registry", own)
    return own


def test_examples_of_tasks(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    examples = re.findall(r"```python\n(.*?)```", (DOCS / "tasks.md").read_text(), re.DOTALL)
    module = ModuleType("examples")
    for example in examples:
        exec(example, module.__dict__)
    assert capsys.readouterr().out == "report 7\n"
    assert registry.tasks.keys() == {f"examples.{name}" for name in ("send_mail", "fetch", "charge", "publish")}
    assert registry.schedules["examples.refresh"].expires == 30.0
