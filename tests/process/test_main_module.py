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


WAITING = {
    "wait": """
    print("got", note("once").wait(timeout=20))
    note.map(["a", "b"])
    """,
    "await": """
    async def main():
        with autocron.transaction():
            first = note("once")
        await note.aenqueue("a")
        print("got", await first)
        await note.aenqueue("b")
    asyncio.run(main())
    """,
}


@pytest.mark.parametrize("way", WAITING)
def test_calls_of_a_script_without_a_guard_are_made_once(lab: Any, way: str) -> None:
    """Each worker imports the script, but only the application makes the calls that stand in it."""
    lab.write(
        "shop.py",
        """
        import asyncio
        import sys
        import autocron

        @autocron.delay
        def note(what):
            with open("ledger", "a") as ledger:
                print("ran", what, file=ledger)

        autocron.start("test.db", workers=2, linger=60)
        """,
    )
    lab.add("shop.py", WAITING[way])
    lab.add("shop.py", "sys.stdin.read()")
    lab.launch("shop.py")
    lab.until(lambda: "got None" in lab.output(), 20, "the script has its result")
    lab.until(lambda: len(lab.ledger()) >= 3, 20, "all calls have run")
    lab.until(lambda: lab.output().count("shop waits for a result where it is imported") == 2, 20, "both workers told")
    assert sorted(lab.ledger()) == ["ran a", "ran b", "ran once"]
    assert sum(lab.store.counts(0.0).by_state.values()) == 3


def test_a_script_that_starts_long_before_its_first_task_is_no_module_the_next_time(lab: Any) -> None:
    """The workers of its second start know of it, from the database, before it has declared anything."""
    start = """autocron.start("test.db", linger=0.1)"""
    wait = "\n    import os, time\n    while not os.path.exists('gate'): time.sleep(0.01)\n"
    lab.write("shop.py", SERVER.replace("""autocron.start("test.db")""", start + wait))
    lab.add("shop.py", ENDINGS["server"])
    for number in (1, 2):
        app = lab.launch("shop.py")
        lab.until(lambda: any("autocron.worker" in command for command in lab.background().values()), what="a worker")
        lab.open_gate("gate")
        lab.until(lambda number=number: lab.ledger().count("ran here shop") == number, what="the task has run")
        lab.folder.joinpath("gate").unlink()
        app.kill()
        lab.until(lambda: not lab.processes(), 10, "all processes end")
    assert "could not import" not in lab.output()


def test_a_script_that_another_one_follows_starts_no_server_in_its_workers(lab: Any) -> None:
    """Its schedule goes on, so the workers import it, but not the calls at its end."""
    lab.write("shop.py", SERVER)
    lab.add("shop.py", ENDINGS["server"])
    shop = lab.launch("shop.py")
    lab.until(lambda: "ran here shop" in lab.ledger(), what="the task has run")
    shop.kill()
    lab.until(lambda: not lab.processes(), 10, "all processes end")
    beats = lab.ledger().count("beat")
    app = lab.start()
    assert app.ask("work(1).wait(15)") == 1
    lab.until(lambda: lab.ledger().count("beat") > beats, what="the schedule fires")
    assert lab.ledger().count("ran here shop") == 1
