import contextlib
import io
import json
import sqlite3
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from autocron.cli import facts as facts_of
from autocron.cli import render
from autocron.cli.command import autocron
from autocron.clock import SystemClock
from autocron.model import Declaration, NewJob
from autocron.store.base import Store
from autocron.store.place import Place
from autocron.store.sqlite import open_store
from autocron.text import printable


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOCRON_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    store = open_store(home / "shop.db")
    store.settings()  # creates the database
    yield store
    store.close()


def run(*args: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(autocron, args, input=answer)


def facts() -> dict[str, object]:
    result = run("shop.db", "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_it_shows_settings_jobs_schedules_and_the_full_path(store: Store, home: Path):
    now = time.time()
    store.declare([Declaration("shop.tidy", "shop.tidy", "shop", "every 3600", "UTC")], ["shop"], [], [], now)
    store.insert(NewJob("u1", "shop.mail", "[[],{}]", now, now))
    output = run("shop.db").output
    for text in (
        str(home / "shop.db"),
        "workers",
        "30m (default)",
        "shop.tidy",
        "every 3600 s",
        "no node works on it now",
    ):
        assert text in output.replace("\n", "") or text in output
    found = facts()
    assert found["database"] == str(home / "shop.db")
    assert found["jobs"] == {"queued": 1}
    assert found["node"] is None


@pytest.mark.parametrize(("word", "locked"), [("on", True), ("OFF", False), ("True", True), ("false", False)])
def test_the_lock_is_set_in_any_case(store: Store, word: str, locked: bool):
    store.set({"locked": not locked})
    assert run("shop.db", "--set-autocron-lock", word).exit_code == 0
    assert store.settings().locked is locked


def test_settings_are_stored_and_reset_but_the_lock_stays(store: Store):
    assert run("shop.db", "--set-max-workers", "3", "--set-result-ttl", "60").exit_code == 0
    assert run("--set-autocron-lock", "on", "shop.db").exit_code == 0
    assert (store.settings().workers, store.settings().result_ttl) == (3, 60.0)
    assert run("shop.db", "--set-defaults").exit_code == 0
    assert (store.settings().workers, store.settings().locked) == (1, True)


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["shop.db", "--set-autocron-lock", "maybe"], "'maybe' is neither on nor off"),
        (["shop.db", "--set-max-workers", "0"], "workers: 0 is not a whole number from 1 on"),
        (["shop.db", "--set-result-ttl", "-1"], "-1.0 is not a finite number of seconds from 0 on"),
        (["shop.db", "--no-such-option"], "No such option"),
        (["explain"], "./explain"),
        (["demo"], "./demo"),
        (["shop.db", "--set-result-ttl", "nan"], "nan is not a finite number of seconds"),
        (["shop.db", "--set-result-ttl", "inf"], "inf is not a finite number of seconds"),
        (
            ["shop.db", "tpo"],
            "No such command 'tpo'. There are: doctor, move, pause, resume, schedules, set, top, work",
        ),
        (["top", "shop.db"], "the database stands before them"),
        (["shop.db", "--set-max-workers", "2", "top"], "--set-max-workers does not go with top"),
        (["shop.db", "--delete-database", "--json"], "--delete-database does not go with --json"),
        (["shop.db", "--yes"], "--yes goes with --delete-database"),
        (["shop.db", "work"], "MODULE"),
        (["shop.db", "--set-max-workers"], "requires an argument"),
        ([], "DATABASE"),
    ],
)
@pytest.mark.usefixtures("store")
def test_wrong_command_lines_say_what_would_be_right(args: list[str], hint: str):
    before = facts()["settings"]
    result = run(*args)
    assert result.exit_code == 2
    assert hint in " ".join(result.output.split())
    assert facts()["settings"] == before


@pytest.mark.parametrize("more", [[], ["--set-max-workers", "2"], ["--delete-database", "--yes"], ["top", "--once"]])
def test_a_database_that_is_not_there_is_named_and_not_created(home: Path, more: list[str]):
    result = run("nope.db", *more)
    assert result.exit_code == 1
    assert str(home / "nope.db") in result.output
    assert list(home.iterdir()) == []


