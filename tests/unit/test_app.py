"""Starting, names of databases, calls without background work, and what the workers are told."""

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from autocron import (
    Cancel,
    ConfigError,
    DuplicateJob,
    ResultNotFound,
    Retry,
    RetryLater,
    Snooze,
    TaskCancelled,
    TaskFailed,
    log,
    program,
    wire,
)
from autocron.active import Active
from autocron.app import App
from autocron.clock import SystemClock
from autocron.names import new_uuid
from autocron.options import Plan
from autocron.settings import wanted_settings
from autocron.store.paths import (
    lock_holder,
    package_environ,
    resolve_database,
    socket_address,
    socket_path,
    try_lock,
    unlock,
)
from autocron.store.sqlite import open_store
from autocron.task import AsyncTask, Registry, Task
from autocron.version import VERSION


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOCRON_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("AUTOCRON_DATABASE", raising=False)
    return tmp_path / "home"


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def app(registry: Registry) -> Iterator[App]:
    one = App(registry, SystemClock())
    yield one
    one.stop()


def add(first: int, second: int = 0) -> int:
    return first + second


def fail() -> None:
    raise ValueError("too bad")


ERRORS: list[Exception] = []


def raise_next() -> str:
    if ERRORS:
        raise ERRORS.pop(0)
    return "done"


def leave() -> None:
    sys.exit("bye")


def interrupt() -> None:
    raise KeyboardInterrupt


def give_object() -> object:
    return object()


def echo(value: Any) -> Any:
    return value


async def add_async(first: int, second: int) -> tuple[int, str]:
    await asyncio.sleep(0)
    return first + second, threading.current_thread().name


def task(registry: Registry, function: Any, **when: Any) -> Task[..., Any] | AsyncTask[..., Any]:
    return registry.add_task(function, None, Plan().with_options(when))  # type: ignore[return-value]


@pytest.fixture
def to_raise() -> Iterator[list[Exception]]:
    """Give the list of what raise_next() is to raise."""
    yield ERRORS
    ERRORS.clear()


# Without background work


def test_without_start_a_call_runs_at_once(app: App, registry: Registry) -> None:
    result = task(registry, add)(1, second=2)
    assert (result.is_ready, result.result, result.wait(), result.has_error) == (True, 3, 3, False)
    assert result.attempt == 1
    assert [one.outcome for one in result.attempts] == ["succeeded"]
    assert app.get(result.uuid)


