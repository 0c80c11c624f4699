from autocron.node.ending import ASK_TIME, Ending, Phase, Step


def ending(grace: float = 5.0, *, final: bool = False) -> Ending:
    one = Ending()
    assert one.begin(100.0, grace, final=final)
    return one


def test_with_nothing_to_do_it_finishes_at_once():
    one = ending()
    assert one.step(100.0, idle=True, gone=False) is Step.FINISH
    assert one.finishing
    assert not one.out_of_time


def test_jobs_are_waited_for_then_asked_then_killed():
    one = ending()
    assert one.step(104.9, idle=False, gone=False) is None
    assert one.step(105.0, idle=False, gone=False) is Step.INTERRUPT
    assert one.step(105.0 + ASK_TIME / 2, idle=False, gone=False) is None
    assert one.step(105.0 + ASK_TIME, idle=False, gone=False) is Step.KILL
    assert one.step(200.0, idle=True, gone=False) is None
    assert one.step(200.0, idle=True, gone=True) is Step.FINISH


def test_workers_that_do_not_end_when_they_are_done_are_killed():
    one = ending()
    one.step(100.0, idle=True, gone=False)
    assert one.step(100.0 + ASK_TIME, idle=True, gone=False) is Step.KILL
    assert one.out_of_time
    assert one.step(300.0, idle=True, gone=False) is None


def test_the_shortest_grace_counts():
    one = ending(5.0)
    assert not one.begin(101.0, 9.0, final=False)
    assert one.until == 105.0
    assert not one.begin(101.0, 0.0, final=False)
    assert one.step(101.0, idle=False, gone=False) is Step.INTERRUPT


def test_it_can_be_called_back_until_its_workers_are_killed():
    one = ending()
    one.step(105.0, idle=False, gone=False)
    assert one.resume()
    assert one.running
    assert one.step(200.0, idle=True, gone=True) is None
    one.begin(200.0, 0.0, final=False)
    one.step(200.0, idle=False, gone=False)
    one.step(200.0 + ASK_TIME, idle=False, gone=False)
    assert one.phase is Phase.KILLING
    assert not one.resume()


def test_a_running_node_has_nothing_to_resume():
    assert not Ending().resume()


def test_after_a_signal_nobody_calls_it_back():
    one = ending()
    one.begin(100.0, 5.0, final=True)
    assert not one.resume()
    assert one.phase is Phase.DRAINING


def test_abandoned_it_waits_for_nothing_but_the_dead():
    one = Ending()
    one.abandon()
    assert one.step(100.0, idle=False, gone=False) is None
    assert one.step(100.0, idle=False, gone=True) is Step.FINISH
