"""Systems without calls that Linux has: they are hidden, and everything goes on."""

from typing import Any

import pytest

HIDE = {
    "pidfd_open": "import os; del os.pidfd_open",
    "memfd_create": "import os; del os.memfd_create",
    "prctl": """
        import ctypes
        class Library(ctypes.CDLL):
            def __getattr__(self, name):
                if name == "prctl":
                    raise AttributeError(name)
                return super().__getattr__(name)
        ctypes.CDLL = Library
        """,
    "SOCK_SEQPACKET": "import socket; del socket.SOCK_SEQPACKET",
    "SO_PEERCRED": "import socket; del socket.SO_PEERCRED",
    "epoll": "import select; del select.epoll",
}


@pytest.mark.parametrize("hidden", [*([name] for name in HIDE), list(HIDE)], ids=[*HIDE, "all"])
def test_hidden_call(lab: Any, hidden: list[str]) -> None:
    for name in hidden:
        lab.write(f"hide/hide_{name}.py", HIDE[name])
    lab.write("hide/sitecustomize.py", "".join(f"import hide_{name}\n" for name in hidden))
    lab.environ["PYTHONPATH"] = str(lab.folder / "hide")
    app = lab.start(workers=2)
    assert app.ask("[r.wait(10) for r in [work(n) for n in range(50)]]") == list(range(50))
    assert app.ask("len(run('value = \"x\" * 300_000').wait(10))") == 300_000
    held = app.ask("hold('gate').uuid")
    lab.kill(lab.begun("gate"))
    lab.begun("gate", 2)
    assert [past.outcome for past in lab.job(held).past_attempts] == ["crashed"]
    node, workers = lab.node(), lab.ready()
    lab.kill(node)
    lab.node(other_than=node)
    lab.begun("gate", 3)
    lab.until(lambda: not {node, *workers} & lab.processes().keys(), 2, "the old workers end")
    lab.open_gate("gate")
    assert lab.ended(held).state == "succeeded"
    app.ask("autocron.stop()")
    lab.until(lambda: not lab.background(), 2, "node and workers end")
