"""The roles that the manual gives, created as it says: each can do its work, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

import autocron
from autocron.errors import StoreError
from autocron.model import NewJob
from autocron.store.place import Place, open_store
from autocron.store.postgres_url import canonical, for_libpq, schema_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Lab

MANUAL = Path(autocron.__file__).parents[2] / "docs" / "postgres.md"
ROLES = ("owner", "node", "app", "read")


@pytest.fixture
def address(postgres: str) -> Iterator[Callable[[str], str]]:
    """Give the address for each of the manual's roles."""
    url, mark = canonical(postgres), f"r{uuid.uuid4().hex[:8]}_"
    create, grant = re.findall(r"```sql\n(.*?)```", MANUAL.read_text(), re.DOTALL)

    def address_of(role: str) -> str:
        return f"{url}&user={mark}{role}"

    with psycopg.connect(for_libpq(url), autocommit=True) as connection:
        ((database,),) = connection.execute("select current_database()").fetchall()

        def run(text: str) -> None:
            names = {
                "shop_": mark,
                "database shop": f"database {database}",
                "schema autocron": f"schema {schema_of(url)}",
            }
            for name, ours in {**names, " autocron.": f" {schema_of(url)}."}.items():
                text = text.replace(name, ours)
            connection.execute(text.encode())

        run(create)
        open_and_close(address_of("owner"))
        run(grant)
        yield address_of
        everyone = ", ".join(f"{mark}{role}" for role in ROLES)
        connection.execute(f"drop owned by {everyone} cascade; drop role {everyone}".encode())


def open_and_close(address: str) -> None:
    store = open_store(Place(canonical(address), Path()))
    try:
        store.settings()
    finally:
        store.close()


def test_each_role_can_do_its_work(lab: Lab, address: Callable[[str], str], tmp_path: Path) -> None:
    machines: list[Lab] = []
    try:
        for number, role in enumerate(("node", "app", "read")):
            tmp_path.joinpath(f"{number}", "home").mkdir(parents=True, mode=0o700)
            machines.append(type(lab)(tmp_path / f"{number}", address(role)))
        node, app, reader = machines
        node.add("tasks.py", "\n@cron('0 0 1 1 *')\ndef yearly(): ...\n")
        node.start(2)
        node.ready(2)
        caller = app.launch("app.py")
        assert caller.ask(f"autocron.start({app.name!r}, 0)") is False
        assert caller.ask("[work(n).wait(10) for n in range(3)]") == [0, 1, 2]
        assert caller.ask("[r.cancel() for r in [work.options(hours=1)(1)]]") == [True]
        gate = caller.ask("hold('gate').uuid")
        node.begun("gate")
        assert caller.ask(f"autocron.get_result({gate!r}).cancel()") is True
        assert node.ended(gate).error_message
        assert [one.declaration.name for one in reader.store.schedules()] == ["tasks.yearly"]
        assert reader.store.counts(0.0).by_state
        with pytest.raises(Exception, match="does not let this user do that"):
            caller.ask(f"autocron.start({app.name!r}, 0, linger=9)")
    finally:
        for machine in machines:
            print(machine.output(), machine.log())
            machine.wipe_out()


def test_whoever_may_only_store_calls_starts_no_node(lab: Lab, address: Callable[[str], str], tmp_path: Path) -> None:
    tmp_path.joinpath("app", "home").mkdir(parents=True, mode=0o700)
    machine = type(lab)(tmp_path / "app", address("app"))
    try:
        caller = machine.launch("app.py")
        assert caller.ask(f"autocron.start({machine.name!r})") is False
        (told,) = machine.output().splitlines()
        assert "may store calls, but not run them. Say workers=0" in told
        assert caller.ask("work(1).status.value") == "queued"
        command = [sys.executable, "-m", "autocron", machine.name, "work", "tasks"]
        worker = subprocess.run(
            command, check=False, cwd=machine.folder, env=machine.environ, stderr=subprocess.PIPE, text=True
        )
        assert (worker.returncode, "may not run jobs" in worker.stderr) == (1, True)
        assert machine.nodes() == []
        assert [line for line in machine.output().splitlines() if line != told] == []
    finally:
        print(machine.output(), machine.log())
        machine.wipe_out()


def test_what_each_role_is_denied(address: Callable[[str], str]) -> None:
    url = address("app")
    schema = schema_of(url)
    store = open_store(Place(url, Path()))
    assert store.insert(NewJob("a", "app.work", "[]", 1.0, 1.0))
    with pytest.raises(StoreError, match=r"does not let this user do that: .* Grant it what docs/postgres.md names"):
        store.exchange([], 1, 9e9)
    store.close()
    owners = (
        "alter table jobs add x text",
        "drop table jobs",
        "create table x ()",
        "insert into move values ('', '', '', '')",
    )
    writes = (
        *("insert into settings values ('locked', 'true')", "update schedules set cursor = 0", "delete from jobs"),
        *("update jobs set arguments = ''", "update jobs set result = ''", "update jobs set attempt = 9"),
        *("insert into nodes (place, host, pid, started_at, heartbeat_at) values ('', '', 1, 1, 1)",),
        *("insert into steps values ('a', 'b', 'c')",),
    )
    more = ("insert into jobs (uuid, task) values ('', '')", "update jobs set state = 'cancelled'")
    for role, denied in {"node": owners, "app": owners + writes, "read": owners + writes + more}.items():
        with psycopg.connect(for_libpq(address(role)), autocommit=True) as connection:
            connection.execute(f"set search_path = {schema}".encode())
            for statement in denied:
                with pytest.raises(InsufficientPrivilege):
                    connection.execute(statement.encode())
