"""What the store promises about queued jobs that the code cannot run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from autocron.model import NewJob, QueuedCall, Requeued, Settings

if TYPE_CHECKING:
    from autocron.store.base import Store


def insert(store: Store, uuid: str, arguments: str = "[[],{}]", run_at: float = 10.0) -> None:
    assert store.insert(NewJob(uuid, "app.work", arguments, run_at, 5.0))


def test_queued_jobs_are_given_with_the_form_of_their_calls(store: Store) -> None:
    insert(store, "c", '[[1,{"x":2}],{"b":[],"a":null}]')
    insert(store, "a", run_at=1e9)
    insert(store, "running", "[[1],{}]", run_at=1.0)
    store.exchange([], 1, 5.0)
    store.hold({"c": "why"})
    first, second = QueuedCall("a", "app.work", None, 0), QueuedCall("c", "app.work", "why", 2, ("b", "a"))
    assert store.calls("", 2) == [first, second]
    assert store.calls("c", 9) == [QueuedCall("running", "app.work", None, None)]
    assert store.calls("running", 9) == []


@pytest.mark.parametrize("arguments", ["{", '{"a":1}', "[1,{}]", "[[],[]]", f'[["{"x" * 10_000}"],{{}}]'])
def test_what_cannot_be_told_is_left_to_the_worker(store: Store, arguments: str) -> None:
    insert(store, "a", arguments)
    assert store.calls("", 9) == [QueuedCall("a", "app.work", None, None)]


def test_only_queued_jobs_are_parked_and_let_go(store: Store) -> None:
    for uuid in ("a", "b", "c"):
        insert(store, uuid)
    store.exchange([], 1, 20.0)
    store.hold({"a": "why", "b": 'it\'s "so"', "unknown": "x"})
    assert {job.uuid: job.held for job in store.find("held", 9, 20.0)} == {"b": 'it\'s "so"'}
    assert [claim.uuid for claim in store.exchange([], 9, 20.0).claims] == ["c"]
    store.hold({"b": None})
    assert [claim.uuid for claim in store.exchange([], 9, 20.0).claims] == ["b"]


def test_a_known_task_lets_go_only_what_waited_for_it(store: Store) -> None:
    insert(store, "a")
    (claim,) = store.exchange([], 1, 20.0).claims
    reason = "its arguments do not fit: too many positional arguments"
    store.exchange([Requeued(claim.uuid, claim.attempt, None, reason, 0, 0, None, 0, False)], 0, 20.0)
    store.declare([], ["app"], [], ["app.work"], 20.0)
    assert store.exchange([], 9, 20.0).claims == []
    store.hold({"a": "unknown task 'app.work'"})
    store.declare([], ["app"], [], ["app.work"], 20.0)
    assert [claim.uuid for claim in store.exchange([], 9, 20.0).claims] == ["a"]


def test_the_mark_of_the_code_is_kept_and_is_no_setting(store: Store) -> None:
    assert store.checked_code() == ""
    store.set_checked_code("one")
    store.set_checked_code("two")
    assert store.checked_code() == "two"
    assert store.settings() == Settings()
    store.reset_settings()
    assert store.checked_code() == ""
