# /// script
# requires-python = ">=3.11"
# dependencies = ["huey==3.5.4"]
#
# [tool.peer]
# title = "Huey"
# package = "huey"
# store = "sqlite"
#
# [tool.peer.variants.default]
# title = "Huey, SqliteHuey"
# durability = "WAL, synchronous=FULL (SQLite's default)"
# settings = """\
#     defaults (results are stored unless they are None; idle workers look after 0.1 s, then more and more \
#     seldom); `-k process`"""
#
# [tool.peer.variants.tuned]
# title = "Huey, SqliteHuey, tuned"
# durability = "WAL, synchronous=OFF: not safe on power loss"
# settings = "`fsync=False, results=False`; `-k process --delay 0.05 --max-delay 0.05`"
# ///
"""Huey on SQLite."""

import work
from huey import SqliteHuey

TUNED = work.VARIANT == "tuned"

huey = SqliteHuey(filename=str(work.DATABASE), **({"fsync": False, "results": False} if TUNED else {}))
job = huey.task()(work.job)


def serve(workers: int) -> None:
    polling = ["--delay", "0.05", "--max-delay", "0.05"] if TUNED else []
    work.run("huey_consumer", "huey_sqlite.huey", "-k", "process", "-w", str(workers), "--quiet", *polling)


def enqueue(number: int, nap: float) -> None:
    job(number, nap)