def test_the_missing_start_is_warned_of_once(app: App, registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        task(registry, add)(1)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "autocron.start(...) has not been called" in caplog.text


def test_delays_do_not_count_without_background_work(app: App, registry: Registry) -> None:
    result = task(registry, add, hours=1)(1)
    assert result.result == 1
    assert result.run_at - result.created_at == timedelta(hours=1)


def test_an_error_is_in_the_result(app: App, registry: Registry) -> None:
    result = task(registry, fail)()
    assert (result.has_error, result.error_message, result.result) == (True, "ValueError: too bad", None)
    assert 'raise ValueError("too bad")' in result.traceback
    assert "inline.py" not in result.traceback
    with pytest.raises(TaskFailed, match="too bad"):
        result.wait()


def test_retries_run_at_once_and_every_error_is_kept(app: App, registry: Registry, to_raise: list[Exception]) -> None:
    to_raise += [ValueError("one"), RetryLater(60), ValueError("three")]
    result = task(registry, raise_next, retries=3)()
    assert (result.wait(), result.attempt) == ("done", 4)
    assert [(one.number, one.outcome, one.error_message) for one in result.attempts] == [
        (1, "failed", "ValueError: one"),
        (2, "failed", "RetryLater: again in 60 s"),
        (3, "failed", "ValueError: three"),
        (4, "succeeded", ""),
    ]
    assert "in raise_next" in result.attempts[0].traceback


def test_without_a_retry_left_the_call_fails(app: App, registry: Registry, to_raise: list[Exception]) -> None:
    to_raise += [OSError("one"), OSError("two"), ValueError("not tried again")]
    retried = task(registry, raise_next, retries=Retry(1, on=(OSError,)))
    assert retried().error_message == "OSError: two"
    assert retried().error_message == "ValueError: not tried again"


def test_a_snooze_runs_again_at_once_but_not_for_ever(app: App, registry: Registry, to_raise: list[Exception]) -> None:
    to_raise += [Snooze(3600), Snooze(3600)]
    result = task(registry, raise_next)()
    assert (result.wait(), len(result.attempts)) == ("done", 1)
    to_raise += [Snooze(3600)] * 1000
    assert "snoozed more than 100 times" in task(registry, raise_next)().error_message


def test_a_call_may_be_called_off_or_expired(app: App, registry: Registry, to_raise: list[Exception]) -> None:
    to_raise += [Cancel("withdrawn")]
    with pytest.raises(TaskCancelled, match="withdrawn"):
        task(registry, raise_next)().wait()
    expired = task(registry, raise_next, expires=datetime(2000, 1, 1, tzinfo=UTC))()
    assert (expired.status, expired.error_message, expired.attempts) == ("cancelled", "expired", [])
    assert task(registry, raise_next, expires=60)().wait() == "done"


def test_leaving_the_interpreter_is_an_error_too_but_ctrl_c_is_not(app: App, registry: Registry) -> None:
    assert task(registry, leave)().error_message == "SystemExit: bye"
    with pytest.raises(KeyboardInterrupt):
        task(registry, interrupt)()


def test_values_go_the_way_that_they_would_go(app: App, registry: Registry) -> None:
    value = {"a": (1, 2), "b": [b"x"]}
    result = task(registry, echo)(value).result
    assert result == value
    assert result is not value


def test_an_argument_that_cannot_be_stored_is_an_error_at_the_call(app: App, registry: Registry) -> None:
    with pytest.raises(TypeError, match="argument 1"):
        task(registry, echo)(object())


def test_a_value_that_cannot_be_stored_is_left_out(app: App, registry: Registry) -> None:
    result = task(registry, give_object)()
    assert (result.has_error, result.result) == (False, None)
    assert "object" in result.error_message


def test_an_async_function_runs_at_once_too(app: App, registry: Registry) -> None:
    assert task(registry, add_async)(1, 2).result == (3, threading.current_thread().name)


def test_an_async_function_runs_in_a_thread_beside_a_running_loop(app: App, registry: Registry) -> None:
    async def main() -> Any:
        return task(registry, add_async)(1, 2).result

    assert asyncio.run(main()) == (3, "autocron-inline")


def test_aenqueue_does_not_run_on_the_loop(app: App, registry: Registry) -> None:
    async def main() -> Any:
        result = await task(registry, add_async).aenqueue(1, 2)
        return await result

    total, thread = asyncio.run(main())
    assert total == 3
    assert thread.startswith("autocron-call")


def test_an_unknown_result_is_not_found(app: App) -> None:
    from autocron.result import find_result

    with pytest.raises(ResultNotFound):
        find_result("unknown", app)


# Only storing


def start(app: App, database: str | Path | None = "x.db", workers: int | None = 0, **settings: Any) -> bool:
    return app.start(database, workers, settings.pop("durability", "normal"), settings, None)  # type: ignore[arg-type]


def test_with_no_workers_calls_are_only_stored(app: App, registry: Registry, home: Path) -> None:
    assert not start(app)
    result = task(registry, add, minutes=5)(1, 2)
    assert not result.is_ready
    stored = open_store(home / "x.db").get(result.uuid, 0.0)
    assert stored is not None
    assert stored.task.endswith(".add")
    assert result.run_at - result.created_at == timedelta(minutes=5)
    assert open_store(home / "x.db").settings().workers == 1
    assert not socket_path(home / "x.db").exists()


def test_settings_are_stored_and_changes_are_told(app: App, home: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        start(app, result_ttl=timedelta(minutes=1), grace=3, max_payload=100)
    told = "result_ttl 1800.0 -> 60.0, grace 5.0 -> 3.0, max_payload 1048576 -> 100"
    assert caplog.messages == [f"{told} (stored in {home / 'x.db'})"]
    settings = open_store(home / "x.db").settings()
    assert (settings.result_ttl, settings.grace, settings.max_payload, settings.linger) == (60.0, 3.0, 100, 2.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"workers": -1},
        {"workers": True},
        {"workers": 1.5},
        {"durability": "some"},
        {"grace": -1},
        {"grace": "5"},
        {"max_payload": 0},
        {"threads": 0},
        {"max_jobs": "10"},
        {"linger": None},
        {"threat": 2},
        {"queues": {"mail": 0}},
        {"queues": {"": 1}},
        {"queues": 2},
        {"workers": 2, "queues": {"mail": 1}},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(app: App, home: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        start(app, **settings)
    assert not home.exists()


def test_workers_are_the_sum_of_the_queues_or_serve_all_of_them(app: App, home: Path) -> None:
    start(app, queues={"default": 2, "mail": 1})
    settings = open_store(home / "x.db").settings()
    assert (settings.workers, settings.queues) == (3, {"default": 2, "mail": 1})
    assert wanted_settings(4, "normal", {}) == {"workers": 4, "queues": {}}
    assert wanted_settings(None, "normal", {}) == wanted_settings(0, "normal", {}) == {}


def test_a_duplicate_gives_the_result_of_the_job_that_is_there(app: App, registry: Registry) -> None:
    start(app)
    unique = task(registry, add, unique_key="{first}")
    first = unique(1, 2)
    assert unique(1, 3).uuid == first.uuid
    assert unique(2, 2).uuid != first.uuid
    with pytest.raises(DuplicateJob, match="already"):
        unique.options(on_duplicate="raise")(1, 2)


def test_a_second_database_in_a_process_is_refused(app: App, registry: Registry) -> None:
    start(app)
    start(app)
    with pytest.raises(ConfigError, match=r"x\.db already"):
        start(app, "y.db")
    app.stop()
    start(app, "y.db")


def test_a_call_that_is_too_large_is_an_error_with_sizes(app: App, registry: Registry) -> None:
    start(app, max_payload=1000)
    with pytest.raises(ValueError, match=r"2,\d+ bytes; 1,000"):
        task(registry, echo)("x" * 2000)


def test_a_limit_that_another_process_has_raised_counts_at_once(app: App, registry: Registry, home: Path) -> None:
    start(app, max_payload=1000)
    open_store(home / "x.db").set({"max_payload": 3000})
    task(registry, echo)("x" * 2000)
    with pytest.raises(ValueError, match="3,000 are stored at most"):
        task(registry, echo)("x" * 4000)


def test_with_the_lock_on_a_call_runs_at_once_and_later_ones_are_stored_again(
    app: App, registry: Registry, home: Path
) -> None:
    start(app)
    store = open_store(home / "x.db")
    store.set({"locked": True})
    locked = task(registry, add)(1)
    assert locked.is_ready
    store.set({"locked": False})
    stored = task(registry, add)(1)
    assert not stored.is_ready
    assert store.get(locked.uuid, 0.0) is None
    assert app.get(locked.uuid) is not None


def test_after_stop_calls_run_at_once_without_a_warning(
    app: App, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    start(app)
    app.stop()
    assert task(registry, add)(1).is_ready
    assert not caplog.records


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can use the database of another user")
def test_root_only_stores_calls_in_the_database_of_another_user(
    app: App, registry: Registry, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a node of root was started")

    monkeypatch.setattr("autocron.launch._spawn", never)
    home.mkdir()
    os.chown(home, 65534, 65534)
    with socket.socket(socket.AF_UNIX) as owners_node:
        owners_node.bind(str(socket_path(home / "x.db")))
        os.chown(socket_path(home / "x.db"), 65534, 65534)
        owners_node.listen()
        owners_node.settimeout(5)
        assert [start(app, workers=None) for _ in range(2)] == [False, False]
        result = task(registry, add)(1, 2)
        with owners_node.accept()[0] as connection:
            assert connection.recv(100) == wire.frame(wire.Wake())
    assert open_store(home / "x.db").get(result.uuid, 0.0)
    assert {path.stat().st_uid for path in home.iterdir()} == {65534}
    (warning,) = caplog.messages
    assert "(uid 65534), and this process runs as root" in warning


def test_in_a_worker_start_does_nothing_and_calls_are_stored(app: App, registry: Registry, home: Path) -> None:
    home.mkdir()
    store = open_store(home / "w.db")
    woken: list[bool] = []

    def wake() -> bool:
        woken.append(True)
        return True

    app.become_worker(Active(None, "normal", max_payload=1000, ring=wake, opener=lambda: store))
    assert not start(app, "other.db", None)
    assert store.get(task(registry, add)(1).uuid, 0.0)
    assert woken == [True]
    assert not (home / "other.db").exists()


def test_a_forked_child_stores_calls_too(app: App, registry: Registry, home: Path) -> None:
    start(app)
    add_later = task(registry, add)
    add_later(1)
    child = os.fork()
    if child == 0:
        app.after_fork()
        add_later(2)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert sum(open_store(home / "x.db").counts(time.time()).by_state.values()) == 2


@pytest.mark.parametrize(("command", "is_inline"), [("migrate", False), ("shell", False), ("test", True)])
def test_management_commands_start_nothing(
    app: App, registry: Registry, home: Path, monkeypatch: pytest.MonkeyPatch, command: str, is_inline: bool
) -> None:
    monkeypatch.setitem(sys.modules, "django.core.management", sys)
    monkeypatch.setattr(sys, "argv", ["/site/manage.py", command])
    assert not start(app, workers=None)
    assert not (home / "x.db").exists()
    assert task(registry, add)(1).is_ready == is_inline
    assert (home / "x.db").exists() != is_inline


# Names


def test_a_relative_name_lives_at_home_in_private_folders(home: Path) -> None:
    assert resolve_database("a/b/shop.db") == home / "a/b/shop.db"
    for folder in (home, home / "a", home / "a/b"):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_the_home_is_in_the_users_home_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUTOCRON_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_database("shop.db") == tmp_path / ".autocron/shop.db"
    assert resolve_database("~/shop.db") == resolve_database(Path("~/shop.db")) == tmp_path / "shop.db"


def test_the_environment_may_name_the_database(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="AUTOCRON_DATABASE"):
        resolve_database(None)
    monkeypatch.setenv("AUTOCRON_DATABASE", "env.db")
    assert resolve_database(None) == home / "env.db"


def test_the_folder_of_an_absolute_path_must_exist(tmp_path: Path) -> None:
    assert resolve_database(tmp_path / "shop.db") == tmp_path / "shop.db"
    with pytest.raises(ConfigError, match=f"{tmp_path}/nowhere does not exist"):
        resolve_database(tmp_path / "nowhere/shop.db")
    with pytest.raises(ConfigError, match="is a folder"):
        resolve_database(tmp_path)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mysql://shop:secret@db/shop", "mysql://... is not"),
        ("postgresql+psycopg://shop:secret@db/shop", "postgresql+psycopg://... is not"),
        ("sqlite:///shop.db", "sqlite://... is not"),
        ("host=db user=shop password=secret", "a text of key=value pairs is not"),
    ],
)
def test_an_address_of_another_kind_is_refused_and_not_shown(home: Path, address: str, shown: str) -> None:
    with pytest.raises(ConfigError, match="postgresql://user@host/database") as refused:
        resolve_database(address)
    assert str(refused.value).startswith(shown)
    assert "secret" not in str(refused.value)
    assert not home.exists()


def test_looking_for_a_database_creates_nothing(home: Path) -> None:
    assert resolve_database("a/b/shop.db", create=False) == home / "a/b/shop.db"
    assert not home.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_of_another_user_is_named_with_its_owner(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setuid(54321)
            resolve_database(tmp_path / "folder" / "shop.db")
        except ConfigError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading) as pipe:  # noqa: PTH123 - a descriptor
        said = pipe.read()
    assert "shop.db can't be used by uid 54321: Permission denied" in said
    assert "belongs to root (uid 0); run this as that user" in said


def test_links_lead_to_the_same_database(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert resolve_database(tmp_path / "link/shop.db") == tmp_path / "real/shop.db"


def test_a_home_that_cannot_be_is_an_error_that_names_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AUTOCRON_HOME", str(tmp_path / "file/home"))
    with pytest.raises(ConfigError, match="AUTOCRON_HOME"):
        resolve_database("shop.db")
    monkeypatch.setenv("AUTOCRON_HOME", "~nobody-of-this-name/x")
    with pytest.raises(ConfigError, match="AUTOCRON_HOME"):
        resolve_database("shop.db")


def test_a_home_relative_to_a_deleted_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOCRON_HOME", "data")
    folder = tmp_path / "gone"
    folder.mkdir()
    with contextlib.chdir(folder):
        folder.rmdir()
        with pytest.raises(ConfigError, match=r"AUTOCRON_HOME is data, .* deleted"):
            resolve_database("shop.db")


@pytest.mark.parametrize("name", ["", "folder/", "a\0b"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        resolve_database(name)


def test_long_paths_have_an_address(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    with socket_address(folder / "shop.db") as address:
        assert len(address) < 108
        assert Path(address).parent.samefile(folder)


def test_locks_are_seen_by_other_processes(tmp_path: Path) -> None:
    database = tmp_path / "shop.db"
    assert try_lock(database, 3)
    code = """
        import sys
        from pathlib import Path
        from autocron.store.paths import lock_holder, try_lock
        database = Path(sys.argv[1])
        print(try_lock(database, 3), lock_holder(database, 3), lock_holder(database, 0, 3), try_lock(database, 2))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(database)]
    held = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert held == ["False", str(os.getpid()), "None", "True"]
    unlock(database, 3)
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0] == "True"
    assert lock_holder(database, 2) is None


# The program


def test_the_program_names_the_modules_but_not_the_main_one(registry: Registry) -> None:
    task(registry, add)
    described = program.describe(registry, {"shop.start", "__main__"})
    assert described.modules == [__name__, "shop.start"]
    assert described.main is None
    assert described.cwd == str(Path.cwd())
    assert all(Path(entry).is_absolute() for entry in described.sys_path)


def test_the_main_module_is_described_when_something_is_declared_in_it(tmp_path: Path) -> None:
    script = tmp_path / "my-app.py"
    script.write_text(
        textwrap.dedent("""
            import autocron
            from autocron import program, task
            @autocron.delay
            def work(): pass
            described = program.describe(task.registry, {"__main__"})
            print(described.modules, described.main.name, described.main.is_spec, described.main.path)
            print(described.main.argv, work.name)
        """)
    )
    done = subprocess.run([sys.executable, "my-app.py", "-v"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"[] my-app False {script}", "['my-app.py', '-v'] my-app.work"]


def test_what_reloaders_tell_their_children_does_not_reach_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUN_MAIN", "true")
    monkeypatch.setenv("GUNICORN_FD", "5")
    monkeypatch.setenv("SHOP_KEY", "secret")
    environ = program.own_environ()
    assert environ["SHOP_KEY"] == "secret"
    assert not {"RUN_MAIN", "GUNICORN_FD"} & environ.keys()


def test_the_interpreter_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Path(program.interpreter()).parent == Path(sys.prefix, "bin")
    monkeypatch.setenv("AUTOCRON_PYTHON", "/opt/python")
    assert program.interpreter() == "/opt/python"


def test_a_new_interpreter_finds_this_package() -> None:
    code = "import autocron; print(autocron.__file__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=package_environ({}), cwd="/", capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()).parent == Path(program.__file__).parent


def test_a_frameworks_settings_count_only_when_it_is_in_use(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "site.settings")
    monkeypatch.delitem(sys.modules, "django.conf", raising=False)
    assert program.describe(registry, set()).django_settings is None
    for configured, expected in ((False, None), (True, "site.settings")):
        conf = SimpleNamespace(settings=SimpleNamespace(configured=configured))
        monkeypatch.setitem(sys.modules, "django.conf", conf)  # type: ignore[arg-type]
        assert program.describe(registry, set()).django_settings == expected


# Little things


def test_names_of_jobs_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    a_millisecond_apart = iter([10**18, 10**18 + 10**6])
    monkeypatch.setattr("autocron.names.time.time_ns", a_millisecond_apart.__next__)
    assert new_uuid() < new_uuid()


def test_the_version_is_that_of_the_package() -> None:
    from importlib import metadata

    import autocron

    assert metadata.version("autocron") == VERSION == autocron.__version__


def test_every_public_name_exists() -> None:
    import autocron

    assert all(hasattr(autocron, name) for name in autocron.__all__)


def test_importing_loads_nothing_heavy() -> None:
    code = "import autocron, sys; print(*sorted({'apsw', 'asyncio', 'rich', 'click', 'django'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_log_is_heard_where_nobody_set_up_logging() -> None:
    code = """
        import logging, sys, autocron
        logging.getLogger("autocron").info("one")
        logging.getLogger("autocron").debug("never")
        logging.basicConfig(stream=sys.stdout, format="root %(message)s")
        logging.getLogger("autocron").info("two")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert (done.stderr, done.stdout) == ("autocron: one\n", "root two\n")
    assert logging.getLogger("autocron") is log.logger
