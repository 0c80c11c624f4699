"""Which queued jobs are parked, and let go, when other code is deployed."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autocron import wire
from autocron.model import NewJob, QueuedCall, Requeued
from autocron.node import deploys
from autocron.node.access import StoreAccess
from autocron.node.deploys import Deploys, verdict
from autocron.signatures import describe
from autocron.store.base import Store
from autocron.store.sqlite import open_store


def report(tasks: dict[str, str], mtime: float, imported: tuple[str, ...] = ("app",)) -> wire.Report:
    return wire.Report(
        tasks=tasks,
        async_tasks=[],
        failure_hooks={},
        schedules=[],
        imported=[*imported],
        missing=[],
        errors={},
        sources={"app.py": mtime},
    )


class Time:
    moment = 100.0

    def now(self) -> float:
        return self.moment

    def monotonic(self) -> float:
        return self.moment


class AtOnce:
    """Works at once, or in so many seconds."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.number = 0
        self.time = Time()
        self.seconds = 0.0

    def submit(self, work: Callable[[Store], Any], done: Callable[[Any], None]) -> None:
        self.number += 1
        result = work(self.store)
        self.time.moment += self.seconds
        done(result)


class Node:
    """As much of one as is needed."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.generation = 1
        self.said: list[str] = []
        self.released = 0
        self.thread = AtOnce(store)
        self.time = self.thread.time
        access = StoreAccess(self.thread, self.time, lambda *_: None, lambda: None)
        self.deploys = Deploys(access, lambda: self.generation, self.time, self.say, self.release)

    def say(self, level: int, text: str) -> None:
        assert level == logging.ERROR
        self.said.append(text)

    def release(self) -> None:
        self.released += 1

    def deploy(self, *functions: Callable[..., Any], mtime: float = 1.0) -> int:
        """Give the number of batches that were checked."""
        tasks = {function.__name__: describe(function) for function in functions}
        self.deploys.reported(report(tasks, mtime))
        return self.check()

    def check(self) -> int:
        before = self.thread.number
        for _ in range(99):
            self.deploys.check()
        return self.thread.number - before

    def held(self) -> dict[str, str]:
        return {job.uuid: job.held for job in self.store.find("held", 99, 0.0) if job.held}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(deploys, "BATCH", 2)
    opened = open_store(tmp_path / "jobs.db")
    yield opened
    opened.close()


@pytest.fixture
def node(store: Store) -> Node:
    return Node(store)


def mail(address: str, text: str = "") -> None: ...
def count() -> None: ...


def new_mail() -> Callable[..., Any]:
    def mail(address: str, *, subject: str) -> None: ...

    return mail


def insert(store: Store, uuid: str, task: str = "mail", arguments: str = '[["a"],{}]', run_at: float = 10.0) -> None:
    assert store.insert(NewJob(uuid, task, arguments, run_at, 5.0))


def claimed(store: Store) -> list[str]:
    return [claim.uuid for claim in store.exchange([], 99, 20.0).claims]


def test_what_does_not_fit_is_parked_before_it_is_due_and_let_go_when_it_fits(node: Node, store: Store) -> None:
    for number in range(5):
        insert(store, f"old {number}", run_at=1e9)
    insert(store, "new", arguments='[["a"],{"subject":"s"}]', run_at=1e9)
    node.deploy(mail, count)
    assert node.held().keys() == {"new"}
    assert node.released == 0
    node.generation += 1
    node.deploy(new_mail(), count)
    assert node.held() == dict.fromkeys(
        [f"old {number}" for number in range(5)], "its arguments do not fit: missing a required argument: 'subject'"
    )
    assert node.released == 1
    assert "mail: its arguments do not fit: missing a required argument: 'subject': 5 jobs" in node.said[-1]
    node.generation += 1
    node.deploy(mail, count, mtime=2.0)
    assert node.held().keys() == {"new"}


def test_jobs_whose_task_is_unknown_are_parked_until_it_is_known(node: Node, store: Store) -> None:
    insert(store, "a", "count", "[[],{}]")
    insert(store, "b")
    node.deploy(mail)
    assert node.held() == {"a": "unknown task 'count'"}
    assert claimed(store) == ["b"]
    node.deploy(mail, count)  # of the same generation: a module was imported later
    assert node.held() == {}
    assert claimed(store) == ["a"]


def test_who_has_imported_nothing_yet_parks_nothing(node: Node, store: Store) -> None:
    insert(store, "a")
    node.deploys.reported(report({}, 1.0, imported=()))
    assert node.check() == 0
    assert (node.held(), node.said) == ({}, [])


def test_workers_of_a_generation_add_up(node: Node, store: Store) -> None:
    insert(store, "a", "count", "[[],{}]")
    node.deploy(mail, count)
    assert node.deploy(mail) == 0
    assert node.held() == {}
    node.generation += 1
    node.deploy(mail)
    assert node.held().keys() == {"a"}


def test_code_that_was_there_at_the_last_check_is_not_checked_again(node: Node, store: Store) -> None:
    for number in range(8):
        insert(store, str(number))
    assert node.deploy(mail) == 5
    assert Node(store).deploy(mail) == 1  # only the mark is read
    assert Node(store).deploy(mail, mtime=2.0) == 5
    assert Node(store).deploy(mail, count, mtime=2.0) == 5


def test_a_check_that_was_not_finished_is_begun_again(node: Node, store: Store) -> None:
    for number in range(8):
        insert(store, str(number), arguments="[[],{}]")
    node.deploys.reported(report({"mail": describe(mail)}, 1.0))
    node.deploys.check()
    assert len(node.held()) == 2
    other = Node(store)
    other.deploy(mail)
    assert len(node.held()) == 8


def test_a_check_takes_a_small_part_of_the_time(node: Node, store: Store) -> None:
    for number in range(6):
        insert(store, str(number), arguments="[[],{}]")
    node.thread.seconds = 0.5
    node.deploys.reported(report({"mail": describe(mail)}, 1.0))
    assert node.deploys.next_look() == [0.0]
    assert node.check() == 1
    assert node.deploys.next_look() == [105.5]
    node.time.moment = 105.4
    assert node.check() == 0
    node.time.moment = 105.5
    assert node.check() == 1
    assert len(node.held()) == 4
    node.time.moment = node.deploys.next_look()[0]
    node.thread.seconds = 0.0
    assert node.check() == 2
    assert len(node.held()) == 6
    assert node.deploys.next_look() == []


def test_what_a_worker_could_not_read_is_tried_with_other_code(node: Node, store: Store) -> None:
    insert(store, "a")
    node.deploy(mail)
    (claim,) = store.exchange([], 1, 20.0).claims
    held = "its arguments cannot be read: no class Point"
    store.exchange([Requeued(claim.uuid, claim.attempt, None, held, 0, 0, None, 0, False)], 0, 20.0)
    Node(store).deploy(mail)
    assert node.held() == {"a": held}
    Node(store).deploy(mail, mtime=2.0)
    assert claimed(store) == ["a"]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (QueuedCall("a", "mail", None, 1), None),
        (QueuedCall("a", "mail", None, 0), "its arguments do not fit: missing a required argument: 'address'"),
        (QueuedCall("a", "mail", "unknown task 'mail'", 1), None),
        (QueuedCall("a", "mail", "somebody else has parked it", 1), "somebody else has parked it"),
        (QueuedCall("a", "mail", None, None), None),
        (QueuedCall("a", "gone", None, None), None),
        (QueuedCall("a", "mail", None, 0, ("$pairs",)), None),
        (QueuedCall("a", "gone", "its arguments do not fit: x", 1), "unknown task 'gone'"),
    ],
)
def test_verdicts(call: QueuedCall, expected: str | None) -> None:
    assert verdict(call, {"mail": describe(mail)}) == expected
