"""Tasks in the module that was started, however it was started and wherever it ends."""

from typing import Any

import pytest

SERVER = """
    import http.server
    import socketserver
    import sys
    import autocron
    from autocron import cron, delay

    autocron.start("test.db")

    @delay
    def where(name):
        with open("ledger", "a") as ledger:
            print("ran", name, __name__, file=ledger)

    @cron(every=1)
    def beat():
        with open("ledger", "a") as ledger:
            print("beat", file=ledger)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self): ...

    where("here")
"""
ENDINGS = {
    "server": "http.server.HTTPServer(('127.0.0.1', 0), Handler).serve_forever()",
    "server in a thread": """
    import threading
    server = threading.Thread(target=lambda: socketserver.TCPServer(('127.0.0.1', 0), Handler).serve_forever())
    server.start()
    server.join()
    """,
    "guarded": "if __name__ == '__main__': http.server.HTTPServer(('127.0.0.1', 0), Handler).serve_forever()",
    "input": "sys.stdin.read()",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_script(lab: Any, ending: str) -> None:
    check(lab, "shop.py", ["shop.py"], ENDINGS[ending], "shop")


@pytest.mark.parametrize(
    ("file", "arguments", "name"),
    [
        ("my-shop.v2.py", ["my-shop.v2.py"], "my-shop.v2"),
        ("shop/__main__.py", ["-m", "shop"], "shop.__main__"),
        ("shop/serve.py", ["-m", "shop.serve", "--verbose"], "shop.serve"),
        ("deep/shop.py", ["deep/shop.py"], "shop"),
    ],
)
def test_way_to_start(lab: Any, file: str, arguments: list[str], name: str) -> None:
    if file.startswith("shop/"):
        lab.write("shop/__init__.py", "")
    check(lab, file, arguments, ENDINGS["server"], name)


def check(lab: Any, file: str, arguments: list[str], ending: str, name: str) -> None:
    lab.write(file, SERVER)
    lab.add(file, ending)
    app = lab.launch(*arguments)
    lab.until(
        lambda: f"ran here {name}" in lab.ledger() and "beat" in lab.ledger(), 20, "the task and the cron entry run"
    )
    assert len(lab.nodes()) == 1
    app.kill()
    lab.until(lambda: not lab.processes(), 10, "all processes end")


def test_endless_loop(lab: Any) -> None:
    """The worker stops reading the script after its deadline."""
    check(lab, "shop.py", ["shop.py"], "while True: pass", "shop")
