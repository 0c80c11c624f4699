"""Cron entries of real applications: how often they fire, when they begin, and when they end."""

import time
from typing import Any

import pytest
from databases import on_each_database

from autocron.model import Declaration

BEAT = """
    @cron(every=1)
    def beat():
        note("beat", time.time())
"""


def beats(lab: Any) -> list[float]:
    return [float(line.split()[1]) for line in lab.ledger() if line.startswith("beat ")]


def test_each_slot_fires_once(lab: Any) -> None:
    lab.add("tasks.py", BEAT)
    for _ in range(4):
        lab.start(workers=2)
    begin = len(beats(lab))
    lab.until(lambda: len(beats(lab)) >= begin + 4, 8, "four beats")
    seconds = [int(beat) for beat in beats(lab)]
    assert seconds == list(range(seconds[0], seconds[-1] + 1))


def test_removed_entry_fires_no_more(lab: Any) -> None:
    source = (lab.folder / "tasks.py").read_text()
    lab.add("tasks.py", BEAT)
    app = lab.start()
    lab.until(lambda: beats(lab), 8, "a beat")
    app.ask("autocron.stop()")
    app.close()
    lab.write("tasks.py", source)
    lab.start()
    lab.ready()
    assert lab.store.schedules() == []
    number = len(beats(lab))
    now = time.time()
    lab.until(lambda: time.time() > now + 2.2)
    assert len(beats(lab)) == number


def test_lazily_imported_module(lab: Any) -> None:
    """Its entry fires after a restart in which nobody has imported the module yet."""
    lab.write("views.py", "from tasks import *\n")
    lab.add("views.py", BEAT)
    app = lab.start()
    app.ask("__import__('views') and None")
    lab.until(lambda: beats(lab), 8, "a beat")
    app.ask("autocron.stop()")
    app.close()
    number = len(beats(lab))
    lab.start()
    lab.until(lambda: len(beats(lab)) > number, 8, "a beat after the restart")


def test_failing_import_stops_only_itself(lab: Any) -> None:
    lab.add("tasks.py", BEAT)
    lab.write("app.py", (lab.folder / "app.py").read_text().replace("import autocron\n", "import autocron, broken\n"))
    lab.write(
        "broken.py",
        "import sys\nfrom tasks import *\n\n@delay\ndef lost(): ...\n\nif sys.argv[0] != 'app.py': 1 / 0\n",
    )
    app = lab.start()
    lab.until(lambda: beats(lab), 8, "a beat")
    assert app.ask("work(1).wait(10)") == 1
    lab.until(lambda: "could not import broken" in lab.output())


def test_new_entry_does_not_fire_for_the_past(lab: Any) -> None:
    lab.add("tasks.py", "\n@cron()\ndef minutely():\n    note('minutely')\n")
    lab.add("tasks.py", "\n@cron('0 0 1 1 *', missed='all')\ndef yearly():\n    note('yearly')\n")
    lab.add("tasks.py", BEAT)
    begin = time.time()
    lab.start()
    lab.until(lambda: beats(lab), 8, "a beat")
    cursors = [stored.cursor for stored in lab.store.schedules()]
    assert len(cursors) == 3
    assert min(cursors) >= begin
    assert beats(lab)[0] > begin
    minutes = int(time.time() // 60) - int(begin // 60)
    assert lab.ledger().count("minutely") <= minutes
    assert "yearly" not in lab.ledger()


@pytest.mark.parametrize(("text", "zone"), [("99 * * * *", "UTC"), ("* * * * *", "Mars/Base"), ("every x", "UTC")])
def test_schedule_that_cannot_be_understood_stops_no_other(lab: Any, text: str, zone: str) -> None:
    lab.add("tasks.py", BEAT)
    lab.store.declare([Declaration("odd", "tasks.odd", "elsewhere", text, zone)], [], [], [], time.time())
    app = lab.start()
    lab.until(lambda: beats(lab), 8, "a beat")
    assert app.ask("work(1).wait(10)") == 1
    lab.until(lambda: "schedule odd does not fire: " in lab.output() + lab.log())


@on_each_database
def test_schedules_of_the_run_time(lab: Any) -> None:
    """They fire with their arguments, outlive the application, rest and go at once; a task may make them, too."""
    app = lab.start()
    lab.ready()
    app.ask("autocron.schedules.add('one', 1, work, ['one']) and None")
    lab.until(lambda: lab.ledger().count("ran one") >= 2, 8, "two runs")
    app.ask("autocron.schedules['one'].pause()")
    app.ask("autocron.schedules['one'].run_now().wait()")
    number = lab.ledger().count("ran one")
    app.ask('run(\'autocron.schedules.add("two", 1, work, ["two"])\').wait()')
    lab.until(lambda: lab.ledger().count("ran two") >= 2, 8, "two runs")
    assert lab.ledger().count("ran one") == number  # it has rested meanwhile
    app.ask("autocron.stop()")
    app.close()
    app = lab.start()
    app.ask("autocron.schedules['one'].resume()")
    before = lab.ledger().count("ran two")
    lab.until(lambda: lab.ledger().count("ran one") > number, 8, "a run after the pause")
    lab.until(lambda: lab.ledger().count("ran two") > before, 8, "a run after the restart")
    app.ask("autocron.schedules['two'].remove()")
    assert app.ask("[one.name for one in autocron.schedules]") == ["one"]
