"""The doctor's look at a PostgreSQL server and at the nodes of all machines."""

from collections.abc import Iterator

from autocron.cli.doctor_findings import Finding, ok, problem, warning
from autocron.node.differences import difference
from autocron.store.postgres_health import Holder, Member, ServerHealth, Tables
from autocron.store.postgres_nodes import LEASE, SILENCE
from autocron.text import duration

OLDEST = 140000  # versions of the server that are too old to be known to work are below
LONG = 300.0  # seconds of a transaction
MANY = 1_000_000  # transactions, where no time is known
MANY_DEAD = 50_000  # rows
NEARLY_ALL = 0.8  # of the connections
CLOCKS = 5.0  # seconds between two clocks
MAY = {
    "owner": "do everything",
    "node": "do what nodes and applications do, but not change the schema",
    "application": "store calls and read results; a node needs more",
    "read-only": "look, and nothing else",
}


def check(health: ServerHealth) -> Iterator[Finding]:
    """Say what is to be said of the server and the schema."""
    yield _version(health)
    yield _way(health)
    if health.pooled:
        yield warning(
            "pooler",
            "something such as pgbouncer stands between: that does for calls and results",
            "nodes need connections of their own: give them an address without it",
        )
    yield from _schema(health)
    if tables := health.tables:
        yield _members(tables)
        yield from _differences(tables)
        yield from _horizon(tables)
        yield _vacuum(tables)
        yield _connections(tables)


def _version(health: ServerHealth) -> Finding:
    shown = f"PostgreSQL {health.server // 10000}.{health.server % 10000}"
    if health.server < OLDEST:
        return problem("server", f"{shown} is too old", f"upgrade it to {OLDEST // 10000} or newer")
    return ok("server", shown)


def _way(health: ServerHealth) -> Finding:
    if health.tls:
        return ok("connection", "encrypted (TLS)")
    if health.local:
        return ok("connection", "not encrypted, but it does not leave this machine")
    return warning("connection", "not encrypted: others may read the jobs", "add sslmode=verify-full to the address")


def _schema(health: ServerHealth) -> Iterator[Finding]:
    if health.role is None:
        yield problem("schema", "there is none", "an application whose user may create it does so at its start")
        return
    if not health.role:
        yield problem("rights", "this user may not even read the tables", "grant what docs/postgres.md names")
        return
    yield ok("rights", f"{health.role}: this user may {MAY[health.role]}")
    if health.version is not None and health.version < health.latest:
        yield warning(
            "schema",
            f"version {health.version} is older than this autocron, which has {health.latest}",
            "its owner brings it up to date at the next start; the jobs were not looked at",
        )
    else:
        yield ok("schema", f"version {health.version}")


def _members(tables: Tables) -> Finding:
    silent = [one for one in tables.members if one.silence > SILENCE]
    if silent:
        who = ", ".join(f"{_node(one)} for {duration(one.silence)}" for one in silent)
        dead = any(one.silence > LEASE for one in silent)
        then = "the next node that starts queues their jobs again" if dead else "look again in some seconds"
        return warning("nodes", f"silent: {who}", then)
    names = ", ".join(map(_node, tables.members))
    return ok("nodes", f"{len(tables.members)} on all machines: {names}" if names else "none on any machine")


def _differences(tables: Tables) -> Iterator[Finding]:
    known = [one for one in tables.members if one.declared]
    for other in known[1:]:
        if text := difference(known[0].declared, other.declared):
            what = f"{_node(known[0])} (here) and {_node(other)} (there) declare different schedules: {text}"
            yield warning("nodes", what, "deploy the same code everywhere; give schedules a tz=")


def _node(one: Member) -> str:
    return f"{one.pid} on {one.host}"


def _horizon(tables: Tables) -> Iterator[Finding]:
    for holder in tables.holders:
        if _is_long(holder):
            since = "unknown for how long" if holder.seconds is None else f"for {duration(holder.seconds)}"
            process = f" of process {holder.pid}" if holder.pid else ""
            yield warning(
                "vacuum",
                f"a {holder.kind}{process} ({holder.name or 'without a name'}, {since}) keeps dead rows alive",
                "end it, or wait for its end; until then claims become slower",
            )


def _is_long(holder: Holder) -> bool:
    return holder.age > MANY if holder.seconds is None else holder.seconds > LONG


def _vacuum(tables: Tables) -> Finding:
    ago = "never" if tables.vacuumed is None else f"{duration(tables.vacuumed)} ago"
    if not tables.autovacuum:
        then = "switch autovacuum on, for the server and the table jobs"
        return warning("vacuum", f"autovacuum is off; dead rows were removed last: {ago}", then)
    what = f"{tables.dead} dead rows beside {tables.living}; they were removed last: {ago}"
    if tables.dead > max(MANY_DEAD, tables.living / 5):
        return warning("vacuum", what, "see what holds autovacuum up, or run `vacuum` on the table jobs")
    return ok("vacuum", what)


def _connections(tables: Tables) -> Finding:
    what = f"{tables.connections} of {tables.max_connections} are in use"
    if tables.connections > NEARLY_ALL * tables.max_connections:
        return warning("sessions", what, "raise max_connections, or put pgbouncer before the applications")
    return ok("sessions", what)


def check_clock(ahead: float) -> Finding:
    """Say what is to be said of the clocks: the server's is so many seconds ahead of this machine's."""
    if abs(ahead) > CLOCKS:
        what = f"that of the server is {duration(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} this machine's"
        return warning("clock", what, "jobs follow the server's; a schedule= of this machine comes at another moment")
    return ok("clock", "that of the server and this machine's agree")
