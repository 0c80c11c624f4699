"""What is stored of a feature is there for the next worker, the next node and the next application."""

from typing import Any

import pytest
from databases import on_each_database

pytestmark = on_each_database
TASKS = """
    from autocron import Retry, RetryLater, Snooze

    @delay
    def snooze(gate):
        if not os.path.exists(gate):
            raise Snooze(0.1)

    @delay(retries=Retry(2, delay=0.5, jitter=False))
    def fail(number):
        raise ValueError(number)

    @delay(retries=2)
    def later():
        raise RetryLater(0.5)

    @delay(timeout=0.5)
    def sleep():
        note("begun", "sleep", os.getpid())
        time.sleep(60)

    @delay(on_crash="fail")
    def die():
        os.kill(os.getpid(), signal.SIGKILL)  # at once: the worker has been sent what comes next, and has not begun it

    def die_among_others():
        with autocron.transaction():
            for _ in range(4):
                work.map(range(30))  # short ones: a worker is sent more and more of them in advance
                yield die().uuid
                yield from (one.uuid for one in work.map(range(5)))

    @delay(concurrency=1, limit_key="{key}")
    def alone(key, gate):
        hold.function(gate)

    @delay(rate="2/d")
    def scarce(number): ...

    @delay(unique_key="{gate}", unique_for=600)
    def once(gate):
        hold.function(gate)

    @delay(unique_key="one", on_duplicate="replace")
    def save(text):
        note("saved", text)

    @delay(unique_key="one", on_duplicate="raise")
    def only(): ...

    def in_a_block(gate):
        with autocron.transaction():
            work.map(range(20))
            work.starmap([(20,), (21, 0.0)])
            hold.function(gate)
        note("stored")
        hold.function("never")
"""
HOOK = """
    @autocron.on_failure
    def tell(result):
        note("told", result.uuid)
"""


@pytest.fixture
def shop(lab: Any) -> Any:
    lab.add("tasks.py", TASKS)
    return lab


def states(lab: Any) -> dict[str, int]:
    return {str(state): count for state, count in lab.store.counts(0.0).by_state.items()}


def outcomes(job: Any) -> list[str]:
    return [past.outcome for past in job.past_attempts]


# Retries, timeouts and crashes


def test_a_snoozed_job_comes_again(shop: Any) -> None:
    app = shop.start()
    uuid = app.ask("snooze('gate').uuid")
    shop.until(lambda: shop.job(uuid).attempt > 1, what="it has snoozed")
    shop.kill_node()
    attempt = shop.job(uuid).attempt
    shop.until(lambda: shop.job(uuid).attempt > attempt, what="it snoozes on")
    shop.open_gate("gate")
    job = shop.ended(uuid)
    assert job.state == "succeeded"  # without any retry
    assert set(outcomes(job)) <= {"node lost"}


@pytest.mark.parametrize("call", ["fail(5)", "later()"])
def test_the_retries_that_are_left_are_known(shop: Any, call: str) -> None:
    app = shop.start()
    uuid = app.ask(f"{call}.uuid")
    for retries in (1, 2):
        shop.until(lambda count=retries: outcomes(shop.job(uuid)).count("failed") >= count, what=f"retry {retries}")
        shop.kill_node()
    job = shop.ended(uuid)
    assert (job.state, outcomes(job).count("failed")) == ("failed", 2)


def test_the_time_of_a_job_counts_for_each_attempt(shop: Any) -> None:
    app = shop.start()
    uuid = app.ask("sleep.options(timeout=60)().uuid")
    shop.kill(shop.begun("sleep"))
    shop.begun("sleep", 2)
    shop.kill_node()
    shop.begun("sleep", 3)
    assert app.ask(f"autocron.get_result({uuid!r}).cancel()") is True
    assert (shop.ended(uuid).state, outcomes(shop.job(uuid))) == ("cancelled", ["crashed", "node lost"])
    job = shop.ended(app.ask("sleep().uuid"))
    assert (job.state, outcomes(job)) == ("failed", [])


def test_a_job_expires_though_its_node_has_died(lab: Any) -> None:
    app = lab.start()
    held = app.ask("hold('gate').uuid")
    lab.begun("gate")
    uuid = app.ask("work.options(expires=1.5)(1).uuid")
    lab.kill_node()
    job = lab.ended(uuid)
    assert (job.state, job.error_message) == ("cancelled", "expired")
    lab.open_gate("gate")
    assert lab.ended(held).state == "succeeded"
    assert "ran 1" not in lab.ledger()


def test_only_the_job_that_was_begun_is_blamed(shop: Any) -> None:
    app = shop.start()
    uuids = app.ask("list(die_among_others())")
    jobs = [shop.ended(uuid) for uuid in uuids]
    assert {job.task for job in jobs if job.state == "failed"} == {"tasks.die"}
    assert {job.task for job in jobs if job.state == "succeeded"} == {"tasks.work"}
    assert not [job for job in jobs if job.past_attempts]
    assert states(shop) == {"failed": 4, "succeeded": 140}


# Queues, limits and uniqueness


def test_queues_keep_their_workers_and_their_pause(lab: Any) -> None:
    app = lab.start(None, queues={"default": 1, "mail": 1})
    lab.store.pause_queue("mail")
    paused = app.ask("work.options(queue='mail')(1).uuid")
    lab.kill_node()
    app.ask("hold('gate') and None")
    lab.begun("gate")
    assert lab.job(paused).state == "queued"
    lab.store.resume_queue("mail")
    assert lab.ended(paused).state == "succeeded"  # the only worker of the other queue is occupied
    lab.open_gate("gate")


