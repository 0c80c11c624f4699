"""Waiting on PostgreSQL without a node on this machine: one connection hears of the ends, and nothing polls."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Lab

    Run = Callable[[str], list[tuple[object, ...]]]

LISTENERS = "from pg_stat_activity where application_name = 'autocron listener {}'"
PATCH = """
    import os
    from autocron.app import _app

    def wait_without_looking(results):
        _app.patience = lambda: 60.0  # whoever is not told does not see the end in time
        return [result.wait() for result in results]

    def wait_in_child(number):
        read, write = os.pipe()
        if not os.fork():
            os.write(write, str(wait_without_looking([work(number)])).encode())
            os._exit(0)
        os.wait()
        return os.read(read, 100).decode()
"""


def pair(machine: Callable[..., Lab]) -> tuple[Lab, Lab]:
    one, other = machine(), machine()
    one.start()
    one.ready()
    other.add("tasks.py", PATCH)
    return one, other


def test_ends_are_told_to_who_has_no_node(machine: Callable[..., Lab], run: Run) -> None:
    _, other = pair(machine)
    app = other.launch("app.py")
    assert app.ask(f"autocron.start({other.name!r}, 0)") is False
    assert app.ask("wait_without_looking([work(n, 0.02) for n in range(20)])", 40) == list(range(20))
    assert run(f"select count(*) {LISTENERS}") == [(2,)]  # the node's, and one for all who wait
    run(f"select pg_terminate_backend(pid, 5000) {LISTENERS}")
    assert app.ask("wait_without_looking([work(n, 0.02) for n in range(3)])", 40) == [0, 1, 2]
    assert not other.background()


def test_a_forked_child_waits_on_its_own_connection(machine: Callable[..., Lab]) -> None:
    _, other = pair(machine)
    app = other.launch("app.py")
    assert app.ask(f"autocron.start({other.name!r}, 0)") is False
    assert app.ask("wait_without_looking([work(1, 0.02)])", 40) == [1]
    assert app.ask("wait_in_child(2)", 40) == "[2]"
    assert app.ask("wait_without_looking([work(3, 0.02)])", 40) == [3]
