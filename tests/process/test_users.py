"""Databases of other users: root only stores calls there."""

import os
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can use the database of another user")
NOBODY = 65534


def give(lab: Any, uid: int) -> None:
    for path in (lab.database.parent, *lab.database.parent.iterdir()):
        os.chown(path, uid, uid)


def test_what_root_has_stored_is_run_by_the_owner(lab: Any) -> None:
    lab.store.settings()
    give(lab, NOBODY)
    app = lab.launch("app.py")
    assert app.ask("autocron.start('test.db', 2)") is False
    uuid = app.ask("work(7).uuid")
    assert lab.job(uuid).state == "queued"
    assert "uid 65534" in lab.output()
    assert lab.background() == {}
    assert {path.stat().st_uid for path in lab.database.parent.iterdir()} == {NOBODY}
    give(lab, 0)
    lab.start()
    assert lab.ended(uuid).result == "7"


def test_root_is_no_node_in_the_foreground_either(lab: Any) -> None:
    lab.store.settings()
    give(lab, NOBODY)
    node = lab.launch("-m", "autocron", "test.db", "work", "tasks")
    assert node.wait() == 1
    assert "uid 65534" in lab.output()
    assert not [path for path in lab.database.parent.iterdir() if path.suffix in {".sock", ".lock"}]