@pytest.mark.parametrize("victim", ["worker", "node"])
def test_the_place_of_who_was_killed_is_free(shop: Any, victim: str) -> None:
    app = shop.start(2)
    first = app.ask("alone.options(on_crash='fail')('a', 'first').uuid")
    worker = shop.begun("first")
    second, other = app.ask("[alone('a', 'second').uuid, alone('b', 'other').uuid]")
    shop.begun("other")
    assert not shop._begun("second", 1)
    shop.kill(worker if victim == "worker" else shop.node())
    shop.begun("second")
    for gate in ("other", "second"):
        shop.open_gate(gate)
    assert [str(shop.ended(uuid).state) for uuid in (first, second, other)] == ["failed", "succeeded", "succeeded"]


def test_tokens_that_were_taken_stay_taken(shop: Any) -> None:
    app = shop.start()
    for uuid in app.ask("[scarce(number).uuid for number in range(2)]"):
        shop.ended(uuid)
    shop.kill_node()
    third = app.ask("scarce(3).uuid")
    assert app.ask("work(1).wait(10)") == 1
    assert shop.job(third).state == "queued"


def test_a_key_is_taken_while_its_job_runs_and_after_it(shop: Any) -> None:
    app = shop.start(2)
    uuid = app.ask("once('gate').uuid")
    shop.begun("gate")
    shop.kill_node()
    assert app.ask("once('gate').uuid") == uuid
    shop.begun("gate", 2)
    shop.open_gate("gate")
    shop.ended(uuid)
    shop.kill_node()
    assert app.ask("once('gate').uuid") == uuid
    assert states(shop) == {"succeeded": 1}


def test_duplicates_of_a_queued_job(shop: Any) -> None:
    app = shop.start()
    shop.store.pause_queue("late")
    app.ask("save.options(queue='late')('a') and only.options(queue='late')() and None")
    shop.kill_node()
    app.ask("save.options(queue='late')('b') and None")
    with pytest.raises(Exception, match="DuplicateJob"):
        app.ask("only.options(queue='late')()")
    shop.store.resume_queue("late")
    shop.until(lambda: states(shop) == {"succeeded": 2})
    assert shop.ledger() == ["saved b"]


# Many at once


@pytest.mark.parametrize("ends", [False, True])
def test_of_a_block_all_calls_are_kept_or_none(shop: Any, ends: bool) -> None:
    app = shop.start()
    app.tell("in_a_block('gate')")
    shop.until(shop.ledger, what="the calls were made")
    if ends:
        shop.open_gate("gate")
        shop.until(lambda: "stored" in shop.ledger(), what="the end of the block")
    app.kill()
    assert shop.start().ask("work('behind').wait(10)") == "behind"
    shop.until(lambda: states(shop) == {"succeeded": 23 if ends else 1})
    assert sum(line.startswith("ran") for line in shop.ledger()) == (23 if ends else 1)


# Hooks and schedules


def test_each_failed_job_has_one_job_for_the_hook(shop: Any) -> None:
    shop.add("tasks.py", HOOK)
    app = shop.start(2)
    uuids = app.ask("[fail.options(retries=0)(number).uuid for number in range(60)]")
    for told in (5, 25):
        shop.until(lambda count=told: len(shop.ledger()) >= count, what=f"{told} hooks have run")
        shop.kill_node()
    shop.until(lambda: states(shop) == {"failed": 60, "succeeded": 60})
    assert {line.split()[1] for line in shop.ledger()} == set(uuids)


def test_a_job_that_was_lost_with_its_node_calls_the_hook(shop: Any) -> None:
    shop.add("tasks.py", HOOK)
    app = shop.start()
    uuid = app.ask("hold.options(on_crash='fail')('gate').uuid")
    shop.begun("gate")
    shop.kill_node()
    shop.until(lambda: f"told {uuid}" in shop.ledger())
    shop.until(lambda: states(shop) == {"failed": 1, "succeeded": 1})


def test_schedules_of_the_run_time(lab: Any) -> None:
    app = lab.start()
    for name in ("kept", "paused", "removed"):
        app.ask(f"autocron.schedules.add('{name}', 1, work, ['{name}']) and None")
    app.ask("autocron.schedules['paused'].pause()")
    app.ask("autocron.schedules['removed'].remove()")
    unfinished = ("queued", "running")  # what was stored before may still run
    lab.until(lambda: not any(lab.store.find(state, 1, 0.0) for state in unfinished))
    lab.kill_node()
    before = lab.ledger()
    lab.until(lambda: lab.ledger().count("ran kept") >= before.count("ran kept") + 2, what="two more runs")
    assert [lab.ledger().count(f"ran {name}") for name in ("paused", "removed")] == [
        before.count(f"ran {name}") for name in ("paused", "removed")
    ]


# Deploys


def test_a_parked_job_stays_parked(lab: Any) -> None:
    app = lab.start()
    call = app.ask("__import__('autocron').codec.encode_call((5,), {})")
    parked = lab.insert("tasks.later", call)
    lab.until(lambda: lab.job(parked).held)
    lab.kill_node()
    assert app.ask("work(1).wait(10)") == 1
    assert lab.job(parked).held == "unknown task 'tasks.later'"
