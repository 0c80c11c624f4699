"""Settings that cannot be used, stored by somebody else: nobody stands still, everybody is told."""

from typing import Any

import pytest


def test_bad_setting_while_a_node_works(lab: Any) -> None:
    app = lab.start(2)
    lab.ready(2)
    node = lab.node()
    lab.store.set({"workers": 0})
    lab.until(lambda: "Until then this node works with the settings that it had before" in lab.output())
    assert "`int` >= 1 - at `$.workers`" in lab.output()
    assert app.ask("work(1).wait(10)") == 1
    assert len(lab.ready_now()) == 2
    lab.kill(node)
    lab.node(other_than=node)  # the next one works with the defaults
    assert app.ask("work(2).wait(10)") == 2
    lab.store.set({"workers": 3})
    lab.ready(3)


def test_bad_setting_before_the_start(lab: Any) -> None:
    lab.store.set({"workers": -1})
    app = lab.launch("app.py")
    with pytest.raises(Exception, match=r"a stored setting cannot be used .*\$\.workers.*; set it again"):
        app.ask("autocron.start('test.db')")
    assert app.ask("autocron.start('test.db', 2)") is True
    lab.ready(2)
