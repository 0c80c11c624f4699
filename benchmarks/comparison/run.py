"""One run of a peer: an empty store, its workers, its producers, and the records that its jobs leave."""

import json
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from . import processes
from .peer import FILES, Peer
from .servers import Server

RECORD = struct.Struct("<qq")
PATIENCE = 60.0  # seconds for anything


class Wrong(Exception):
    """Why there is no figure."""


@dataclass(frozen=True)
class Record:
    number: int
    at: float  # seconds since the epoch


class Run:
    """An empty store of one peer. Use `run_of`."""

    def __init__(self, peer: Peer, server: Server, folder: Path) -> None:
        self.peer, self.server, self.folder = peer, server, folder
        self.role = f"{peer.name}-{folder.name}"
        self.environment = os.environ | {
            "PYTHONPATH": str(FILES),
            "PEER_FOLDER": str(folder),
            "PEER_URL": server.fresh(),
            "PEER_VARIANT": peer.variant,
        }
        self.drive("setup")

    # Producers

    def start(self, *words: Any) -> "subprocess.Popen[str]":
        """Start a process of the peer, which prints what it measured."""
        with (self.folder / "producer.log").open("a") as log:
            return self.driver(words, self.environment, stdout=subprocess.PIPE, stderr=log)

    def driver(self, words: tuple[Any, ...], environment: dict[str, str], **streams: Any) -> "subprocess.Popen[str]":
        name, *arguments = words
        command = [self.peer.python, FILES / "driver.py", self.peer.file.stem, name, *map(json.dumps, arguments)]
        return subprocess.Popen(command, env=environment, cwd=self.folder, text=True, **streams)

    def answer(self, process: "subprocess.Popen[str]") -> Any:
        """Wait for a producer and give what it measured."""
        try:
            output, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Wrong(f"the producer took more than {PATIENCE:.0f} s") from None
        if process.returncode:
            raise Wrong(f"the producer failed: {self.last_line('producer.log')}")
        return json.loads(output.splitlines()[-1])

    def drive(self, *words: Any) -> Any:
        return self.answer(self.start(*words))

    def last_line(self, log: str) -> str:
        return ((self.folder / log).read_text().strip().splitlines() or ["it said nothing"])[-1][:200]

    # Workers

    @contextmanager
    def workers(self, count: int) -> Iterator[None]:
        """Have workers; in the end they are killed."""
        environment = self.environment | {processes.ROLE: self.role}
        with (self.folder / "worker.log").open("a") as log:
            process = self.driver(("serve", count), environment, stdout=log, stderr=log)
        try:
            yield
        finally:
            processes.kill_role(self.role)
            process.wait()

    def worker_processes(self) -> list[int]:
        return processes.of_role(self.role)

    # Records

    def records(self) -> list[Record]:
        """Give what the jobs have left, in the order in which they left it."""
        path = self.folder / "records"
        data = path.read_bytes() if path.exists() else b""
        return [Record(number, at / 1e9) for number, at in RECORD.iter_unpack(data)]

    def count(self) -> int:
        path = self.folder / "records"
        return path.stat().st_size // RECORD.size if path.exists() else 0

    def wait_for(self, count: int, patience: float = PATIENCE) -> bool:
        """Wait until there are so many records; tell whether there are."""
        deadline = time.monotonic() + patience
        while self.count() < count:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def wait_for_all(self, count: int) -> list[Record]:
        """Wait until all jobs have run; raise if one did not, or one ran twice."""
        complete = self.wait_for(count)
        records = self.records()
        numbers = {record.number for record in records}
        if not complete or len(records) != count or len(numbers) != count:
            raise Wrong(f"{len(records)} runs of {len(numbers)} jobs where {count} were called")
        return records


@contextmanager
def run_of(peer: Peer, server: Server) -> Iterator[Run]:
    with TemporaryDirectory(prefix="peers-", ignore_cleanup_errors=True) as folder:
        yield Run(peer, server, Path(folder))