def test_looking_creates_no_folders_but_work_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home = tmp_path / "home"
    monkeypatch.setenv("AUTOCRON_HOME", str(home))
    for more in ([], ["top", "--once"], ["--set-max-workers", "2"]):
        result = run("shops/nope.db", *more)
        assert result.exit_code == 1
        assert f"there is no database {home / 'shops' / 'nope.db'}" in result.output
    assert not home.exists()
    monkeypatch.setattr("autocron.node.__main__.run_foreground", lambda *_: 0)
    assert run("shops/new.db", "work", "shop").exit_code == 0
    assert (home / "shops" / "new.db").exists()


def test_deleting_asks_and_leaves_nothing(store: Store, home: Path):
    store.close()
    assert run("shop.db", "--delete-database", answer="n\n").exit_code == 1
    assert (home / "shop.db").exists()
    assert run("shop.db", "--delete-database", answer="y\n").exit_code == 0
    assert list(home.iterdir()) == []


def test_what_is_no_database_of_autocron_is_not_deleted(home: Path):
    (home / "letter").write_text("Dear Sir")
    with contextlib.closing(sqlite3.connect(home / "foreign")) as connection:
        connection.execute("CREATE TABLE letters (text)")
    for name in ("letter", "foreign"):
        before = (home / name).read_bytes()
        assert run(name, "--delete-database", "--yes").exit_code == 1
        assert (home / name).read_bytes() == before


@pytest.mark.parametrize(
    "args", [["--json", "shop.db"], ["-i", "shop.db", "--json"], ["shop.db", "--json"], ["--json", "--", "shop.db"]]
)
@pytest.mark.usefixtures("store")
def test_options_stand_on_either_side_of_the_database(args: list[str], home: Path):
    assert json.loads(run(*args).output)["database"] == str(home / "shop.db")


def test_changes_are_told_as_they_are_now(store: Store, home: Path):
    assert run("shop.db", "--set-result-ttl=90").output == f"{home / 'shop.db'}\nresult_ttl: 90s\n"
    assert json.loads(run("shop.db", "--set-max-workers", "2", "--json").output)["settings"]["workers"] == 2
    told = run("shop.db", "--set-defaults", "--set-max-workers", "4").output
    assert "workers: 4" in told
    assert "result_ttl: 30m" in told


@pytest.mark.parametrize("word", ["explain", "top"])
def test_any_name_can_be_that_of_a_database(home: Path, word: str):
    open_store(home / word).settings()
    assert json.loads(run(f"./{word}", "--json").output)["database"] == str(home / word)


def test_schedules_show_their_next_run(store: Store):
    now = time.time()
    daily = Declaration("shop.tidy", "shop.tidy", "shop", "30 2 * * *", "Europe/Berlin")
    store.declare([daily], ["shop"], [], [], now)
    (found,) = json.loads(run("shop.db", "--json").output)["schedules"]
    berlin = datetime.fromtimestamp(found["next_run"], ZoneInfo("Europe/Berlin"))
    assert (berlin.hour, berlin.minute) == (2, 30)
    assert now < found["next_run"] < now + 26 * 3600
    assert f"{berlin:%Y-%m-%d}" in run("shop.db").output


def test_a_schedule_in_a_zone_that_is_unknown_here_hides_nothing(store: Store):
    store.declare([Declaration("a", "a", "shop", "0 2 * * *", "Mars/Base")], ["shop"], [], [], time.time())
    assert "never" in run("shop.db").output
    (schedule,) = facts()["schedules"]
    assert schedule["next_run"] is None


def test_top_shows_what_comes_next_and_what_is_due_later(store: Store):
    now = time.time()
    store.insert(NewJob("u1", "shop.mail", "[[],{}]", now, now))
    store.insert(NewJob("u2", "shop.later", "[[],{}]", now + 3600, now))
    output = run("shop.db", "top", "--once").output
    assert output.index("shop.mail") < output.index("shop.later")


