"""Calls in the application's own transactions on PostgreSQL, with a node that runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from autocron.store.postgres_url import canonical, for_libpq

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Lab

    Run = Callable[[str], list[tuple[object, ...]]]

SHOP = """
import psycopg
from contextlib import closing

def connect():
    global connection
    connection = psycopg.connect({url!r})

def order(*numbers):
    connection.execute("select 1")
    with autocron.transaction(connection):
        return work.map(numbers)[-1]

def roll_back():
    connection.rollback()

def commit():
    connection.commit()

def follow(first):
    connection.execute("select 1")
    with autocron.transaction(connection):
        return work(first.later)

@delay
def hold():
    while not os.path.exists("go"):
        time.sleep(0.01)
    return 1

def sell(number):
    result = order(number)
    connection.commit()
    return result

@delay
def resell(number):
    connect()
    with closing(connection):
        return sell(number).uuid
"""


@pytest.fixture
def shop(machine: Callable[[], Lab], postgres: str) -> Lab:
    lab = machine()
    lab.add("tasks.py", SHOP.format(url=for_libpq(canonical(postgres))))
    return lab


def test_jobs_start_after_the_commit_and_soon(shop: Lab) -> None:
    app = shop.start()
    shop.ready()
    app.ask("connect()")
    uuid = app.ask("order(1).uuid")
    assert app.ask("work(2).wait(10)") == 2
    assert shop.ledger() == ["ran 2"]
    app.ask("roll_back()")
    assert app.ask("[sell(n).wait(10) for n in range(60)]") == list(range(60))  # by looks once a second: half a minute
    assert shop.ledger() == ["ran 2", *(f"ran {n}" for n in range(60))]
    assert shop.store.get(uuid, 0.0) is None
    shop.ended(app.ask("resell(7).wait(10)"))  # in a worker


def test_who_has_no_node_wakes_those_of_others_by_the_commit(machine: Callable[[], Lab], shop: Lab) -> None:
    node = machine()
    node.add("tasks.py", (shop.folder / "tasks.py").read_text())
    node.start()
    node.ready()
    app = shop.launch("app.py")
    assert app.ask(f"autocron.start({shop.name!r}, 0)") is False
    app.ask("connect()")
    assert app.ask("[sell(n).wait(10) for n in range(60)]") == list(range(60))
    assert len(node.ledger()) == 60


def test_an_application_that_dies_has_stored_what_it_has_committed(shop: Lab) -> None:
    app = shop.start()
    app.ask("connect()")
    uuid = app.ask("order(1, 2).uuid")
    app.kill()
    app = shop.start()
    app.ask("connect()")
    app.tell("sell(3) and os.kill(os.getpid(), 9)")
    assert app.wait() == -9
    app = shop.start()
    assert app.ask("work(4).wait(10)") == 4
    shop.until(lambda: len(shop.ledger()) == 2, what="both jobs")
    assert sorted(shop.ledger()) == ["ran 3", "ran 4"]
    assert shop.store.get(uuid, 0.0) is None


def test_an_open_transaction_does_not_stop_a_node(shop: Lab) -> None:
    app = shop.start(workers=2)
    app.ask("connect()")
    app.ask("globals().update(first=hold())")
    app.ask("globals().update(second=follow(first))")
    app.ask("open('go', 'w').close()")
    assert app.ask("[first.wait(10), work(2).wait(10)]") == [1, 2]  # while the transaction is open
    assert shop.store.get(app.ask("second.uuid"), 0.0) is None
    app.ask("commit()")
    assert app.ask("second.wait(10)") == 1


CLEARING = """
@cron(every=1)
def beat():
    note("beat")

@cron("0 0 1 1 *")
@delay(unique_key="stock")
def clear(by="the schedule"):
    note("cleared by", by)

def clear_within():
    with autocron.transaction(connection):
        clear("hand")
"""


def test_a_schedule_waits_for_an_open_transaction_that_has_its_key(shop: Lab, run: Run) -> None:
    shop.add("tasks.py", CLEARING)
    app = shop.start()
    shop.ready()
    app.ask("connect()")
    app.ask("clear_within()")
    run("update {}.schedules set cursor = 0 where name like '%clear'")  # so it is due, for once
    said = "clear is due, but a transaction that is still open has called its task with the same unique_key"
    shop.until(lambda: said in shop.output(), what="the node to say so")
    beats = shop.ledger().count("beat")
    assert app.ask("[work(n).wait(10) for n in range(20)]") == list(range(20))
    shop.until(lambda: shop.ledger().count("beat") >= beats + 3, what="three beats")
    app.ask("roll_back()")
    shop.until(lambda: "cleared by the schedule" in shop.ledger(), what="the job of the schedule")
    assert shop.output().count(said) == 1
    assert "the database can" not in shop.output()
    assert [line for line in shop.ledger() if line.startswith("cleared")] == ["cleared by the schedule"]
