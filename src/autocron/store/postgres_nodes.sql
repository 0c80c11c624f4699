-- What nodes do beside their work when several share a PostgreSQL database, and what lets others find out that they do.

-- name: join
-- A node begins. It has the lock of its machine's files, so whoever had that before is no more.
with former as (delete from {schema}.nodes where place = %(place)s)
insert into {schema}.nodes (place, host, pid, started_at, heartbeat_at)
values (%(place)s, %(host)s, %(pid)s, {clock}, {clock}) returning id;

-- name: hold
-- As long as this session lives, so does the node. A former session of it may live a little longer.
select pg_try_advisory_lock(hashtextextended(%(schema)s, %(node)s));

-- name: beat
-- A node says that it lives; nothing is changed when it was declared dead.
update {schema}.nodes set heartbeat_at = {clock} where id = %(node)s;

-- name: bury
-- Nodes are dead when they have been silent for long, or for a little while and their session has ended.
with silent as materialized (
    select id, heartbeat_at < {clock} - %(lease)s as expired from {schema}.nodes
    where id <> %(node)s and heartbeat_at < {clock} - %(silence)s
    order by id for update skip locked
),
dead as materialized (
    select id from silent
    where case when expired then true else pg_try_advisory_xact_lock(hashtextextended(%(schema)s, id)) end
)
delete from {schema}.nodes where id in (select id from dead) returning host, pid;

-- name: declared
-- What a node's code declares, for the others to compare.
update {schema}.nodes set declared = %(declared)s where id = %(node)s;

-- name: declared_by_others
-- What theirs does, where it is something else.
select host, pid, declared from {schema}.nodes where id <> %(node)s and declared <> %(declared)s order by id;

-- name: leave
-- A node has ended in order.
delete from {schema}.nodes where id = %(node)s;

-- name: await
-- Somebody waits here for jobs that other nodes may run. A job that another transaction holds, often a claim, is not
-- marked, but given.
with wanted as materialized (
    select uuid from {schema}.jobs
    where uuid in (select json_array_elements_text(%(uuids)s::json)) and state in ('waiting', 'queued', 'running')
        and not awaited
),
marked as (
    update {schema}.jobs set awaited = true
    where uuid = any (array(
        select uuid from {schema}.jobs
        where uuid in (select uuid from wanted) and state in ('waiting', 'queued', 'running')
        order by uuid for update skip locked
    ))
    returning uuid
)
select uuid from wanted where uuid not in (select uuid from marked);

-- name: notify
-- Tell all nodes something.
select pg_notify(%(schema)s, %(text)s);

-- name: line_up_at_commit
-- Let a trigger do by the commit what line_up does.
insert into {schema}.joining (uuids) values (array[%(uuid)s]);

-- name: limit_at_commit
-- Let a trigger do by the commit what limit does.
insert into {schema}.joining (limit_key, concurrency, burst, period) values (%s, %s, %s, %s);

-- name: free_key_at_commit
-- Let a trigger do by the commit what free_key does; give the key that the other job has until then. A job of the same
-- transaction that has such a key loses it at once.
with own as (
    update {schema}.jobs set unique_key = null where uuid = %(uuid)s and right(unique_key, 1) = chr(31)
)
insert into {schema}.joining (freed, task, unique_key)
select uuid, task, rtrim(unique_key, chr(31)) from {schema}.jobs where uuid = %(uuid)s
returning unique_key || chr(31);

-- name: settle_at_commit
-- Let a trigger do by the commit what is to be done for jobs whose parents have come to their ends by then.
insert into {schema}.joining (uuids, clock)
values (array(select json_array_elements_text(%(uuids)s::json)), %(clock)s::float8);

-- name: whereabouts
-- Which database this is, on which server since its last start, with which schema of this name; when the transaction
-- began; and who asks. It raises nothing, whatever the user may do.
select concat_ws(
    ' ', extract(epoch from pg_postmaster_start_time()), (select oid from pg_database where datname = current_database()),
    (select oid from pg_namespace where nspname = '{schema}')
), extract(epoch from now())::text, current_user::text;
