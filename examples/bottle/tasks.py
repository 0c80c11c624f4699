"""What the application does in the background."""

import os
import time
from pathlib import Path

import autocron

TITLE = "Monthly report"


@autocron.delay
def write_report(seconds: float) -> dict[str, object]:
    time.sleep(seconds)  # the work
    print(f"{TITLE}: written")
    return {"title": TITLE, "process": os.getpid(), "finished": time.time()}


@autocron.cron(every=1)  # each second, so that there is something to see; nightly at half past two is "30 2 * * *"
def heartbeat() -> None:
    with Path(os.environ.get("HEARTBEATS", "heartbeats.txt")).open("a") as file:
        print(time.time(), file=file)
