"""What the store promises, asked of real databases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from autocron.codec import encode_call
from autocron.errors import BadSetting
from autocron.model import (
    Claim,
    Counts,
    Declaration,
    Finished,
    NewJob,
    News,
    PastAttempt,
    Progress,
    Requeued,
    Settings,
    State,
    StoredSchedule,
)
from autocron.store.placing import Fired

if TYPE_CHECKING:
    from autocron.store.base import Store

NIGHTLY = Declaration("nightly", "app.report", "app", "0 3 * * *", "UTC")


def job(uuid: str, run_at: float = 10.0, task: str = "app.work") -> NewJob:
    return NewJob(uuid, task, '{"a":1}', run_at, created_at=5.0)


def finish(claim: Claim, state: State = State.SUCCEEDED, expires_at: float = 100.0) -> Finished:
    return Finished(claim.uuid, claim.attempt, state, "1", "", "", 20.0, 21.0, expires_at)


def requeue(claim: Claim, run_at: float | None = None, held: str | None = None, past: str | None = None) -> Requeued:
    return Requeued(
        claim.uuid, claim.attempt, run_at, held, claim.crashes + 1, claim.losses, past, claim.retries, past is not None
    )


def claim_one(store: Store, uuid: str = "a") -> Claim:
    store.insert(job(uuid))
    (claim,) = store.exchange([], 1, 20.0).claims
    return claim


# Jobs


def test_a_call_is_kept_as_it_was(store: Store) -> None:
    assert store.insert(job("a"))
    kept = store.get("a", 20.0)
    assert kept
    assert (kept.uuid, kept.task, kept.state, kept.held, kept.attempt) == ("a", "app.work", State.QUEUED, None, 0)
    assert (kept.created_at, kept.run_at, kept.started_at, kept.finished_at) == (5.0, 10.0, None, None)
    assert (kept.result, kept.error_message, kept.traceback, kept.past_attempts) == (None, "", "", [])


def test_an_unknown_job_is_none(store: Store) -> None:
    assert store.get("a", 0.0) is None


def test_while_the_lock_is_on_nothing_is_stored(store: Store) -> None:
    store.set({"locked": True})
    assert not store.insert(job("a"))
    store.set({"locked": False})
    assert store.insert(job("b"))
    assert store.get("a", 20.0) is None


def test_due_jobs_are_claimed_in_the_order_in_which_they_became_due(store: Store) -> None:
    for uuid, run_at in [("late", 19.0), ("early", 1.0), ("later", 19.0), ("future", 21.0)]:
        store.insert(job(uuid, run_at))
    first = store.exchange([], 2, 20.0)
    assert [claim.uuid for claim in first.claims] == ["early", "late"]
    assert first.next_due == 20.0  # there may be more
    second = store.exchange([], 2, 20.0)
    assert [claim.uuid for claim in second.claims] == ["later"]
    assert second.next_due == 21.0
    assert second.claims == [Claim("later", 1, "app.work", '{"a":1}', 20.0)]


def test_without_capacity_nothing_is_claimed_but_the_next_time_is_known(store: Store) -> None:
    store.insert(job("a", 30.0))
    assert store.exchange([], 0, 20.0) == (store.exchange([], 0, 20.0))
    assert store.exchange([], 0, 20.0).next_due == 30.0
    assert not store.exchange([], 0, 40.0).claims


def test_a_rehearsal_changes_nothing(store: Store) -> None:
    store.insert(job("a"))
    before = store.get("a", 20.0)
    store.rehearse(20.0)
    assert store.get("a", 20.0) == before
    assert [claim.attempt for claim in store.exchange([], 2, 20.0).claims] == [1]


def test_an_empty_store_has_no_next_time(store: Store) -> None:
    assert store.exchange([], 3, 20.0).next_due is None


def test_an_end_is_stored_once(store: Store) -> None:
    claim = claim_one(store)
    assert store.exchange([finish(claim)], 0, 21.0).refused == []
    assert store.exchange([finish(claim, State.FAILED)], 0, 22.0).refused == ["a"]
    kept = store.get("a", 30.0)
    assert kept
    assert (kept.state, kept.result, kept.started_at, kept.finished_at) == (State.SUCCEEDED, "1", 20.0, 21.0)


def test_large_results_are_stored_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autocron.store.exchange.MAX_BATCH", 25)
    claims = [claim_one(store, str(number)) for number in range(7)]
    ends = [msgspec.structs.replace(finish(claim), result=f'"{claim.uuid * 10}"') for claim in claims]
    late = msgspec.structs.replace(ends[0], attempt=9)
    assert store.exchange([*ends, late], 0, 21.0).refused == ["0"]
    assert [store.get(end.uuid, 22.0).result for end in ends] == [end.result for end in ends]  # type: ignore[union-attr]


def test_what_a_former_holder_says_is_refused(store: Store) -> None:
    former = claim_one(store)
    store.exchange([requeue(former, run_at=20.0)], 0, 20.0)
    (current,) = store.exchange([], 1, 20.0).claims
    assert (current.attempt, current.crashes) == (2, 1)
    assert store.exchange([finish(former)], 0, 21.0).refused == ["a"]
    assert store.exchange([requeue(former)], 0, 21.0).refused == ["a"]
    assert store.exchange([finish(current)], 0, 21.0).refused == []


def test_ends_and_claims_are_one_exchange(store: Store) -> None:
    claims = [claim_one(store, uuid) for uuid in "cab"]
    store.insert(job("next"))
    exchange = store.exchange([finish(claims[0]), requeue(claims[1], run_at=90.0), finish(claims[2])], 5, 20.0)
    assert exchange.refused == []
    assert [claim.uuid for claim in exchange.claims] == ["next"]
    assert exchange.next_due == 90.0


def test_a_parked_job_waits_until_its_task_is_known(store: Store) -> None:
    claim = claim_one(store)
    store.exchange([requeue(claim, held="unknown task")], 0, 20.0)
    assert store.exchange([], 5, 20.0).claims == []
    assert store.counts(20.0).held == 1
    assert store.find("queued", 5, 20.0) == []
    store.declare([], ["app"], [], ["app.other"], 20.0)
    assert store.exchange([], 5, 20.0).claims == []
    store.declare([], ["app"], [], ["app.other", "app.work"], 20.0)
    (again,) = store.exchange([], 5, 20.0).claims
    assert (again.uuid, again.attempt) == ("a", 2)


def test_past_attempts_are_kept_in_their_order(store: Store) -> None:
    pasts = [PastAttempt(1.0, 2.0, "failed", "nöt 'yet'\0", "tb"), PastAttempt(3.0, 4.0, "crashed", "", "")]
    store.insert(job("a"))
    for past in pasts:
        (claim,) = store.exchange([], 1, 20.0).claims
        store.exchange([requeue(claim, past=msgspec.json.encode(past).decode())], 0, 20.0)
    (claim,) = store.exchange([], 1, 20.0).claims
    store.exchange([requeue(claim)], 0, 20.0)
    kept = store.get("a", 20.0)
    assert kept
    assert kept.past_attempts == pasts
    assert (kept.run_at, kept.started_at) == (10.0, None)


def test_what_a_running_job_says_is_kept(store: Store) -> None:
    claim = claim_one(store)
    other = claim_one(store, "b")
    store.exchange([], 0, 20.0, [News("a", 1, '{"done":1.5,"total":3.0,"note":"é"}', None)])
    store.exchange([], 0, 20.0, [News("a", 1, None, "line\n"), News("b", 1, None, "b")])
    store.exchange([finish(claim), requeue(other)], 0, 20.0, [News("a", 1, None, "line\nlast\n")])
    kept, again = store.get("a", 20.0), store.get("b", 20.0)
    assert kept
    assert again
    assert (kept.progress, kept.output) == (Progress(1.5, 3.0, "é"), "line\nlast\n")
    assert (again.progress, again.output) == (None, "b")
    store.exchange([], 1, 20.0)
    again = store.get("b", 20.0)
    assert again
    assert again.output == ""  # of an earlier attempt


def test_what_a_former_holder_or_an_ended_job_says_is_refused(store: Store) -> None:
    claim = claim_one(store)
    store.exchange([], 0, 20.0, [News("a", 2, '{"done":1.0}', "x")])
    store.exchange([finish(claim)], 0, 20.0)
    store.exchange([], 0, 20.0, [News("a", 1, '{"done":1.0}', "x")])
    kept = store.get("a", 20.0)
    assert kept
    assert (kept.progress, kept.output) == (None, "")


def test_a_job_that_is_not_begun_is_cancelled_at_once(store: Store) -> None:
    store.insert(job("a", 90.0))
    held = claim_one(store, "b")
    store.exchange([requeue(held, held="why")], 0, 20.0)
    assert store.cancel("a", 21.0, 10.0)
    assert store.cancel("b", 21.0, 10.0)
    for uuid in "ab":
        kept = store.get(uuid, 22.0)
        assert kept
        assert (kept.state, kept.finished_at, kept.held) == (State.CANCELLED, 21.0, None)
        assert kept.error_message == "cancelled before it was begun"
        assert store.get(uuid, 31.0) is None
        assert not store.cancel(uuid, 22.0, 10.0)
    assert store.exchange([], 9, 99.0).claims == []
    assert store.to_stop() == []
    assert not store.cancel("unknown", 22.0, 10.0)


def test_a_cancelled_job_is_kept_as_long_as_its_policy_says(store: Store) -> None:
    store.insert(msgspec.structs.replace(job("a"), policy='{"result_ttl":50.0}'))
    assert store.cancel("a", 20.0, 10.0)
    assert store.get("a", 69.0)
    assert store.get("a", 70.0) is None


def test_a_job_that_runs_is_to_be_stopped(store: Store) -> None:
    claim = claim_one(store)
    assert store.cancel("a", 21.0, 10.0)
    kept = store.get("a", 22.0)
    assert kept
    assert (kept.state, kept.finished_at, kept.error_message) == (State.RUNNING, None, "")
    assert store.to_stop() == ["a"]
    store.exchange([requeue(claim)], 0, 22.0)
    assert store.to_stop() == ["a"]  # its node was interrupted: whoever finds it cancels it
    assert store.cancel("a", 23.0, 10.0)
    assert store.to_stop() == []


def test_claims_of_a_node_that_is_no_more_are_found(store: Store) -> None:
    claims = [claim_one(store, uuid) for uuid in "ab"]
    assert store.recover() == (claims, [])


def test_found_jobs_are_in_the_order_that_matters(store: Store) -> None:
    failed = [claim_one(store, uuid) for uuid in ("f1", "f2")]
    ends = [msgspec.structs.replace(finish(c, State.FAILED), finished_at=float(n)) for n, c in enumerate(failed)]
    store.exchange(ends, 0, 20.0)
    claim_one(store, "r1")
    store.insert(job("r2"))
    store.exchange([], 1, 19.0)
    for uuid, run_at in [("q2", 60.0), ("q1", 50.0)]:
        store.insert(job(uuid, run_at))
    assert [found.uuid for found in store.find("running", 5, 20.0)] == ["r2", "r1"]
    assert [found.uuid for found in store.find("queued", 5, 20.0)] == ["q1", "q2"]
    assert [found.uuid for found in store.find("queued", 1, 20.0)] == ["q1"]
    assert [found.uuid for found in store.find("failed", 5, 20.0)] == ["f2", "f1"]
    assert store.find("failed", 5, 100.0) == []


def test_which_jobs_have_come_to_their_end(store: Store) -> None:
    done = claim_one(store, "done")
    claim_one(store, "running")
    store.exchange([finish(done)], 0, 20.0)
    store.insert(job("queued"))
    assert store.final_among(["done", "running", "queued", "unknown"]) == {"done", "unknown"}
    assert store.final_among([]) == set()


def test_jobs_are_counted_by_state(store: Store) -> None:
    parked = claim_one(store, "parked")
    store.exchange([requeue(parked, held="why")], 0, 20.0)
    claim_one(store, "running")
    store.insert(job("now"))
    store.insert(job("later", 30.0))
    assert store.counts(20.0) == Counts({State.QUEUED: 3, State.RUNNING: 1}, scheduled=1, held=1)


def test_expired_jobs_are_gone_even_before_they_are_deleted(store: Store) -> None:
    claims = [claim_one(store, uuid) for uuid in "abc"]
    store.exchange([finish(claim, expires_at=30.0 + n) for n, claim in enumerate(claims)], 0, 20.0)
    assert store.get("a", 29.0)
    assert store.get("a", 30.0) is None
    assert store.prune(29.0, 5) == 0
    assert store.prune(31.0, 1) == 1
    assert store.prune(31.0, 5) == 1
    assert store.counts(0.0).by_state == {State.SUCCEEDED: 1}


# Options


def with_options(uuid: str, **options: Any) -> NewJob:
    return msgspec.structs.replace(job(uuid), **options)


def cancelled(store: Store, uuid: str) -> tuple[State, str, float | None, float | None]:
    kept = store.get(uuid, 0.0)
    assert kept
    return kept.state, kept.error_message, kept.started_at, kept.finished_at


def test_what_a_job_needs_to_be_run_comes_with_its_claim(store: Store) -> None:
    store.insert(with_options("a", begin_by=90.0, policy='{"on_crash":"fail"}'))
    (claim,) = store.exchange([], 1, 20.0).claims
    assert claim == Claim("a", 1, "app.work", '{"a":1}', 20.0, 0, 0, 0, 90.0, '{"on_crash":"fail"}')
    assert store.recover() == ([claim], [])


def test_used_retries_are_counted(store: Store) -> None:
    claim = claim_one(store)
    store.exchange([msgspec.structs.replace(requeue(claim, run_at=30.0), retries=2)], 0, 20.0)
    assert store.exchange([], 1, 29.0).claims == []
    (again,) = store.exchange([], 1, 30.0).claims
    assert (again.attempt, again.retries) == (2, 2)


def test_a_job_that_has_expired_is_not_claimed(store: Store) -> None:
    for uuid, begin_by in [("past", 20.0), ("future", 20.5), ("past 2", 1.0)]:
        store.insert(with_options(uuid, begin_by=begin_by))
    exchange = store.exchange([], 3, 20.0)
    assert [claim.uuid for claim in exchange.claims] == ["future"]
    assert exchange.may_expire
    assert exchange.next_due == 20.0  # there may be more
    assert not store.exchange([], 0, 20.0).may_expire


def test_expired_jobs_are_cancelled_with_the_reason(store: Store) -> None:
    for uuid, begin_by in [("c", 21.0), ("a", 19.0), ("b", 20.0)]:
        store.insert(with_options(uuid, begin_by=begin_by))
    store.insert(job("plain"))
    assert store.expire(1, 20.0, 100.0) == (["a"], 20.0)
    assert store.expire(5, 20.0, 100.0) == (["b"], 21.0)
    assert store.expire(5, 20.0, 100.0) == ([], 21.0)
    assert store.expire(5, 21.0, 100.0) == (["c"], None)
    assert store.expire(5, 99.0, 100.0) == ([], None)
    assert cancelled(store, "a") == (State.CANCELLED, "expired", None, 20.0)
    assert store.final_among("abc") == set("abc")
    assert store.get("a", 119.9)
    assert store.get("a", 120.0) is None
    assert [claim.uuid for claim in store.exchange([], 9, 30.0).claims] == ["plain"]


def test_a_cancelled_job_is_kept_for_its_own_time(store: Store) -> None:
    for uuid, policy in [("own", '{"result_ttl":3.5}'), ("other", '{"on_crash":"fail"}'), ("damaged", "{")]:
        store.insert(with_options(uuid, begin_by=10.0, policy=policy))
    store.expire(9, 20.0, 100.0)
    assert [bool(store.get(uuid, 23.5)) for uuid in ("own", "other", "damaged")] == [False, True, True]


def test_what_runs_or_was_begun_cannot_expire(store: Store) -> None:
    for uuid in ("begun", "given back"):
        store.insert(with_options(uuid, begin_by=30.0))
    claims = store.exchange([], 2, 20.0).claims
    assert store.expire(9, 40.0, 100.0) == ([], None)
    ends = [msgspec.structs.replace(requeue(claim), begun=claim.uuid == "begun") for claim in claims]
    assert store.exchange(ends, 0, 40.0).may_expire
    assert store.expire(9, 40.0, 100.0) == (["given back"], None)
    (again,) = store.exchange([], 2, 40.0).claims
    assert (again.uuid, again.begin_by) == ("begun", None)


def test_a_parked_job_expires_too(store: Store) -> None:
    store.insert(with_options("a", begin_by=30.0))
    (claim,) = store.exchange([], 1, 20.0).claims
    store.exchange([requeue(claim, held="unknown task")], 0, 20.0)
    assert store.expire(9, 30.0, 100.0) == (["a"], None)
    store.declare([], [], [], ["app.work"], 30.0)
    assert cancelled(store, "a")[0] is State.CANCELLED
    assert store.exchange([], 9, 40.0).claims == []


def test_a_schedule_gives_its_options_to_its_jobs(store: Store) -> None:
    declared = msgspec.structs.replace(NIGHTLY, expires=30.0, policy='{"on_crash":"fail"}')
    store.declare([declared], ["app"], [], [], 50.0)
    assert store.schedules() == [StoredSchedule(declared, 50.0)]
    changed = msgspec.structs.replace(declared, expires=None, policy=None)
    store.declare([changed], ["app"], [], [], 60.0)
    assert store.schedules() == [StoredSchedule(changed, 50.0)]
    store.fire("nightly", 60.0, [(60.0, with_options("a", begin_by=90.0, policy="{}"))], alone=False)
    (claim,) = store.exchange([], 1, 60.0).claims
    assert (claim.begin_by, claim.policy) == (90.0, "{}")


# Steps and hooks


def test_steps_are_kept_for_later_attempts_and_end_with_the_job(store: Store) -> None:
    first = claim_one(store)
    assert store.step("a", "charge") is None
    assert store.keep_step("a", 1, "charge", '"é"')
    store.exchange([requeue(first)], 0, 20.0)
    assert not store.keep_step("a", 1, "charge", "1")  # that attempt is over
    (second,) = store.exchange([], 1, 20.0).claims
    assert not store.keep_step("a", 1, "late", "1")
    assert store.keep_step("a", 2, "mail", "null")
    assert [store.step("a", name) for name in ("charge", "mail", "late")] == ['"é"', "null", None]
    assert store.step("b", "charge") is None
    store.exchange([finish(second, expires_at=30.0)], 0, 20.0)
    assert store.step("a", "charge") == '"é"'
    store.prune(31.0, 5)
    assert store.step("a", "charge") is None


def declare_hooks(store: Store, **hooks: str) -> None:
    store.declare([], list(hooks.values()) or ["app"], [], [], 5.0, failure_hooks=hooks)


def queued_calls(store: Store) -> list[tuple[str, str]]:
    claims = store.exchange([], 99, 99.0).claims
    return sorted((claim.task, claim.arguments) for claim in claims)


def test_a_job_that_failed_calls_each_hook_once(store: Store) -> None:
    declare_hooks(store, tell="app", note="app")
    claims = [claim_one(store, uuid) for uuid in ("a", "b", "c", "d")]
    ends = [
        finish(claims[0], State.FAILED),
        finish(claims[1]),
        finish(claims[2], State.CANCELLED),
        requeue(claims[3], 200.0),
    ]
    store.exchange(ends, 0, 20.0)
    store.exchange([ends[0]], 0, 20.0)  # told twice
    call = encode_call(("a",), {})
    assert queued_calls(store) == [("note", call), ("tell", call)]


def test_a_hook_that_failed_calls_none(store: Store) -> None:
    declare_hooks(store, tell="app")
    store.insert(job("a", task="tell"))
    (claim,) = store.exchange([], 1, 20.0).claims
    store.exchange([finish(claim, State.FAILED)], 0, 20.0)
    assert queued_calls(store) == []


def test_hooks_lapse_with_the_code(store: Store) -> None:
    declare_hooks(store, tell="app", other="lib")
    store.declare([], ["app"], [], [], 6.0, failure_hooks={"note": "app"})
    store.exchange([finish(claim_one(store), State.FAILED)], 0, 20.0)
    assert [task for task, _ in queued_calls(store)] == ["note", "other"]


# Settings


@pytest.mark.parametrize(
    "setting", [{"workers": 0}, {"workers": "many"}, {"grace": -1}, {"linger": None}, {"max_payload": 0}]
)
def test_a_stored_setting_that_cannot_be_used_is_named(store: Store, setting: dict[str, object]) -> None:
    store.set(setting)
    with pytest.raises(BadSetting, match=rf"\$\.{next(iter(setting))}"):
        store.settings()


def test_settings_have_defaults_and_stay(store: Store) -> None:
    assert store.settings() == Settings()
    store.set({"workers": 3, "grace": 1.5})
    store.set({"workers": 4, "locked": True, "of a later version": {"x": 1}})
    assert store.settings() == Settings(workers=4, grace=1.5, locked=True)
    store.reset_settings()
    assert store.settings() == Settings(locked=True)


# Schedules


def test_declared_schedules_start_now(store: Store) -> None:
    store.declare([NIGHTLY], ["app"], [], ["app.report"], 50.0)
    assert store.schedules() == [StoredSchedule(NIGHTLY, 50.0)]
    assert store.modules() == ["app"]


def test_an_unchanged_schedule_goes_on_and_a_changed_one_starts_anew(store: Store) -> None:
    store.declare([NIGHTLY], ["app"], [], [], 50.0)
    store.declare([NIGHTLY], ["app"], [], [], 60.0)
    assert store.schedules()[0].cursor == 50.0
    moved = msgspec.structs.replace(NIGHTLY, task="app.other", missed="all", overlap="allow")
    store.declare([moved], ["app"], [], [], 70.0)
    assert store.schedules() == [StoredSchedule(moved, 50.0)]
    for n, changed in enumerate([{"text": "0 4 * * *"}, {"tz": "Europe/Vienna"}]):
        moved = msgspec.structs.replace(moved, **changed)
        store.declare([moved], ["app"], [], [], 80.0 + n)
        assert store.schedules() == [StoredSchedule(moved, 80.0 + n)]


def test_schedules_lapse_with_the_code_and_keep_their_cursor(store: Store) -> None:
    other = msgspec.structs.replace(NIGHTLY, name="other", module="lib")
    store.declare([NIGHTLY, other], ["app", "lib"], [], [], 50.0)
    store.declare([], ["app"], [], [], 60.0)  # lib was not looked at
    assert [found.declaration.name for found in store.schedules()] == ["other"]
    assert store.fire("nightly", 70.0, [(70.0, job("a"))], alone=False) is Fired.TAKEN
    store.declare([], [], ["lib"], [], 60.0)
    assert store.schedules() == []
    assert store.modules() == ["app"]
    store.declare([NIGHTLY], ["app"], [], [], 90.0)
    assert store.schedules() == [StoredSchedule(NIGHTLY, 50.0)]


def test_a_slot_fires_once(store: Store) -> None:
    store.declare([NIGHTLY], ["app"], [], [], 50.0)
    assert store.fire("nightly", 60.0, [(55.0, job("a")), (60.0, job("b"))], alone=False) is Fired.STORED
    assert store.fire("nightly", 60.0, [(60.0, job("c"))], alone=False) is Fired.TAKEN
    assert store.fire("nightly", 55.0, [(55.0, job("d"))], alone=False) is Fired.TAKEN
    assert store.fire("unknown", 60.0, [], alone=False) is Fired.TAKEN
    assert [found.uuid for found in store.find("queued", 9, 99.0)] == ["a", "b"]
    assert store.schedules()[0].cursor == 60.0


def test_after_a_lapse_and_a_change_a_slot_still_has_one_job(store: Store) -> None:
    store.declare([NIGHTLY], ["app"], [], [], 50.0)
    store.fire("nightly", 60.0, [(60.0, job("a"))], alone=False)
    store.declare([msgspec.structs.replace(NIGHTLY, text="every 10")], ["app"], [], [], 55.0)
    assert store.fire("nightly", 60.0, [(60.0, job("b"))], alone=False) is Fired.STORED
    assert [found.uuid for found in store.find("queued", 9, 99.0)] == ["a"]


def test_a_run_alone_is_skipped_while_another_is_unfinished(store: Store) -> None:
    store.declare([NIGHTLY], ["app"], [], [], 50.0)
    assert store.fire("nightly", 60.0, [(60.0, job("a"))], alone=True) is Fired.STORED
    assert store.fire("nightly", 70.0, [(70.0, job("b"))], alone=True) is Fired.SKIPPED
    assert store.schedules()[0].cursor == 70.0  # skipped, not postponed
    (claim,) = store.exchange([], 5, 80.0).claims
    assert store.fire("nightly", 80.0, [(80.0, job("c"))], alone=True) is Fired.SKIPPED
    store.exchange([finish(claim)], 0, 80.0)
    assert store.fire("nightly", 90.0, [(90.0, job("d"))], alone=True) is Fired.STORED
