"""The maintenance of a database that cannot be maintained at the moment, or that somebody reads for long."""

from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import Any, cast

import pytest

from autocron.clock import SystemClock
from autocron.errors import StoreError
from autocron.node import storage
from autocron.node.storage import LONG_LOG, LONG_READ, LogWatch, MaintenanceThread
from autocron.store.place import Place


@pytest.mark.parametrize("error", [StoreError("the disk is full"), PermissionError("the log")])
def test_a_sync_that_failed_is_told_of_once_and_tried_again(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "RETRY_DELAY", 0.01)
    events: Queue[str] = Queue()
    failures = [error, error]

    def sync() -> None:
        if failures:
            raise failures.pop()
        events.put("synced")

    store = SimpleNamespace(sync=sync, checkpoint=lambda: 0, prune=lambda *_: 0, close=lambda: None)
    clock, place = SystemClock(), Place.of_file(Path("jobs.db"))
    maintenance = MaintenanceThread(cast("Any", store), place, clock, lambda _, text: events.put(text))
    maintenance.sync()
    assert str(error) in events.get(timeout=5)
    assert events.get(timeout=5) == "synced"
    maintenance.close()


def test_a_long_reader_is_reported_once_until_it_is_gone():
    watch = LogWatch()
    for now in (0.0, 100.0):
        assert not watch.look(LONG_LOG, now)
        assert not watch.look(LONG_LOG, now + LONG_READ - 1)
        assert "has grown to 128 MiB and could not be shortened for 12 s" in watch.look(2 * LONG_LOG, now + 12)
        assert not watch.look(3 * LONG_LOG, now + 1000)
        assert not watch.look(LONG_LOG - 1, now + 1001)


def test_bursts_are_no_reader():
    watch = LogWatch()
    assert not watch.look(LONG_LOG, 0.0)
    assert not watch.look(0, LONG_READ - 1)
    assert not watch.look(LONG_LOG, LONG_READ)
