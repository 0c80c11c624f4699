-- What the doctor asks a PostgreSQL server. Nothing here changes anything.

-- name: server
-- The server, and how this session reaches it.
select current_setting('server_version_num')::integer,
    coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false),
    inet_server_addr() is null or inet_server_addr() <<= '127.0.0.0/8' or inet_server_addr() = '::1';

-- name: rights
-- What this user may do with the tables: all, what a node does, what an application does, read. No row: no tables.
select pg_has_role(jobs.relowner, 'usage'),
    has_table_privilege(jobs.oid, 'delete') and has_table_privilege(nodes.oid, 'insert'),
    has_table_privilege(jobs.oid, 'insert'),
    has_schema_privilege(space.oid, 'usage') and has_table_privilege(jobs.oid, 'select')
from pg_namespace as space
join pg_class as jobs on jobs.relnamespace = space.oid and jobs.relname = 'jobs'
join pg_class as nodes on nodes.relnamespace = space.oid and nodes.relname = 'nodes'
where nspname = %(schema)s;

-- name: members
-- The nodes of all machines, for how many seconds each has been silent, and what its code declares.
select host, pid, {clock} - heartbeat_at, coalesce(declared, '') from {schema}.nodes order by id;

-- name: horizon
-- What keeps dead rows from being removed: what it is, its process, its name, since when, and how many transactions ago.
select 'transaction', pid, application_name, extract(epoch from clock_timestamp() - xact_start)::float8,
    greatest(age(backend_xmin), age(backend_xid))
from pg_stat_activity
where coalesce(backend_xmin, backend_xid) is not null and pid <> pg_backend_pid()
    and (datname = current_database() or backend_type = 'walsender')
union all
select 'prepared transaction', null, gid, extract(epoch from clock_timestamp() - prepared)::float8, age(transaction)
from pg_prepared_xacts where database = current_database()
union all
select 'replication slot', active_pid, slot_name, null, age(xmin) from pg_replication_slots where xmin is not null;

-- name: vacuum
-- Dead and living rows of the jobs, when they were cleaned last, and whether that happens by itself.
select n_dead_tup, n_live_tup,
    extract(epoch from clock_timestamp() - greatest(last_autovacuum, last_vacuum))::float8,
    current_setting('autovacuum')::boolean and current_setting('track_counts')::boolean
        and not coalesce(reloptions::text like '%%autovacuum_enabled=false%%', false)
from pg_stat_all_tables join pg_class on pg_class.oid = relid where schemaname = %(schema)s and pg_class.relname = 'jobs';

-- name: connections
-- How many there are, and may be.
select count(*), current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
from pg_stat_activity where backend_type = 'client backend';
