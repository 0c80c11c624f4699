from autocron.model import Claim
from autocron.node.dispatch import LONG, MAX_WINDOW, Dispatcher


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
    widths = []
    for round_ in range(8):
        dispatcher.put(claims(*(f"{round_}.{number}" for number in range(200))))
        sent = dispatcher.assign(0.0)
        widths.append(len(sent))
        for _, claim in sent[:1]:
            dispatcher.ended(1, claim.uuid, 1, 0.0001, 0.0)
        for _, claim in sent[1:]:
            dispatcher.took_back(1, [])
            dispatcher._lanes[1].jobs.pop(claim.uuid)
        dispatcher._lanes[1].window = min(MAX_WINDOW, 2 ** (round_ + 1))
        dispatcher.empty()
    assert widths == [1, 2, 4, 8, 16, 32, 64, 64]
    dispatcher.put(claims("long"))
    dispatcher.assign(0.0)
    dispatcher.ended(1, "long", 1, LONG * 2, 0.0)
    dispatcher.put(claims("x", "y"))
    assert len(dispatcher.assign(0.0)) == 1


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
