from autocron.node.fleet import FIRST_BACKOFF, Fleet, Plan, WorkerState
from autocron.store.claiming import ANY


def never(_number: int) -> bool:
    return False


def always(_number: int) -> bool:
    return True


def ready_fleet(count: int) -> Fleet:
    fleet = Fleet()
    fleet.wanted = {ANY: count}
    for number in range(1, count + 1):
        fleet.spawned(number, ANY)
        fleet.ready(number)
    return fleet


def test_missing_workers_are_spawned():
    fleet = Fleet()
    fleet.wanted = {ANY: 2}
    assert fleet.plan(0.0, never) == Plan([ANY, ANY])
    fleet.spawned(1, ANY)
    assert fleet.plan(0.0, never) == Plan([ANY])


def test_surplus_workers_leave_when_their_jobs_are_done():
    fleet = ready_fleet(2)
    fleet.wanted = {ANY: 1}
    assert fleet.plan(0.0, always) == Plan([], retire=[2])
    assert fleet.plan(0.0, always) == Plan([])
    assert fleet.plan(0.0, never) == Plan([], stop=[2])
    assert fleet.plan(0.0, never) == Plan([])


def test_renewing_replaces_idle_workers_and_waits_for_busy_ones():
    fleet = ready_fleet(2)
    fleet.renew()
    assert fleet.plan(0.0, lambda number: number == 1) == Plan([ANY, ANY], retire=[1, 2], stop=[2])
    assert fleet.members[1].state is WorkerState.RETIRING


def test_a_worker_that_dies_before_it_is_ready_delays_the_next_one():
    fleet = Fleet()
    fleet.wanted = {ANY: 1}
    fleet.spawned(1, ANY)
    fleet.gone(1, 100.0)
    assert fleet.plan(100.0, never).spawn == []
    assert fleet.next_look(100.0) == 100.0 + FIRST_BACKOFF
    assert fleet.plan(100.0 + FIRST_BACKOFF, never).spawn == [ANY]
    fleet.spawned(2, ANY)
    fleet.gone(2, 200.0)
    assert fleet.next_look(200.0) == 200.0 + 2 * FIRST_BACKOFF


def test_a_worker_that_dies_at_work_is_replaced_at_once():
    fleet = ready_fleet(1)
    fleet.gone(1, 100.0)
    assert fleet.plan(100.0, never).spawn == [ANY]


def test_a_worn_worker_is_replaced_while_it_finishes():
    fleet = ready_fleet(2)
    fleet.wear_out(1)
    assert fleet.plan(0.0, always) == Plan([ANY], retire=[1])
    fleet.spawned(3, ANY)
    assert fleet.plan(0.0, never) == Plan([], stop=[1])


def test_each_pool_has_its_workers():
    fleet = Fleet()
    fleet.wanted = {"default": 2, "mail": 1}
    assert fleet.plan(0.0, never) == Plan(["default", "default", "mail"])
    for number, pool in enumerate(["default", "default", "mail"], 1):
        fleet.spawned(number, pool)
        fleet.ready(number)
    fleet.gone(3, 0.0)
    assert fleet.plan(0.0, never) == Plan(["mail"])
    fleet.spawned(4, "mail")
    fleet.ready(4)
    fleet.wanted = {ANY: 1}
    assert fleet.plan(0.0, lambda number: number == 1) == Plan([ANY], retire=[1, 2, 4], stop=[2, 4])
