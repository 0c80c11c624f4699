"""Real servers, started in a shell's way, asked over HTTP, with everything of theirs in one temporary folder."""

import contextlib
import fcntl
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

ROOT = Path(__file__).parents[2]
T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float, what: str = "") -> T:
    """Give the first true value of the condition; a server that does not answer at the moment counts as false."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if value := condition():
                return value
        time.sleep(0.02)
    pytest.fail(f"not within {seconds} s: {what or condition}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A program in a copy of its folder, started by a command line."""

    def __init__(self, folder: Path, program: Path, command: str, bin_folder: Path) -> None:
        self.code = folder / "code"
        self.heartbeats_file = folder / "heartbeats"
        self._output_file = folder / "output"
        shutil.copytree(program, self.code, ignore=shutil.ignore_patterns("__pycache__", "heartbeats.txt"))
        self._mark = uuid.uuid4().hex
        self._process: subprocess.Popen[bytes] | None = None
        port = free_port()
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False)
        self._command = [argument.format(port=port) for argument in shlex.split(command)]
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "AUTOCRON_HOME": str(folder / "autocron"),
            "HEARTBEATS": str(self.heartbeats_file),
            "PORT": str(port),
            "MARK": self._mark,
        }

    def start(self) -> None:
        with self._output_file.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.code,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(self._answers, 30, "the server answers")

    def _answers(self) -> bool:
        assert self._process.poll() is None, f"the server ended by itself: {self.output()}"
        return self._client.get("/reports/unknown").status_code == 404

    def order(self, seconds: float) -> str:
        """Order a report that takes so many seconds to write; give its uuid."""
        response = self._client.post("/reports", params={"seconds": seconds}).raise_for_status()
        return str(response.json()["uuid"])

    def report(self, uuid: str) -> dict[str, Any]:
        return dict(self._client.get(f"/reports/{uuid}").raise_for_status().json())

    def written_report(self, seconds: float = 0) -> dict[str, Any]:
        """Order a report, wait until it is written, and give what it says."""
        ordered = self.order(seconds)
        report = wait_until(lambda: self.report(ordered)["result"], seconds + 20, "the report is written")
        return dict(report)

    def heartbeats(self) -> list[float]:
        return sorted(map(float, self.heartbeats_file.read_text().split())) if self.heartbeats_file.exists() else []

    def output(self) -> str:
        return self._output_file.read_text(errors="replace")

    def change(self, file: str, old: str, new: str) -> None:
        """Edit a source file of the running program."""
        source = self.code / file
        text = source.read_text()
        assert old in text
        draft = source.with_suffix(".draft")
        draft.write_text(text.replace(old, new))
        draft.replace(source)  # no reloader sees half a file

    def processes(self) -> dict[int, str]:
        """Give every process that came from this server, with its command line."""
        return {pid: command for pid in running_pids() if (command := command_of(pid, self._mark))}

    def nodes(self) -> list[int]:
        return [pid for pid, command in self.processes().items() if "-m autocron.node" in command]

    def workers(self) -> set[int]:
        return {pid for pid, command in self.processes().items() if "-m autocron.worker" in command}

    def end(self, ending: signal.Signals) -> None:
        """Send the signal to the processes that a terminal or a service manager would send it to."""
        os.killpg(self._process.pid, ending)
        self._process.wait(15)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wipe_out(self) -> None:
        """Leave no process behind, whatever happened."""
        self._client.close()
        while left := self.processes():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self._process:
            self._process.wait()


def running_pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def command_of(pid: int, mark: str) -> str | None:
    """Give the command line of a living process whose environment has the mark."""
    proc = Path(f"/proc/{pid}")
    with contextlib.suppress(OSError):
        if mark.encode() in (proc / "environ").read_bytes():
            return (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return None


@pytest.fixture
def until() -> Callable[..., Any]:
    return wait_until


@pytest.fixture
def serve(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Server]]:
    """Start `command` in a copy of `folder`; `old_starlette` starts it where Starlette is older than 1.0."""
    with contextlib.ExitStack() as started:

        def start(folder: str, command: str, *, old_starlette: bool = False) -> Server:
            bin_folder = request.getfixturevalue("old_starlette_bin") if old_starlette else Path(sys.executable).parent
            server = Server(tmp_path, ROOT / folder, command, bin_folder)
            started.callback(lambda: print(server.output()))  # pytest shows it when the test has failed
            started.callback(server.wipe_out)
            server.start()
            return server

        yield start


@pytest.fixture(scope="session")
def old_starlette_bin() -> Path:
    """Make an environment with a Starlette that still has `on_startup`, once until the project's needs change."""
    folder = ROOT / ".venv" / "starlette0"
    ready = folder / ".ready"
    with (ROOT / ".venv" / "starlette0.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists() or ready.stat().st_mtime < (ROOT / "pyproject.toml").stat().st_mtime:
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            install = [folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*install, "starlette<1", "uvicorn", "--editable", ROOT], check=True)
            ready.touch()
    return folder / "bin"
