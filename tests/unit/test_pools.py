from autocron.model import Claim, Settings
from autocron.node.lane import Lane
from autocron.node.pools import Pools, pools_of, unserved
from autocron.store.claiming import ANY


def claims(*names: str) -> list[Claim]:
    """Give claims named after their queues."""
    return [Claim(name, 1, "task", "[[],{}]", 0.0, queue=name[:-1]) for name in names]


def uuids(some: list[Claim]) -> list[str]:
    return [claim.uuid for claim in some]


def test_settings_say_which_pools_there_are():
    assert pools_of(Settings(workers=3)) == {ANY: 3}
    assert pools_of(Settings(workers=3, queues={"a": 1, "b": 2})) == {"a": 1, "b": 2}


def test_each_pool_gets_the_jobs_of_its_queue():
    pools = Pools()
    assert pools.serve(["a", "b"]) == []
    pools.add(1, Lane(), "a")
    pools.add(2, Lane(), "b")
    assert pools.room() == {"a": 1, "b": 1}
    pools.put(claims("a1", "a2", "b1"))
    assert [(worker, claim.uuid) for worker, claim in pools.assign(0.0)] == [(1, "a1"), (2, "b1")]
    assert pools.room() == {}
    assert pools.ended(2, "b1", 1, 0.1, 0.1)
    assert pools.room() == {"b": 1}
    assert not pools.idle
    assert pools.uuids() == {"a1", "a2"}


def test_one_pool_takes_the_jobs_of_all_queues():
    pools = Pools()
    pools.serve([ANY])
    pools.add(1, Lane(), ANY)
    pools.put(claims("a1", "b1"))
    assert uuids([claim for _, claim in pools.assign(0.0)]) == ["a1"]
    assert uuids(pools.empty()) == ["b1"]


def test_when_the_pools_change_waiting_jobs_find_their_new_one_and_the_others_are_given_up():
    pools = Pools()
    pools.serve([ANY])
    pools.add(1, Lane(), ANY)
    pools.put(claims("a1", "b1", "a2", "c1"))
    pools.assign(0.0)
    assert uuids(pools.serve(["a", "b"])) == ["c1"]
    assert pools.jobs_of(1)  # it goes on with what it has begun
    assert not pools.idle
    pools.put_back(pools.took_back(1, ["a1"]))
    pools.add(2, Lane(), "a")
    assert uuids([claim for _, claim in pools.assign(0.0)]) == ["a1"]
    assert pools.remove(1) == []
    assert uuids(pools.empty()) == ["a2", "b1"]


def test_queues_without_workers_are_found():
    due = {"a": 1.0, "b": 1.0, "later": 9.0}
    assert unserved(due, {"a": 1}, 5.0) == ["b"]
    assert unserved(due, {ANY: 1}, 5.0) == []
