import os
import time
from pathlib import Path

import autocron

TITLE = "Monthly report"


@autocron.delay
def write_report(seconds):
    time.sleep(seconds)
    print(f"{TITLE}: written")
    return {"title": TITLE, "process": os.getpid(), "finished": time.time()}


@autocron.cron(every=1)
def heartbeat():
    with Path(os.environ["HEARTBEATS"]).open("a") as file:
        print(time.time(), file=file)
