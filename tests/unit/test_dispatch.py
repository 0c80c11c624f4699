from autocron.model import Claim
from autocron.node.dispatch import Dispatcher
from autocron.node.lane import LONG, MAX_WINDOW, PLENTY, SHORT, Lane


def claims(*names: str) -> list[Claim]:
    return [Claim(name, 1, "task", "[[],{}]", 0.0) for name in names]


def uuids(sent: list[tuple[int, Claim]]) -> list[tuple[int, str]]:
    return [(worker, claim.uuid) for worker, claim in sent]


def test_jobs_are_spread_over_idle_workers():
    dispatcher = Dispatcher()
    dispatcher.add(1, Lane())
    dispatcher.add(2, Lane())
    dispatcher.put(claims("a", "b", "c"))
    assert uuids(dispatcher.assign(0.0)) == [(1, "a"), (2, "b")]
    assert dispatcher.room() == 0
    assert dispatcher.has_unsent
    dispatcher.ended(1, "a", 1, 0.0, 0.0)
    dispatcher.assign(0.0)
    assert not dispatcher.has_unsent


def test_room_counts_what_is_already_claimed():
    dispatcher = Dispatcher()
    assert dispatcher.room() == 0
    dispatcher.add(1, Lane())
    assert dispatcher.room() == 1
    dispatcher.put(claims("a"))
    assert dispatcher.room() == 0


def test_window_grows_with_short_jobs_and_falls_with_a_long_one():
    dispatcher = Dispatcher()
    dispatcher.add(1, Lane())
    dispatcher.put(claims(*map(str, range(1000))))
    widths = []
    for _ in range(9):
        dispatcher.assign(0.0)
        jobs = dispatcher.jobs_of(1)
        widths.append(len(jobs))
        dispatcher.ended(1, jobs[0].uuid, 1, 0.0001, 0.0)
    assert widths == [1, 2, 4, 8, 16, 32, 64, 128, 128]
    dispatcher.ended(1, dispatcher.jobs_of(1)[0].uuid, 1, LONG * 2, 0.0)
    for claim in dispatcher.jobs_of(1)[1:]:
        dispatcher.ended(1, claim.uuid, 1, (LONG + SHORT) / 2, 0.0)
    assert dispatcher.assign(0.0) == []
    dispatcher.ended(1, dispatcher.jobs_of(1)[0].uuid, 1, (LONG + SHORT) / 2, 0.0)
    assert len(dispatcher.assign(0.0)) == 1


def test_the_workers_are_flooded_when_each_has_plenty():
    dispatcher = Dispatcher()
    assert not dispatcher.flooded
    dispatcher.add(1, Lane())
    dispatcher.put(claims(*map(str, range(1000))))
    for _ in range(8):
        dispatcher.assign(0.0)
        dispatcher.ended(1, dispatcher.jobs_of(1)[0].uuid, 1, 0.0001, 0.0)
    assert len(dispatcher.jobs_of(1)) == MAX_WINDOW - 1
    assert dispatcher.flooded
    dispatcher.add(2, Lane())
    assert not dispatcher.flooded
    dispatcher.remove(2)
    for claim in dispatcher.jobs_of(1)[PLENTY - 1 :]:
        dispatcher.ended(1, claim.uuid, 1, 0.0001, 0.0)
    assert not dispatcher.flooded


def test_what_waits_behind_a_long_job_goes_to_another_worker_first():
    dispatcher = Dispatcher()
    dispatcher.add(1, Lane())
    dispatcher.put(claims("quick"))
    dispatcher.assign(0.0)
    dispatcher.ended(1, "quick", 1, 0.0, 0.0)
    dispatcher.put(claims("long", "b", "c"))
    assert uuids(dispatcher.assign(1.0)) == [(1, "long"), (1, "b")]
    assert dispatcher.stuck(1.0) == []
    assert dispatcher.next_look() == 1.0 + LONG
    assert dispatcher.stuck(1.0 + LONG) == [1]
    dispatcher.put_back(dispatcher.took_back(1, ["b"]))
    dispatcher.add(2, Lane())
    assert uuids(dispatcher.assign(1.1)) == [(2, "b")]


def test_a_closed_worker_gets_nothing_and_a_removed_one_gives_its_jobs():
    dispatcher = Dispatcher()
    dispatcher.add(1, Lane())
    dispatcher.put(claims("a", "b"))
    dispatcher.assign(0.0)
    dispatcher.close(1)
    assert dispatcher.assign(0.0) == []
    assert [claim.uuid for claim in dispatcher.remove(1)] == ["a"]
    assert [claim.uuid for claim in dispatcher.empty()] == ["b"]
    assert dispatcher.idle


def test_an_unknown_outcome_is_nobodys():
    dispatcher = Dispatcher()
    dispatcher.add(1, Lane())
    assert dispatcher.ended(1, "a", 1, 0.0, 0.0) is None
    assert dispatcher.ended(9, "a", 1, 0.0, 0.0) is None


# Several at once in one worker: "a..." are jobs of an async task


def mixed(*names: str) -> list[Claim]:
    return [Claim(name, 1, "async" if name[0] == "a" else "task", "[[],{}]", 0.0) for name in names]


