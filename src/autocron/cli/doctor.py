"""``autocron DATABASE doctor``: what is wrong, and what to do about it. It changes nothing."""

import sys
from collections.abc import Iterator
from socket import gethostname

import click
import msgspec
from rich.console import Console

from autocron.cli import doctor_file, doctor_work, opening
from autocron.cli.doctor_findings import Finding, is_ill, problem, rendered
from autocron.clock import Clock, SystemClock
from autocron.errors import AutocronError
from autocron.store.place import Place, open_store

PATIENCE = 5.0  # seconds for looking through a database


class Report(msgspec.Struct, frozen=True):
    """What ``--json`` shows."""

    database: str
    ill: bool
    findings: list[Finding]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Show it as JSON.")
@click.pass_obj
def doctor(place: Place, as_json: bool) -> None:
    """Say what is wrong, and what to do about it.

    The exit status is 1 when something does not work.
    """
    findings = list(examine(place, SystemClock()))
    report = Report(str(place), is_ill(findings), findings)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        Console().print(rendered(report.database, findings), crop=False)
    sys.exit(int(report.ill))


def examine(place: Place, clock: Clock) -> Iterator[Finding]:
    """Look at everything; what cannot be opened is looked at no further."""
    try:
        yield from _examine_file(place, clock) if place.is_file else _examine_server(place, clock)
    except AutocronError as error:
        yield problem("database", str(error))


def _examine_file(place: Place, clock: Clock) -> Iterator[Finding]:
    from autocron.store import sqlite_health  # loading a driver is left to those who need it

    if not place.files.exists():
        yield problem("database", opening.missing(place))
        return
    facts = doctor_file.collect(place)
    findings = list(doctor_file.check(facts))
    yield from findings
    if any(one.about == "file" for one in findings if is_ill([one])):
        return
    health = sqlite_health.look_into(place.files, PATIENCE)
    yield from doctor_file.check_content(health, facts.log)
    if health.version == health.latest:
        yield from _examine_work(place, clock, [gethostname()], 0)


def _examine_server(place: Place, clock: Clock) -> Iterator[Finding]:
    from autocron.cli import doctor_server
    from autocron.store import postgres_health, postgres_nodes

    health = postgres_health.look_into(place.address)
    yield from doctor_server.check(health)
    if health.tables is None or health.version != health.latest:
        return
    alive = [one for one in health.tables.members if one.silence <= postgres_nodes.SILENCE]
    yield from _examine_work(place, clock, [gethostname(), *(one.host for one in alive)], len(alive))


def _examine_work(place: Place, clock: Clock, hosts: list[str], alive: int) -> Iterator[Finding]:
    store = open_store(place)
    try:
        now = clock.now()
        ahead = store.ahead(now)
        if not place.is_file:
            from autocron.cli.doctor_server import check_clock

            yield check_clock(ahead)
        yield from doctor_work.check(doctor_work.collect(place, store, now + ahead, hosts, alive))
    finally:
        store.close()