def test_a_board_fits_its_terminal(store: Store, home: Path):
    now = time.time()
    for number in range(99):
        store.insert(NewJob(f"u{number}", "shop.mail", "[[],{}]", now, now))
    store.exchange([], 50, now)
    store.declare([Declaration("shop.tidy", "shop.tidy", "shop", "every 3600", "UTC")], ["shop"], [], [], now)
    for height in (24, 60):
        found = facts_of.collect_board(Place.of_file(home / "shop.db"), store, SystemClock(), render.rows_of(height))
        console = Console(file=io.StringIO(), width=80)
        lines = console.render_lines(render.board(found))
        assert height / 2 < len(lines) <= height


@pytest.mark.parametrize("args", [[], ["top", "--once"]])
def test_that_nothing_runs_is_said_with_the_reason(store: Store, args: list[str]):
    assert "no node works on it now" in run("shop.db", *args).output
    store.set({"locked": True})
    output = " ".join(run("shop.db", *args).output.split())
    assert "the autocron lock is on" in output
    assert "no node works on it now" not in output


def test_a_server_may_have_nodes_that_are_not_seen_from_here(store: Store, home: Path):
    board = facts_of.collect_board(Place.of_file(home / "shop.db"), store, SystemClock(), 1)
    on_postgres = msgspec.structs.replace(board.facts, database="postgresql://db/shop")
    console = Console(file=io.StringIO(), width=200)
    console.print(render.board(msgspec.structs.replace(board, facts=on_postgres)))
    assert "no node works on it for this user on this machine now" in console.file.getvalue()


def test_what_a_terminal_would_act_on_is_shown_escaped():
    assert printable("a\x1b[2Jb\n") == "a\\x1b[2Jb\\n"


def test_escapes_in_names_and_errors_do_nothing_to_a_terminal(store: Store):
    now = time.time()
    store.insert(NewJob("u1", "x\x1b[31m", "[[],{}]", now, now))
    for args in (["no\x1b[31m.db"], ["shop.db", "top", "--once"], ["shop.db", "a\x1b[31m"], ["/no\x1b[31m/x.db"]):
        output = run(*args).output
        assert "\x1b" not in output
        assert "\\x1b[31m" in output


def test_the_version_needs_no_database():
    result = run("--version")
    assert result.exit_code == 0
    assert "autocron" in result.output


def test_in_a_folder_that_was_deleted_nothing_but_work_fails(store: Store, tmp_path: Path):
    folder = tmp_path / "gone"
    folder.mkdir()
    with contextlib.chdir(folder):
        folder.rmdir()
        assert run("shop.db").exit_code == 0
        refused = run("shop.db", "work", "shop")
    assert refused.exit_code == 1
    assert f"the current folder, {folder}, was deleted" in " ".join(refused.output.split())


def test_schedules_are_shown_paused_and_run_now(store: Store):
    store.declare([Declaration("shop.tidy", "shop.tidy", "shop", "every 3600", "UTC")], ["shop"], [], [], time.time())
    store.add_schedule(Declaration("report", "shop.report", None, "every 60", "UTC", arguments="[[7],{}]"), time.time())
    assert run("shop.db", "schedules", "pause", "shop.tidy").output == "shop.tidy is paused\n"
    output = run("shop.db", "schedules").output
    assert "paused" in output
    assert "report" in output
    shown = {one["name"]: one for one in facts()["schedules"]}  # type: ignore[attr-defined]
    assert (shown["shop.tidy"]["paused"], shown["shop.tidy"]["next_run"], shown["shop.tidy"]["declared"]) == (
        (True, None, True)
    )
    assert (shown["report"]["paused"], shown["report"]["declared"], shown["report"]["task"]) == (
        (False, False, "shop.report")
    )
    assert run("shop.db", "schedules", "resume", "shop.tidy").exit_code == 0
    assert not any(one.paused for one in store.schedules())
    assert "report runs now" in run("shop.db", "schedules", "run-now", "report").output
    (claim,) = store.exchange([], 5, time.time()).claims
    assert (claim.task, claim.arguments) == ("shop.report", "[[7],{}]")


@pytest.mark.parametrize("command", ["pause", "resume", "run-now"])
def test_an_unknown_schedule_is_an_error_that_names_the_others(store: Store, command: str):
    store.add_schedule(Declaration("report", "shop.report", None, "every 60", "UTC"), time.time())
    result = run("shop.db", "schedules", command, "rapport")
    assert result.exit_code == 1
    assert "there is no schedule 'rapport'. There are: report" in result.output
