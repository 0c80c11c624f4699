"""The small programs that show one feature each: they run, end by themselves, and tell what the documents say."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FEATURES = Path(__file__).parents[2] / "examples" / "features"
TOLD = {
    "retries.py": """
        fetched: <h1>Hello</h1>
          attempt 1: failed ConnectionError: example.org does not answer
          attempt 2: failed ConnectionError: example.org does not answer
          attempt 3: succeeded
        not counted: TaskTimeout: ran for longer than 0.5 s
    """,
    "limits.py": """
        two imports, one after the other: True
        3 edits, 1 job: home: Hello
    """,
    "workflow.py": """
        words: 6
          add: succeeded, 6
        cleaned up
        a sum without its page is cancelled
    """,
    "steps.py": """
        sent by attempt 2: receipt 7, by attempt 1
        attempts: ['crashed', 'succeeded']
    """,
    "progress.py": """
        converted 3 pages; the output was ['converting cover', 'converting preface', 'converting index']
    """,
    "queues.py": """
        the mail did not wait: mail to a@example.org
        the order of the reports: ['report 99', 'report 0', 'report 1', 'report 2']
    """,
    "hooks.py": """
        6 / 3 = 2.0
        what the hook around it printed: hooks.divide took 0.0 s
        what the hook after failed jobs has told: hooks.divide: ZeroDivisionError: division by zero
    """,
    "schedules.py": """
        report 7: every 1, UTC
        report 8: 0 6 * * MON, Europe/Berlin
        run now: report for 8
        it has fired
        paused: True
        schedules left: 0
    """,
}


def run(lab: Any, *command: str) -> str:
    words = [sys.executable, *command]
    return subprocess.run(
        words, cwd=lab.folder, env=lab.environ, stdout=subprocess.PIPE, text=True, timeout=60, check=True
    ).stdout


@pytest.mark.parametrize("name", TOLD)
def test_a_program(lab: Any, name: str) -> None:
    told = run(lab, str(FEATURES / name))
    lines = [line.strip() for line in told.splitlines()]
    for line in TOLD[name].strip().splitlines():
        assert any(one.startswith(line.strip()) for one in lines), told
    lab.until(lambda: not lab.background(), what="no process stays")


def test_a_file_of_tests(lab: Any) -> None:
    file = FEATURES / "test_sign_up.py"
    assert re.search(r"\b3 passed\b", run(lab, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(file)))


def test_each_program_is_run() -> None:
    assert {path.name for path in FEATURES.glob("*.py")} == {*TOLD, "test_sign_up.py"}