def dispatcher_of(*lanes: Lane) -> Dispatcher:
    dispatcher = Dispatcher()
    dispatcher.async_tasks = {"async"}
    for worker, lane in enumerate(lanes, 1):
        dispatcher.add(worker, lane)
    return dispatcher


def run_all(dispatcher: Dispatcher, *names: str) -> list[tuple[int, str]]:
    dispatcher.put(mixed(*names))
    return uuids(dispatcher.assign(1.0))


def test_a_worker_that_awaits_takes_more_async_jobs_and_one_sync_job():
    dispatcher = dispatcher_of(Lane(async_jobs=3))
    assert run_all(dispatcher, "a1", "a2", "s1", "a3", "s2") == [(1, "a1"), (1, "a2"), (1, "s1")]
    assert dispatcher.stuck(9.0) == []
    dispatcher.ended(1, "s1", 1, 0.1, 2.0)
    assert uuids(dispatcher.assign(2.0)) == [(1, "a3"), (1, "s2")]
    dispatcher.ended(1, "a1", 1, 9.0, 2.0)
    dispatcher.ended(1, "s2", 1, 9.0, 2.0)
    assert run_all(dispatcher, "a4", "a5") == [(1, "a4")]


def test_a_sync_job_goes_to_a_free_worker_rather_than_to_one_that_awaits():
    dispatcher = dispatcher_of(Lane(), Lane())
    assert run_all(dispatcher, "a1", "s1", "a2", "s2") == [(1, "a1"), (2, "s1"), (1, "a2"), (1, "s2")]


def test_an_async_job_behind_a_sync_one_is_taken_back_or_begun_with_its_end():
    for head_ends in (True, False):
        dispatcher = dispatcher_of(Lane(window=3))
        assert run_all(dispatcher, "s1", "a1", "s2") == [(1, "s1"), (1, "a1"), (1, "s2")]
        assert dispatcher.stuck(1.0 + LONG) == [1]
        if head_ends:
            dispatcher.ended(1, "s1", 1, 0.0001, 1.0)
            assert dispatcher.stuck(1.0 + LONG) == []
            assert [claim.uuid for claim in dispatcher.jobs_of(1)] == ["s2", "a1"]
        else:
            dispatcher.put_back(dispatcher.took_back(1, ["a1", "s2"]))
            dispatcher.add(2, Lane())
            assert uuids(dispatcher.assign(2.0)) == [(2, "a1"), (2, "s2")]


def test_threads_take_so_many_sync_jobs_and_leave_room_for_async_ones():
    dispatcher = dispatcher_of(Lane(threads=2, async_jobs=2))
    assert run_all(dispatcher, "s1", "s2", "s3", "a1", "a2", "a3") == [(1, "s1"), (1, "s2"), (1, "a1"), (1, "a2")]
    dispatcher.ended(1, "s2", 1, 0.0, 2.0)
    assert uuids(dispatcher.assign(2.0)) == [(1, "s3")]
    assert [claim.uuid for claim in dispatcher.empty()] == ["a3"]


def test_what_is_claimed_for_an_event_loop_doubles_until_it_is_full():
    dispatcher = dispatcher_of(Lane(async_jobs=10))
    rooms = []
    while (room := dispatcher.room()) and len(rooms) < 10:
        rooms.append(room)
        run_all(dispatcher, *(f"a{len(rooms)}.{number}" for number in range(room)))
    assert rooms == [1, 2, 4, 4] + [1] * (len(rooms) - 4)


def test_jobs_of_the_wrong_kind_stop_further_claims():
    dispatcher = dispatcher_of(Lane())
    run_all(dispatcher, "a1", "a2", "s1", "s2", "s3")
    assert dispatcher.room() == 0


def test_a_worker_gets_as_many_jobs_as_it_may():
    dispatcher = dispatcher_of(Lane(left=3, window=8))
    assert dispatcher.room() == 3
    assert run_all(dispatcher, "a1", "s1", "s2", "s3") == [(1, "a1"), (1, "s1"), (1, "s2")]
    assert dispatcher.worn() == [1]
    dispatcher.put_back(dispatcher.took_back(1, ["s2"]))
    assert dispatcher.worn() == []
    assert dispatcher.room() == 0  # s2 and s3 wait


def test_a_suspect_runs_alone():
    dispatcher = dispatcher_of(Lane(), Lane())
    run_all(dispatcher, "a1", "a2", "a3")
    dispatcher.suspect("a9")
    dispatcher.suspect("s9")
    assert run_all(dispatcher, "a9", "a4", "s9") == [(1, "a4")]  # worker 2 has least to do and becomes empty
    dispatcher.ended(2, "a2", 1, 1.0, 2.0)
    assert uuids(dispatcher.assign(2.0)) == [(2, "a9")]
    assert run_all(dispatcher, "a5", "a6") == []  # worker 1 becomes empty for the other suspect
    for uuid in ("a1", "a3", "a4"):
        dispatcher.ended(1, uuid, 1, 1.0, 3.0)
    assert uuids(dispatcher.assign(3.0)) == [(1, "s9")]
    dispatcher.ended(2, "a9", 1, 1.0, 4.0)
    assert uuids(dispatcher.assign(4.0)) == [(2, "a5"), (2, "a6")]
