"""The maintenance of a database that cannot be maintained at the moment."""

from queue import Queue
from types import SimpleNamespace
from typing import Any, cast

import pytest

from autocron.clock import SystemClock
from autocron.errors import StoreError
from autocron.node import storage
from autocron.node.storage import MaintenanceThread


@pytest.mark.parametrize("error", [StoreError("the disk is full"), PermissionError("the log")])
def test_a_sync_that_failed_is_told_of_once_and_tried_again(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "RETRY_DELAY", 0.01)
    events: Queue[str] = Queue()
    failures = [error, error]

    def sync() -> None:
        if failures:
            raise failures.pop()
        events.put("synced")

    store = SimpleNamespace(sync=sync, checkpoint=lambda: None, prune=lambda *_: 0, close=lambda: None)
    maintenance = MaintenanceThread(cast("Any", store), SystemClock(), events.put)
    maintenance.touched()
    assert str(error) in events.get(timeout=5)
    assert events.get(timeout=5) == "synced"
    maintenance.close()
