"""The fixtures that users of pytest find, asked with a pytest of their own."""

import subprocess
import sys
from pathlib import Path

PLAIN = [f"-pno:{name}" for name in ("cacheprovider", "hypothesispytest", "anyio", "timeout")]  # it begins sooner
TASKS = """
from autocron import delay

@delay
def add(a, b):
    return a + b
"""
CONFTEST = """
import sys

def pytest_configure():
    assert "autocron.pytest_plugin" in sys.modules
    assert "autocron.testing" not in sys.modules  # nobody has used it
    assert "apsw" not in sys.modules
"""
TESTS = """
def test_inline(autocron_inline):
    from tasks import add
    assert add(1, 2).result == 3

def test_captured(autocron_captured):
    from tasks import add
    add(1, b=2)
    (call,) = autocron_captured
    assert (call.task, call.args, call.kwargs) == ("tasks.add", (1,), {"b": 2})

def test_drain(autocron_captured, autocron_drain):
    from tasks import add
    result = add(1, 2)
    assert autocron_drain() == 1
    assert result.result == 3
    assert len(autocron_captured) == 1
"""
UNITTEST = """
import unittest
from autocron.testing import captured, drain
from tasks import add

class Adding(unittest.TestCase):
    def setUp(self):
        self.calls = self.enterContext(captured())

    def test_it(self):
        result = add(1, 2)
        self.assertEqual(len(self.calls), 1)
        self.assertEqual(drain(), 1)
        self.assertEqual(result.result, 3)
"""


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_fixtures_are_there_also_in_parallel(tmp_path: Path) -> None:
    tmp_path.joinpath("tasks.py").write_text(TASKS)
    tmp_path.joinpath("conftest.py").write_text(CONFTEST)
    tmp_path.joinpath("test_it.py").write_text(TESTS)
    assert "3 passed" in run(tmp_path, "pytest", "-n", "2", *PLAIN)


def test_under_the_test_runner_of_django(tmp_path: Path) -> None:
    tmp_path.joinpath("tasks.py").write_text(f"import autocron\nautocron.start('never.db')\n{TASKS}")
    tmp_path.joinpath("settings.py").write_text("INSTALLED_APPS = []\nSECRET_KEY = 'x'\n")
    tmp_path.joinpath("test_it.py").write_text(UNITTEST)
    assert "OK" in run(tmp_path, "django", "test", "--settings=settings")
