"""The admin tool moves a database under a running application, and then the application goes there."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from autocron.model import State
from autocron.store.place import find_place, open_store

if TYPE_CHECKING:
    from conftest import Lab


def autocron(lab: Lab, *words: str, target: str = "") -> subprocess.CompletedProcess[str]:
    environ = lab.environ | ({"AUTOCRON_DATABASE": target} if target else {})
    return subprocess.run(
        [sys.executable, "-m", "autocron", *words], env=environ, capture_output=True, text=True, check=False, timeout=60
    )


def test_an_application_goes_on_in_the_database_to_which_all_was_moved(
    lab: Lab, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.add("tasks.py", "\n@cron('0 0 1 1 *')\ndef yearly(): ...\n")
    app = lab.start(1)
    done = app.ask("work(1).uuid")
    lab.ended(done)
    running = app.ask("hold('gate').uuid")
    lab.begun("gate")
    queued = [app.ask(f"work({number}).uuid") for number in range(2, 5)]
    later = app.ask("work.options(hours=1)(5).uuid")
    moving = subprocess.Popen(
        [sys.executable, "-m", "autocron", "test.db", "move"],
        env=lab.environ | {"AUTOCRON_DATABASE": postgres},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lab.until(lambda: "the node ends" in lab.output(), what="the node to drain")
    lab.open_gate("gate")  # so that what runs comes to its end, in the source
    said = moving.communicate(timeout=60)[0]
    assert moving.returncode == 0, said
    assert "checksum" in said
    with pytest.raises(Exception, match=r"StoreMoved: .* was moved to postgresql://"):
        app.ask("work(6)")
    assert autocron(lab, "test.db").returncode == 1
    app.ask("autocron.stop()")
    assert app.ask(f"autocron.start({postgres!r})") is True
    monkeypatch.setenv("AUTOCRON_HOME", str(lab.database.parent))
    there = open_store(find_place(postgres))
    lab.until(lambda: there.counts(0.0).by_state == {State.SUCCEEDED: 5, State.QUEUED: 1}, what="the rest to run")
    assert app.ask(f"[autocron.get_result(uuid).wait(9) for uuid in {[done, *queued]!r}]") == [1, 2, 3, 4]
    assert app.ask(f"autocron.get_result({running!r}).attempt") == 1
    assert app.ask(f"autocron.get_result({later!r}).status.value") == "queued"
    assert [one.declaration.name for one in there.schedules()] == ["tasks.yearly"]
    there.close()
    assert len({*lab.ledger()}) == len(lab.ledger())  # nothing ran twice
    assert autocron(lab, "test.db", "--delete-database", "--yes").returncode == 0
    assert not lab.database.exists()
    app.ask("autocron.stop()")
    lab.until(lambda: not lab.background(), what="the end of the node")
    assert autocron(lab, "move", "back.db", target=postgres).returncode == 0
    assert '"succeeded": 5' in autocron(lab, "back.db", "--json").stdout


def test_a_node_that_does_not_end_is_named_and_all_goes_on(lab: Lab) -> None:
    app = lab.start(1)
    uuid = app.ask("work(1).uuid")
    lab.ended(uuid)
    refused = autocron(lab, "test.db", "move", "test.db")
    assert (refused.returncode, "itself" in refused.stderr) == (1, True)
    nowhere = autocron(lab, "none.db", "move", "other.db")
    assert (nowhere.returncode, "there is no database" in nowhere.stderr) == (1, True)
    assert app.ask("work(2).wait(9)") == 2
