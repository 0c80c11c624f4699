"""What every job of every peer does, and where it does it."""

import os
import struct
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ["PEER_FOLDER"])  # of this one run
URL = os.environ["PEER_URL"]  # of the server, if the peer needs one
VARIANT = os.environ["PEER_VARIANT"]
DATABASE = FOLDER / "jobs.db"
RECORD = struct.Struct("<qq")  # the number of the job, nanoseconds since the epoch

_records = os.open(FOLDER / "records", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def record(number: int) -> None:
    os.write(_records, RECORD.pack(number, time.time_ns()))


def job(number: int, nap: float = 0.0) -> None:
    """Leave a record; with a nap, sleep so many seconds and leave a second one, of the negative number.

    Coroutines call it, too: a nap that others could use would have all jobs of a worker end at the same moment.
    """
    record(number)
    if nap:
        time.sleep(nap)
        record(-number)


def run(command: str, *arguments: str, copies: int = 1) -> None:
    """Run a command of this environment, in so many processes, until they end."""
    path = str(Path(sys.executable).with_name(command))
    processes = [subprocess.Popen([path, *arguments]) for _ in range(copies)]
    for process in processes:
        process.wait()
