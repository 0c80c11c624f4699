from autocron.model import Claim
from autocron.node.dispatch import LONG, MAX_WINDOW, PLENTY, SHORT, Dispatcher


def claims(*names: str) -> list[Claim]:
    return [Claim(name, 1, "task", "[[],{}]", 0, 0, 0.0) for name in names]


def uuids(sent: list[tuple[int, Claim]]) -> list[tuple[int, str]]:
    return [(worker, claim.uuid) for worker, claim in sent]


def test_jobs_are_spread_over_idle_workers():
    dispatcher = Dispatcher()
    dispatcher.add(1)
    dispatcher.add(2)
    dispatcher.put(claims("a", "b", "c"))
    assert uuids(dispatcher.assign(0.0)) == [(1, "a"), (2, "b")]
    assert dispatcher.room() == 0


def test_room_counts_what_is_already_claimed():
    dispatcher = Dispatcher()
    assert dispatcher.room() == 0
    dispatcher.add(1)
    assert dispatcher.room() == 1
    dispatcher.put(claims("a"))
    assert dispatcher.room() == 0


def test_window_grows_with_short_jobs_and_falls_with_a_long_one():
    dispatcher = Dispatcher()
    dispatcher.add(1)
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
    dispatcher.add(1)
    dispatcher.put(claims(*map(str, range(1000))))
    for _ in range(8):
        dispatcher.assign(0.0)
        dispatcher.ended(1, dispatcher.jobs_of(1)[0].uuid, 1, 0.0001, 0.0)
    assert len(dispatcher.jobs_of(1)) == MAX_WINDOW - 1
    assert dispatcher.flooded
    dispatcher.add(2)
    assert not dispatcher.flooded
    dispatcher.remove(2)
    for claim in dispatcher.jobs_of(1)[PLENTY - 1 :]:
        dispatcher.ended(1, claim.uuid, 1, 0.0001, 0.0)
    assert not dispatcher.flooded


def test_what_waits_behind_a_long_job_goes_to_another_worker_first():
    dispatcher = Dispatcher()
    dispatcher.add(1)
    dispatcher.put(claims("quick"))
    dispatcher.assign(0.0)
    dispatcher.ended(1, "quick", 1, 0.0, 0.0)
    dispatcher.put(claims("long", "b", "c"))
    assert uuids(dispatcher.assign(1.0)) == [(1, "long"), (1, "b")]
    assert dispatcher.stuck(1.0) == []
    assert dispatcher.next_look() == 1.0 + LONG
    assert dispatcher.stuck(1.0 + LONG) == [1]
    dispatcher.put_back(dispatcher.took_back(1, ["b"]))
    dispatcher.add(2)
    assert uuids(dispatcher.assign(1.1)) == [(2, "b")]


def test_a_closed_worker_gets_nothing_and_a_removed_one_gives_its_jobs():
    dispatcher = Dispatcher()
    dispatcher.add(1)
    dispatcher.put(claims("a", "b"))
    dispatcher.assign(0.0)
    dispatcher.close(1)
    assert dispatcher.assign(0.0) == []
    assert [claim.uuid for claim in dispatcher.remove(1)] == ["a"]
    assert [claim.uuid for claim in dispatcher.empty()] == ["b"]
    assert dispatcher.idle


def test_an_unknown_outcome_is_nobodys():
    dispatcher = Dispatcher()
    dispatcher.add(1)
    assert dispatcher.ended(1, "a", 1, 0.0, 0.0) is None
    assert dispatcher.ended(9, "a", 1, 0.0, 0.0) is None
