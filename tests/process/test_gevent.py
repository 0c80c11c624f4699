"""An application whose threads are greenlets: what waits must let the others go on."""

import importlib.util
from typing import Any

import pytest

APP = """
    from gevent import monkey
    monkey.patch_all()
    import os, apsw, gevent
    import autocron
    from tasks import work

    assert autocron.start("test.db", 1)
    results = [gevent.spawn(lambda number=number: work(number).wait(20)) for number in range(20)]
    assert [one.get() for one in results] == list(range(20))

    stranger = apsw.Connection(os.environ["AUTOCRON_HOME"] + "/test.db")
    stranger.execute("begin immediate")
    call = gevent.spawn(work, 20)
    gevent.sleep(0)
    assert not call.ready()  # it waits for the stranger, which only this greenlet can end
    stranger.execute("rollback")
    assert call.get().wait(20) == 20
    stranger.close()
    autocron.stop()
"""


@pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="needs gevent")
def test_greenlets_go_on_while_one_waits(lab: Any):
    lab.write("greenlets.py", APP)
    app = lab.launch("greenlets.py")
    assert app.wait(60) == 0
    lab.until(lambda: lab.background() == {}, what="the node ends")
