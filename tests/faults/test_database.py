"""The database is deleted or replaced while it is in use: everybody hears of it, nothing is written to a lost file."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def delete(database: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        database.with_name(database.name + ending).unlink(missing_ok=True)


def replace(database: Path) -> None:
    copy = database.with_name("copy")
    shutil.copy(database, copy)
    copy.replace(database)


def remove_log(database: Path) -> None:
    database.with_name(f"{database.name}-wal").unlink()


@pytest.mark.parametrize("damage", [delete, replace, remove_log])
def test_database_gone(lab: Any, damage: Callable[[Path], None]) -> None:
    app = lab.start(workers=2)
    assert app.ask("work(1).wait(10)") == 1
    app.ask("hold('gate') and None")
    lab.begun("gate")
    lab.ready(2)
    node = lab.node()
    damage(lab.database)
    with pytest.raises(Exception, match="StoreGone"):
        app.ask("work(2)")
    lab.until(lambda: node not in lab.processes(), 5, "the node ends")
    lab.until(lambda: "was deleted or replaced while it was in use" in lab.output() + lab.log())
    app.kill()
    lab.until(lambda: not lab.processes(), 10, "all processes end")
