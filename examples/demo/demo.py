"""What autocron is for, told line by line: `make demo`; with a page for a browser: `make demo-serve`.

A web application takes files, answers at once, and lets workers examine and mail them. One worker is killed in the
middle of its work. In the end every mail must have come; the exit status is 0 only if everything held.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from pathlib import Path
from statistics import median

import httpx
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
ROUNDS = 5  # each of the files is uploaded so often
VICTIM = 9
MAIL_SECONDS = 0.3  # a mail server takes its time
IN_WORK = 5  # uploads go on while fewer than so many are in work

console = Console(highlight=False, soft_wrap=True)
begin = time.monotonic()


@dataclass
class Mailbox:
    """A mail server that notes what came, and from which process."""

    victim: int | None  # the worker that hands over the mail of this number is killed
    arrived: Counter[str] = field(default_factory=Counter)  # by Message-ID
    processes: set[int] = field(default_factory=set)
    killed: int | None = None
    _handovers: int = 0

    async def handle_DATA(self, server: object, session: object, envelope: Envelope) -> str:  # noqa: N802
        message = message_from_bytes(envelope.content, policy=policy.default)
        worker, node = map(int, message["X-Process"].split())
        self.processes |= {worker, node}
        self._handovers += 1
        if self._handovers == self.victim:
            self._kill(worker, message["Subject"])
        await asyncio.sleep(MAIL_SECONDS)  # cancelled when the sender dies: the mail is not accepted then
        self.arrived[message["Message-ID"]] += 1
        tell(f"mail {len(self.arrived):2} from worker {worker}: {message['Subject']}")
        return "250 OK"

    def _kill(self, worker: int, subject: str) -> None:
        os.kill(worker, signal.SIGKILL)
        self.killed = worker
        tell(f"[bold red]kill -9 {worker}[/], the worker that is just handing over {subject!r}")


@dataclass(frozen=True)
class Upload:
    message_id: str
    milliseconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serve", action="store_true", help="stay, for a browser, until Ctrl-C")
    parser.add_argument("--port", type=int, default=0, help="of the web application (a free one)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # end by the same way as otherwise: nothing stays behind
    victim = None if options.serve else VICTIM
    with tempfile.TemporaryDirectory(prefix="autocron-demo-") as folder, mail_server(victim) as (mailbox, mail_port):
        port = options.port or free_port()
        with web_application(Path(folder), port, mail_port, mailbox) as client:
            if options.serve:
                return serve(client)
            uploads = upload_everything(client, mailbox)
            seen = wait_for_the_rest(client, mailbox, uploads)
        checks = [
            *check_uploads(uploads, seen),
            *check_mails(uploads, mailbox),
            check_cron(Path(folder) / "stock.csv"),
            ("processes left behind", str(len(alive(mailbox.processes))), not alive(mailbox.processes)),
        ]
    return summarise(checks)


@contextlib.contextmanager
def mail_server(victim: int | None) -> Iterator[tuple[Mailbox, int]]:
    mailbox, port = Mailbox(victim), free_port()
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    tell(f"mail server on port {port}; it takes {MAIL_SECONDS} s for each mail")
    try:
        yield mailbox, port
    finally:
        controller.stop()


@contextlib.contextmanager
def web_application(folder: Path, port: int, mail_port: int, mailbox: Mailbox) -> Iterator[httpx.Client]:
    arguments = f"-m gunicorn -w 2 -b 127.0.0.1:{port} --log-level warning app:app".split()
    settings = {
        "HOME": str(folder),  # gunicorn keeps a socket there
        "AUTOCRON_HOME": str(folder / "home"),
        "DEMO_FOLDER": str(folder),
        "MAIL_PORT": str(mail_port),
    }
    server = subprocess.Popen([sys.executable, *arguments], cwd=HERE, env=os.environ | settings, start_new_session=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            if not until(lambda: answers(client), 20):
                sys.exit("The web application does not answer.")
            tell(f"web application on http://127.0.0.1:{port}: gunicorn with 2 processes, autocron with 2 workers")
            yield client
    finally:
        server.terminate()
        server.wait()
        tell("the web application has ended")
        until(lambda: not alive(mailbox.processes), 15)


def upload_everything(client: httpx.Client, mailbox: Mailbox) -> list[Upload]:
    uploads: list[Upload] = []
    for file in sorted((HERE / "files").iterdir()) * ROUNDS:
        until(lambda: len(uploads) - len(mailbox.arrived) < IN_WORK, 10)
        uploads.append(upload(client, file))
    return uploads


def upload(client: httpx.Client, file: Path) -> Upload:
    started = time.perf_counter()
    response = client.post("/uploads", files={"file": (file.name, file.read_bytes())}).raise_for_status()
    milliseconds = (time.perf_counter() - started) * 1000
    (record,) = response.json()
    tell(f"uploaded {file.name}: accepted after {milliseconds:.1f} ms as job {record['uuid']}")
    return Upload(f"<{record['upload']}@localhost>", milliseconds)


def wait_for_the_rest(client: httpx.Client, mailbox: Mailbox, uploads: list[Upload]) -> list[dict[str, object]]:
    tell(f"all {len(uploads)} files are uploaded, {len(mailbox.arrived)} mails have come so far")
    until(lambda: len(mailbox.arrived) == len(uploads), 20)
    until(lambda: all(seen["mail"] == "succeeded" for seen in client.get("/uploads").json()), 5)
    return client.get("/uploads").json()


def check_uploads(uploads: list[Upload], seen: list[dict[str, object]]) -> list[tuple[str, str, bool]]:
    times = [upload.milliseconds for upload in uploads]
    succeeded = sum(one["report"] == one["mail"] == "succeeded" for one in seen)
    again = sum(one["attempts"] > 1 for one in seen)
    return [
        ("answer to an upload", f"{median(times):.1f} ms (median), {max(times):.1f} ms (worst)", median(times) < 50),
        ("files uploaded, examined, mailed", f"{succeeded} of {len(uploads)}", succeeded == len(uploads)),
        ("begun again after the kill", str(again), again > 0),
    ]


def check_mails(uploads: list[Upload], mailbox: Mailbox) -> list[tuple[str, str, bool]]:
    lost = {upload.message_id for upload in uploads} - set(mailbox.arrived)
    twice = sum(count > 1 for count in mailbox.arrived.values())
    return [
        ("worker killed", f"process {mailbox.killed}", mailbox.killed is not None),
        ("mails lost", str(len(lost)), not lost),
        ("mails that came twice", str(twice), True),
    ]


def check_cron(stock: Path) -> tuple[str, str, bool]:
    moments = [float(line.split(",")[0]) for line in stock.read_text().splitlines()]
    seconds = round(moments[-1] - moments[0]) + 1
    return "cron job, every second", f"{len(moments)} runs in {seconds} s", abs(len(moments) - seconds) <= 1


def summarise(checks: list[tuple[str, str, bool]]) -> int:
    table = Table(title="What happened")
    for column in ("", "value", "as it should be"):
        table.add_column(column)
    for name, value, good in checks:
        table.add_row(name, value, "[green]yes[/]" if good else "[bold red]NO[/]")
    console.print(table)
    return 0 if all(good for _, _, good in checks) else 1


def serve(client: httpx.Client) -> int:
    for file in sorted((HERE / "files").iterdir()):
        upload(client, file)
    tell(f"[bold]open {client.base_url} in a browser[/]; Ctrl-C ends it")
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
    return 0


def tell(text: str) -> None:
    console.print(f"[dim]{time.monotonic() - begin:5.1f} s[/]  {text}")


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until it holds, but not longer than so many seconds; tell if it came to hold."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def answers(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return client.get("/").is_success
    return False


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if is_alive(pid)}


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # an ended process stays visible until its parent has asked for its status
    return not stat.exists() or stat.read_text().rpartition(") ")[2][0] != "Z"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
