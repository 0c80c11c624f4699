"""Forked children, other processes, and many applications at once."""

from typing import Any

import pytest

FORK = """
    import multiprocessing

    def forked(*calls):
        pid = os.fork()
        if pid == 0:
            try:
                for call in calls:
                    note("child", call())
            finally:
                os._exit(0)
        return os.waitpid(pid, 0)[1]

    def spawned(method):
        process = multiprocessing.get_context(method).Process(target=child, daemon=True)
        process.start()
        process.join(20)
        return process.exitcode

    def child():
        autocron.start("test.db")
        note("child", work(1).wait(10))
"""


def test_fork(lab: Any) -> None:
    lab.add("tasks.py", FORK)
    app = lab.start()
    node = lab.node()
    assert app.ask("forked(lambda: work(1).wait(10), lambda: work(2).wait(10))") == 0
    assert lab.ledger() == ["ran 1", "child 1", "ran 2", "child 2"]
    assert app.ask("work(3).wait(10)") == 3
    assert lab.nodes() == [node]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(lab: Any, method: str) -> None:
    lab.write("app.py", 'if __name__ == "__main__":\n' + (lab.folder / "app.py").read_text().replace("\n", "\n    "))
    lab.add("tasks.py", FORK)
    app = lab.start()
    assert app.ask(f"spawned({method!r})", 30) == 0
    assert lab.ledger() == ["ran 1", "child 1"]
    assert app.ask("work(3).wait(10)") == 3
    assert len(lab.nodes()) == 1


def test_many_start_at_once(lab: Any) -> None:
    apps = [lab.launch("app.py") for _ in range(12)]
    for app in apps:
        app.tell("autocron.start('test.db', workers=2)")
    assert [app.answer(30) for app in apps] == [True] * 12
    for number, app in enumerate(apps):
        app.tell(f"work({number}).wait(20)")
    assert [app.answer(30) for app in apps] == list(range(12))
    assert lab.nodes() == [lab.node()]
    lab.until(lambda: len(lab.background()) == 3, what="one node with two workers")
    assert len(lab.ledger()) == 12
