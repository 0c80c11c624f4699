"""Retries, pauses, ends and expiry, with real workers."""

import time
from collections import Counter
from typing import Any

import pytest
from databases import on_each_database

pytestmark = on_each_database
TASKS = """
    from autocron import Cancel, Retry, RetryLater, Snooze

    class ShopError(Exception):
        pass

    def times(name):
        note(name)
        with open("ledger") as ledger:
            return ledger.read().splitlines().count(name)

    @delay(retries=Retry(3, delay=0.01, on=(ShopError,)))
    def buy(name, fatal=False):
        if times(name) < 3:
            raise OSError(name) if fatal else ShopError(name)
        return "bought"

    @delay(retries=1)
    def ask(name, signal):
        if times(name) < 4:
            raise signals[signal]
        return "answered"

    signals = {"snooze": Snooze(0.01), "later": RetryLater(0.01), "cancel": Cancel("withdrawn")}

    @delay(retries=Retry(2, delay=0.01))
    def fail(number):
        note("begun", number)
        time.sleep(0.05)
        raise ShopError(number)

    @cron(every=1, retries=Retry(1, delay=0), expires=30)
    def tick():
        if times("tick") == 1:
            raise ShopError
        note("ticked")
"""


@pytest.fixture
def shop(lab: Any) -> Any:
    lab.add("tasks.py", TASKS)
    return lab


def outcomes(app: Any, uuid: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = app.ask(
        f"[(one.outcome, one.error_message) for one in autocron.get_result({uuid!r}).attempts]"
    )
    return found


def test_retries_and_ends(shop: Any) -> None:
    app = shop.start()
    bought = shop.ended(app.ask("buy('a').uuid"))
    assert outcomes(app, bought.uuid) == [("failed", "ShopError: a"), ("failed", "ShopError: a"), ("succeeded", "")]
    assert bought.past_attempts[0].traceback.endswith("tasks.ShopError: a\n")
    told = f"tasks.buy {bought.uuid} failed and runs again in 0 s, retry 2:"
    shop.until(lambda: told in shop.output(), what="the failure is told")
    other = shop.ended(app.ask("buy('b', fatal=True).uuid"))
    assert outcomes(app, other.uuid) == [("failed", "OSError: b")]
    snoozed = shop.ended(app.ask("ask('c', 'snooze').uuid"))
    assert (snoozed.state, snoozed.attempt, outcomes(app, snoozed.uuid)) == ("succeeded", 4, [("succeeded", "")])
    later = shop.ended(app.ask("ask('d', 'later').uuid"))
    assert later.error_message == "RetryLater: again in 0.01 s, but no retry is left (retries=1)"
    with pytest.raises(Exception, match=r"TaskCancelled: tasks\.ask was cancelled: withdrawn"):
        app.ask("ask('e', 'cancel').wait(10)")
    shop.until(lambda: "ticked" in shop.ledger(), what="the schedule's run is tried again")


def test_expiry_while_the_worker_is_busy(shop: Any) -> None:
    app = shop.start()
    held = app.ask("hold('gate').uuid")
    shop.begun("gate")
    with pytest.raises(Exception, match=r"TaskCancelled: tasks\.work was cancelled: expired"):
        app.ask("work.options(expires=0.2)(1).wait(10)")
    kept = app.ask("work.options(expires=600)(2).uuid")
    shop.open_gate("gate")
    assert [shop.ended(uuid).state for uuid in (held, kept)] == ["succeeded", "succeeded"]
    assert "ran 1" not in shop.ledger()


@pytest.mark.parametrize(
    ("victim", "how"), [("worker", "worker lost: SIGKILL"), ("node", "the node died while it held this job")]
)
def test_what_must_not_run_twice(lab: Any, victim: str, how: str) -> None:
    app = lab.start()
    held = app.ask("hold.options(on_crash='fail', retries=5)('gate').uuid")
    worker = lab.begun("gate")
    lab.kill(worker if victim == "worker" else lab.node())
    job = lab.ended(held)
    assert (job.state, job.error_message) == ("failed", f'{how}; with on_crash="fail" it does not run again')


def test_retries_under_kills(shop: Any) -> None:
    app = shop.start(workers=2)
    uuids = app.ask("[fail(number).uuid for number in range(20)]")

    def begun(times: int) -> bool:
        return sum(line.startswith("begun") for line in shop.ledger()) >= times

    for times in (15, 30):  # a job may lose its worker twice, which is no reason to fail
        shop.until(lambda times=times: begun(times))
        shop.kill(shop.ready(2)[0])
    node = shop.node()
    shop.until(lambda: begun(45))
    shop.kill(node)
    jobs = [shop.ended(uuid, 20) for uuid in uuids]
    for number, job in enumerate(jobs):
        pasts = Counter(past.outcome for past in job.past_attempts)
        assert (job.state, job.error_message, pasts["failed"]) == ("failed", f"ShopError: {number}", 2)
    lost = Counter(past.outcome for job in jobs for past in job.past_attempts)
    assert lost["node lost"] + lost["crashed"]
    assert shop.store.counts(time.time()).by_state["failed"] == 20
