-- Every statement that autocron runs on PostgreSQL. The names are the same in each dialect.
--
-- {schema} is the name of the schema and {clock} the time of the database, which is what is stored. %(now)s is the time
-- of the machine that asks: the times that it hands in are shifted by the difference of the two, so that its clock may
-- be wrong. `offset 0` and a select where a join would do keep PostgreSQL from going through all jobs or edges.

-- name: insert
-- Keep a call, unless the autocron lock is on. The plan of a function stays where the statement may not be prepared.
select from {schema}.enqueue(
    %(uuid)s, %(task)s, %(arguments)s, %(run_at)s, %(is_moment)s, %(created_at)s, %(begin_by)s, %(begins_by_moment)s,
    %(policy)s, %(queue)s, %(priority)s, %(limit_key)s, %(unique_key)s, %(clock)s
);

-- name: locked
-- Is the autocron lock on?
select exists (select from {schema}.settings where name = 'locked' and value = 'true')::integer;

-- name: insert_many
-- Keep calls; `waiting` where they wait for others. What is a default is left out of the batch.
with clock as materialized (select {clock} as now)
insert into {schema}.jobs (uuid, task, arguments, state, run_at, created_at, begin_by, policy, queue, priority,
    limit_key, unique_key)
select uuid, task, arguments, case when waiting then 'waiting' else 'queued' end,
    case when is_moment then greatest(run_at, clock.now) else run_at + clock.now - %(now)s::float8 end,
    created_at + clock.now - %(now)s::float8,
    case when begins_by_moment then begin_by else begin_by + clock.now - %(now)s::float8 end, policy,
    coalesce(queue, 'default'), coalesce(priority, 0), coalesce(limit_key, ''), unique_key
from clock, json_to_recordset(%(batch)s::json) as call (
    uuid text, task text, arguments text, waiting boolean, run_at float8, is_moment boolean, created_at float8,
    begin_by float8, begins_by_moment boolean, policy text, queue text, priority integer, limit_key text,
    unique_key text
);

-- name: parents
-- Which of these jobs are there, for others to wait for them. They can come to their ends before that is committed.
select uuid from {schema}.jobs
where uuid = any (array(select json_array_elements_text(%(uuids)s::json))) and (expires_at is null or expires_at > {clock});

-- name: add_edges
-- Jobs wait for others.
insert into {schema}.edges (parent, child, needed)
select value->>0, value->>1, (value->>2)::boolean from json_array_elements(%(edges)s::json) as value;

-- name: failed_parents
-- Which of these jobs have come to their end without success while others need them.
select uuid from json_array_elements_text(%(uuids)s::json) as asked (uuid)
where exists (select from {schema}.edges where parent = asked.uuid and open and needed offset 0)
    and (select state from {schema}.jobs where jobs.uuid = asked.uuid) in ('failed', 'cancelled');

-- name: cancel_waiting
-- Cancel what needs this job, directly or not, if it has come to its end without success; say what of it is awaited.
select * from {schema}.cancel_waiting(%(parent)s, {clock}, %(ttl)s);

-- name: close_edges
-- Nobody waits any more for those of these jobs that have come to their end, nor for what was cancelled because of them.
-- Those that waited are locked, so that of two nodes which end their last parents, one comes second and releases them.
with recursive gone (uuid) as (
    select json_array_elements_text(%(uuids)s::json) collate "C" where exists (select from {schema}.edges)
    union
    select child from gone, lateral (
        select child from {schema}.edges where parent = uuid and open and needed offset 0
    ) as edge
    where (select state from {schema}.jobs where jobs.uuid = child) = 'cancelled'
),
ended as materialized (
    select parent, child from {schema}.edges
    where open and parent = any (array(select uuid from gone))
        and (select state from {schema}.jobs where uuid = parent) in ('succeeded', 'failed', 'cancelled')
),
waiting as materialized (
    select uuid from {schema}.jobs where uuid = any (array(select child from ended)) and state = 'waiting'
    order by uuid for update
)
update {schema}.edges set open = false from ended
where edges.parent = ended.parent and edges.child = ended.child and (select count(*) from waiting) >= 0;

-- name: release_waiting
-- Queue those that waited for these jobs, or what was cancelled because of them, and wait for nothing any more.
with recursive gone (uuid) as (
    select json_array_elements_text(%(uuids)s::json) collate "C" where exists (select from {schema}.edges)
    union
    select child from gone, lateral (select child from {schema}.edges where parent = uuid and needed offset 0) as edge
    where (select state from {schema}.jobs where jobs.uuid = child) = 'cancelled'
)
update {schema}.jobs set state = 'queued'
where uuid = any (array(select child from gone join {schema}.edges on parent = gone.uuid)) and state = 'waiting'
    and not exists (select from {schema}.edges where child = uuid and open);

-- name: levels
-- Each queue and priority of jobs that are queued, with the time at which the first is due, and the time to look at the
-- first line of those under limits.
select queue, priority, run_at - {clock} + %(now)s::float8, next_at - {clock} + %(now)s::float8 from {schema}.levels;

-- name: claim
-- Take the jobs of a level that have been due for longest; see the function.
select * from {schema}.claim(
    %(limit_key)s, %(queue)s, %(priority)s, %(pool)s, %(count)s, %(now)s, %(node)s, %(clock)s
);

-- name: lock_lines
-- Jobs are about to leave their places. All nodes lock lines in one order, and before anything else.
select from {schema}.lines
where exists (select from {schema}.limits) and limit_key = any (array(
    select limit_key from {schema}.jobs
    where uuid = any (array(select json_array_elements_text(%(uuids)s::json))) and limit_key <> ''
))
order by id for update;

-- name: due_times
-- Since when the jobs of a level have been due.
with clock as materialized (select {clock} as now)
select run_at from {schema}.jobs
where state = 'queued' and held is null and limit_key = %(limit_key)s and queue = %(queue)s
        and priority = %(priority)s and run_at <= (select now from clock)
order by run_at, id limit %(count)s;

-- name: first_due
-- The job of a level that is claimed next.
with clock as materialized (select {clock} as now)
select uuid from {schema}.jobs
where state = 'queued' and held is null and limit_key = %(limit_key)s and queue = %(queue)s
        and priority = %(priority)s and run_at <= (select now from clock)
order by run_at, id limit 1;

-- name: due_lines
-- The lines of a level that are to be looked at, and that no other node looks at, nor at other lines under the same limits.
with due as materialized (
    select limit_key from {schema}.lines
    where next_at is not null and queue = %(queue)s and priority = %(priority)s and next_at <= (select {clock})
    order by next_at limit %(count)s for update skip locked
)
select key from {schema}.limits where key = any (array(select limit_key from due)) for no key update skip locked;

-- name: bucket
-- A limit, when its bucket is full, and how many of its jobs run: what was committed until its line was locked counts.
select concurrency, burst, period, full_at - {clock} + %(now)s::float8, (
    select count(*) from {schema}.jobs where limit_key = %(limit_key)s and limit_key <> '' and state = 'running'
)
from {schema}.limits where key = %(limit_key)s;

-- name: take_tokens
-- The bucket will be full at another time.
update {schema}.limits set full_at = %(full_at)s::float8 + {clock} - %(now)s::float8 where key = %(limit_key)s;

-- name: give_back_token
-- A claimed job was not begun.
update {schema}.limits set full_at = full_at - period / burst
where burst is not null and key = (select limit_key from {schema}.jobs where uuid = %s and limit_key <> '');

-- name: first_time
-- Since when, or from when, the first job of a line is due.
select (
    select run_at from {schema}.jobs where state = 'queued' and held is null and limit_key = %(limit_key)s
        and queue = %(queue)s and priority = %(priority)s
    order by run_at limit 1
) - {clock} + %(now)s::float8;

-- name: set_line
-- When a line is to be looked at.
update {schema}.lines set next_at = %(next_at)s::float8 + {clock} - %(now)s::float8
where limit_key = %(limit_key)s and queue = %(queue)s and priority = %(priority)s;

-- name: drop_line
-- Nobody stands in a line.
delete from {schema}.lines where limit_key = %(limit_key)s and queue = %(queue)s and priority = %(priority)s;

-- name: look_at_lines
-- All lines that wait for the end of a job are to be looked at: nobody may have seen it.
update {schema}.lines set next_at = 0 where next_at is null;

-- name: limit
-- The last call says what a limit is. One that stays the same cannot be dropped before the commit, but be used.
with call (key, concurrency, burst, period) as (values (%s, %s::integer, %s::integer, %s::float8)),
same as materialized (
    select from {schema}.limits join call using (key)
    where (limits.concurrency, limits.burst, limits.period)
        is not distinct from (call.concurrency, call.burst, call.period)
    for key share of limits
)
insert into {schema}.limits (key, concurrency, burst, period)
select * from call where not exists (select from same)
on conflict (key) do update set concurrency = excluded.concurrency, burst = excluded.burst, period = excluded.period;

-- name: line_up
-- A job stands in line. A line that waits for the end of a job goes on to do so.
insert into {schema}.lines (limit_key, queue, priority, next_at)
select limit_key, queue, priority, run_at from {schema}.jobs where uuid = %(uuid)s
on conflict (limit_key, queue, priority) do update set next_at =
    case when lines.next_at is null then null else least(lines.next_at, excluded.next_at) end;

-- name: limits_after
-- Limits, in the order of their keys.
select key from {schema}.limits where key > %s order by key limit %s;

-- name: drop_limits
-- Those of these limits that are under nobody's use and have a full bucket, unless a call is under way that uses them.
delete from {schema}.limits where key in (
    select key from {schema}.limits
    where key in (select json_array_elements_text(%(keys)s::json)) and full_at <= {clock} and not exists (
        select from {schema}.jobs where limit_key = key and limit_key <> '' and state in ('waiting', 'queued', 'running')
        offset 0
    )
    order by key for update skip locked
);

-- name: lock_key
-- Calls with one key come one after another.
select pg_advisory_xact_lock(hashtextextended(%(task)s || chr(31) || %(unique_key)s, 0));

-- name: try_key
-- The same without waiting: no call with this key is under way, and none begins before the end of this transaction.
select pg_try_advisory_xact_lock(hashtextextended(%(task)s || chr(31) || %(unique_key)s, 0))::integer;

-- name: holder_of
-- The job that has a unique key, or is to have it with the commit, and whether it has it no more.
select uuid, state, state in ('failed', 'cancelled') or (state = 'succeeded' and
    finished_at + coalesce(substring(policy from '"unique_for":([0-9.e+-]+)')::float8, 0) <= {clock})
from {schema}.jobs where task = %(task)s and unique_key in (%(unique_key)s, %(unique_key)s || chr(31))
order by unique_key desc;

-- name: free_key
-- A job that has the key no more.
update {schema}.jobs set unique_key = null where uuid = %(uuid)s;

-- name: replace
-- A queued job becomes that of another call; no row: it is queued no more.
update {schema}.jobs set arguments = %(arguments)s,
    run_at = case when %(is_moment)s then greatest(%(run_at)s::float8, {clock})
        else %(run_at)s::float8 + {clock} - %(created_at)s::float8 end, created_at = {clock},
    begin_by = case when %(begins_by_moment)s then %(begin_by)s::float8
        else %(begin_by)s::float8 + {clock} - %(created_at)s::float8 end,
    policy = %(policy)s, queue = %(queue)s, priority = %(priority)s, limit_key = %(limit_key)s, held = null, retries = 0
where uuid = %(replaced)s and state = 'queued' returning uuid;

-- name: park
-- A job cannot be run as it is stored.
update {schema}.jobs set state = 'queued', held = %s, started_at = null, node = null
where uuid = %s and state in ('queued', 'running');

-- name: tell
-- What running jobs have said about themselves; what comes too late changes nothing.
with batch as materialized (
    select value->>0 as uuid, (value->>1)::integer as attempt, value from json_array_elements(%(batch)s::json) as value
    order by 1
)
update {schema}.jobs set progress = coalesce(value->>2, progress), output = coalesce(value->>3, output)
from batch where jobs.uuid = any (array[batch.uuid]) and jobs.attempt = batch.attempt and state || '' = 'running'
returning jobs.uuid;

-- name: call_hooks
-- Jobs are about to fail: queue the hooks for them, except for those that are hooks themselves.
with clock as materialized (select {clock} as now),
batch as materialized (
    select value->>0 as uuid, (value->>1)::integer as attempt, value->>2 as arguments
    from json_array_elements(%(batch)s::json) as value
),
failing as materialized (
    select batch.arguments from batch, {schema}.jobs
    where jobs.uuid = any (array[batch.uuid]) and jobs.attempt = batch.attempt
        and state || '' = 'running' and task not in (select name from {schema}.failure_hooks)
    order by batch.uuid for update of jobs
)
insert into {schema}.jobs (uuid, task, arguments, state, run_at, created_at)
select gen_random_uuid()::text, name, failing.arguments, 'queued', now, now from failing, {schema}.failure_hooks, clock
returning uuid;

-- name: finish
-- Claimed jobs have reached their final states; what comes too late changes nothing, and is given. What is awaited, too.
with clock as materialized (select {clock} - %(now)s::float8 as ahead),
batch as materialized (
    select value->>0 as uuid, (value->>1)::integer as attempt, value from jsonb_array_elements(%(batch)s::jsonb) as value
    order by 1
),
ended as (
    update {schema}.jobs set state = value->>2, result = value->>3, error_message = value->>4, traceback = value->>5,
        started_at = (value->>6)::float8 + ahead, finished_at = (value->>7)::float8 + ahead,
        expires_at = (value->>8)::float8 + ahead, node = null
    from batch, clock
    where jobs.uuid = any (array[batch.uuid]) and jobs.attempt = batch.attempt and state || '' = 'running'
    returning jobs.uuid, awaited
)
select
    (select coalesce(json_agg(uuid), '[]')::text from batch where uuid not in (select uuid from ended)),
    (select coalesce(json_agg(uuid), '[]')::text from ended where awaited);

-- name: requeue
-- Claimed jobs are queued again, perhaps parked; what comes too late changes nothing, and is given.
with clock as materialized (select {clock} - %(now)s::float8 as ahead),
batch as materialized (
    select value->>0 as uuid, (value->>1)::integer as attempt, value from json_array_elements(%(batch)s::json) as value
    order by 1
),
ended as (
    update {schema}.jobs set state = 'queued', run_at = coalesce((value->>2)::float8 + ahead, run_at),
        held = value->>3, crashes = (value->>4)::integer, losses = (value->>5)::integer, started_at = null, node = null,
        retries = (value->>7)::integer, begin_by = case when not (value->>8)::boolean then begin_by end,
        past_attempts = case when value->>6 is null then past_attempts
            else concat('[', nullif(substr(past_attempts, 2, length(past_attempts) - 2), '') || ',', value->>6, ']') end
    from batch, clock
    where jobs.uuid = any (array[batch.uuid]) and jobs.attempt = batch.attempt and state || '' = 'running'
    returning jobs.uuid
)
select coalesce(json_agg(uuid), '[]')::text from batch where uuid not in (select uuid from ended);

-- name: next_expiry
-- When the next job expires that has not begun.
select (
    select begin_by from {schema}.jobs where begin_by is not null and state in ('waiting', 'queued')
    order by begin_by limit 1
) - {clock} + %(now)s::float8;

-- name: expire
-- Jobs that have not begun in time, the one that expired first before the others.
with clock as materialized (select {clock} as now)
update {schema}.jobs set state = 'cancelled', held = null, error_message = 'expired', finished_at = now,
    expires_at = now + coalesce(substring(policy from '"result_ttl":([0-9.e+-]+)')::float8, %(ttl)s)
from clock
where ctid = any (array(
    select ctid from {schema}.jobs
    where begin_by <= (select now from clock) and begin_by is not null and state in ('waiting', 'queued')
    order by begin_by limit %(count)s for update skip locked
))
returning uuid;

-- name: cancel
-- Cancel a job; one that runs is to be stopped by its node.
with clock as materialized (select {clock} as now)
update {schema}.jobs set stop_asked = true,
    state = case state when 'running' then state else 'cancelled' end,
    held = case state when 'running' then held end,
    error_message = case state when 'running' then error_message else 'cancelled before it was begun' end,
    finished_at = case state when 'running' then finished_at else now end,
    expires_at = case state when 'running' then expires_at
        else now + coalesce(substring(policy from '"result_ttl":([0-9.e+-]+)')::float8, %(ttl)s) end
from clock where uuid = %(uuid)s and state in ('waiting', 'queued', 'running')
returning uuid;

-- name: to_stop
-- Jobs that were to be cancelled while they ran, and run here or wait again.
select uuid from {schema}.jobs
where stop_asked and state in ('waiting', 'queued', 'running')
    and (state <> 'running' or node is not distinct from %(node)s);

-- name: running
-- The jobs that are held by a node that is no more.
select uuid, attempt from {schema}.jobs
where state = 'running' and not exists (select from {schema}.nodes where nodes.id = jobs.node)
order by started_at, id;

-- name: held
-- The jobs that this node holds, as far as the database knows.
select uuid, attempt from {schema}.jobs where state = 'running' and node is not distinct from %(node)s
order by started_at, id;

-- name: claim_of
-- What was claimed with a job, if it still runs.
select json_build_array(
    json_build_array(uuid, attempt, task, arguments, started_at, crashes, losses, retries, begin_by, policy, queue)
)::text from {schema}.jobs where uuid = %s and attempt = %s and state || '' = 'running';

-- name: get
-- Everything about one job whose result has not expired.
select uuid, task, state, held, attempt, created_at, run_at, started_at, finished_at, result, error_message,
    traceback, past_attempts, progress, output
from {schema}.jobs
where uuid = %(uuid)s and (expires_at is null or expires_at > {clock});

-- name: get_all
-- Everything about these jobs, whether their results have expired or not.
select uuid, task, state, held, attempt, created_at, run_at, started_at, finished_at, result, error_message,
    traceback, past_attempts, progress, output
from {schema}.jobs where uuid = any (array(select json_array_elements_text(%(uuids)s::json)));

-- name: graph
-- All jobs that wait or have waited for this one or for which it does, directly or not.
with recursive members (uuid) as (
    select %(uuid)s::text collate "C"
    union
    select other from members, lateral (
        select child from {schema}.edges where parent = uuid union all select parent from {schema}.edges where child = uuid
    ) as edge (other)
)
select uuid, task from {schema}.jobs
where uuid = any (array(select uuid from members)) and (expires_at is null or expires_at > {clock})
order by id;

-- name: find_running
-- What runs now, oldest first.
select uuid, task, state, held, attempt, created_at, run_at, started_at, finished_at, null, error_message,
    traceback, past_attempts, progress, ''
from {schema}.jobs where state = 'running' order by started_at limit %(count)s;

-- name: places
-- Where jobs are queued: the levels, and as many lines.
select '', queue, priority from {schema}.plain_levels
union all
(select limit_key, queue, priority from {schema}.lines limit %(count)s);

-- name: find_queued
-- What comes next at a place.
select uuid, task, state, held, attempt, created_at, run_at, started_at, finished_at, null, error_message,
    traceback, past_attempts, progress, ''
from {schema}.jobs where state = 'queued' and held is null
    and limit_key = %(limit_key)s and queue = %(queue)s and priority = %(priority)s order by run_at, id limit %(count)s;

-- name: find_held
-- What is parked.
select uuid, task, state, held, attempt, created_at, run_at, started_at, finished_at, null, error_message,
    traceback, past_attempts, progress, ''
from {schema}.jobs where state = 'queued' and held is not null limit %(count)s;

-- name: find_failed
-- What failed last.
select uuid, task, state, held, attempt, created_at, run_at, started_at, finished_at, null, error_message,
    traceback, past_attempts, progress, ''
from {schema}.jobs
where state = 'failed' and expires_at > {clock}
order by finished_at desc limit %(count)s;

-- name: final_among
-- Which of these jobs have come to their end, or are unknown.
select uuid from json_array_elements_text(%(uuids)s::json) as asked (uuid)
where not exists (
    select from {schema}.jobs where jobs.uuid = asked.uuid and state in ('waiting', 'queued', 'running') offset 0
);

-- name: count_states
-- How many jobs are in each state.
select state, count(*) from {schema}.jobs group by state;

-- name: count_queued
-- How many queued jobs are due later, and how many are parked.
select count(*) filter (where held is null and run_at > now), count(*) filter (where held is not null)
from {schema}.jobs, (select {clock} as now) as clock where state = 'queued';

-- name: queues
-- What is in each queue.
select queue, sum(due)::integer, sum(later)::integer, sum(running)::integer, max(paused) from (
    select queue, (state = 'queued' and held is null and run_at <= now)::integer as due,
        (state = 'queued' and held is null and run_at > now)::integer as later,
        (state = 'running')::integer as running, 0 as paused
    from {schema}.jobs, (select {clock} as now) as clock where state in ('queued', 'running')
    union all
    select queue, 0, 0, 0, 1 from {schema}.paused
) as jobs
group by queue order by queue;

-- name: due_in
-- The jobs of each queue that are due and wait for nothing but a worker: how many, and since when the first has been due.
select queue, count(*), min(run_at) from {schema}.jobs
where limit_key = '' and state = 'queued' and held is null and run_at <= {clock} group by queue order by queue;

-- name: held_reasons
-- Why jobs are parked, the most frequent reasons first.
select held, task, count(*) from {schema}.jobs where state = 'queued' and held is not null
group by held, task order by count(*) desc, held, task limit %(count)s;

-- name: failed_since
-- How many jobs have failed since then.
select count(*) from {schema}.jobs where state = 'failed' and finished_at > {clock} - %(seconds)s;

-- name: pause_queue
-- No job of this queue begins.
insert into {schema}.paused (queue) values (%s) on conflict do nothing;

-- name: resume_queue
-- Jobs of this queue may begin again.
delete from {schema}.paused where queue = %s;

-- name: release_held
-- Some jobs that were parked as these tasks were unknown may run: the code has them now.
update {schema}.jobs set held = null
where uuid = any (array(
    select uuid from {schema}.jobs
    where held like 'unknown task%%' and held is not null
        and task in (select json_array_elements_text(%(tasks)s::json))
    limit 1000 for update skip locked
));

-- name: calls
-- Jobs in the order of their uuids, with the arguments where they are queued; large ones are not worth reading.
select uuid, task, held, case when state = 'queued' and length(arguments) <= 10000 then arguments end
from {schema}.jobs where uuid > %(after)s order by uuid limit %(count)s;

-- name: set_held
-- Park queued jobs, or let them go; not those that become other calls just now.
with free as materialized (
    select uuid from {schema}.jobs
    where uuid = any (array(select value->>0 from json_array_elements(%(batch)s::json) as value)) and state = 'queued'
    order by uuid for update skip locked
)
update {schema}.jobs set held = value->>1 from json_array_elements(%(batch)s::json) as batch (value)
where jobs.uuid = value->>0 and jobs.uuid = any (array(select uuid from free));

-- name: prune
-- Results that nobody may ask for any more, and that nobody is still to receive.
delete from {schema}.jobs where ctid = any (array(
    select ctid from {schema}.jobs
    where expires_at <= (select {clock}) and not exists (
        select from {schema}.edges
        where parent = jobs.uuid
            and (select state from {schema}.jobs as other where other.uuid = child) in ('waiting', 'queued', 'running')
        offset 0
    )
    order by expires_at limit %(count)s for update skip locked
))
returning uuid;

-- name: forget_edges
-- These jobs are gone.
delete from {schema}.edges where child in (select json_array_elements_text(%(uuids)s::json));

-- name: ahead
-- By how many seconds the clock of the database is ahead of this machine's.
select {clock} - %(now)s::float8;

-- name: moving_to
-- Where everything is being moved to from here.
select other from {schema}.move where role = 'source';

-- name: may_run_jobs
-- May this user do what a node does? An application may have fewer rights.
select has_table_privilege('{schema}.jobs', 'delete') and has_table_privilege('{schema}.nodes', 'insert');

-- name: settings
-- All settings that differ from the defaults.
select name, value from {schema}.settings;

-- name: set
-- Store a setting.
insert into {schema}.settings (name, value) values (%s, %s) on conflict (name) do update set value = excluded.value;

-- name: unset_all
-- Back to the defaults, except for the lock.
delete from {schema}.settings where name <> 'locked';

-- name: modules
-- The modules in which applications have declared tasks.
select name from {schema}.modules order by name;

-- name: add_module
-- Remember a module in which tasks are declared.
insert into {schema}.modules (name) values (%s) on conflict do nothing;

-- name: remove_module
-- A module that no longer exists.
delete from {schema}.modules where name = %s;

-- name: schedules
-- All schedules, except those that the code does not declare any more, with their cursors.
select name, task, module, text, tz, missed, overlap, expires, policy, arguments, placement, cursor, paused
from {schema}.schedules where active order by name;

-- name: module_of
-- Where a schedule is declared.
select module from {schema}.schedules where name = %s and active for update;

-- name: pause
-- Let a schedule rest, or go on at its cursor.
update {schema}.schedules set paused = %s where name = %s and active;

-- name: remove
-- Forget a schedule that was added at run time.
delete from {schema}.schedules where name = %s and module is null;

-- name: declare
-- There is this schedule. A new or changed one starts now; an unchanged one goes on at its cursor; a paused one rests.
insert into {schema}.schedules (name, task, module, text, tz, missed, overlap, expires, policy, arguments, placement, cursor, active)
values (%(name)s, %(task)s, %(module)s, %(text)s, %(tz)s, %(missed)s, %(overlap)s, %(expires)s, %(policy)s,
    %(arguments)s, %(placing)s, {clock}, true)
on conflict (name) do update set
    cursor = case when schedules.text = excluded.text and schedules.tz = excluded.tz then schedules.cursor
        else excluded.cursor end,
    task = excluded.task, module = excluded.module, text = excluded.text, tz = excluded.tz,
    missed = excluded.missed, overlap = excluded.overlap, expires = excluded.expires, policy = excluded.policy,
    arguments = excluded.arguments, placement = excluded.placement, active = true
where (schedules.task, schedules.module, schedules.text, schedules.tz, schedules.missed, schedules.overlap,
    schedules.expires, schedules.policy, schedules.arguments, schedules.placement, schedules.active)
    is distinct from (excluded.task, excluded.module, excluded.text, excluded.tz, excluded.missed, excluded.overlap,
        excluded.expires, excluded.policy, excluded.arguments, excluded.placement, true);

-- name: retire
-- These modules were imported, and these schedules are all that they declare.
update {schema}.schedules set active = false
where name in (
    select name from {schema}.schedules
    where active and module in (select json_array_elements_text(%(modules)s::json))
        and name not in (select json_array_elements_text(%(names)s::json))
    order by name for update
);

-- name: advance
-- Move a cursor; it only goes forward, so whoever comes second changes nothing.
update {schema}.schedules set cursor = %(cursor)s
where name = %(name)s and cursor < %(cursor)s and active and not paused
returning name;

-- name: unfinished_of
-- Does an earlier run of this schedule still wait or run?
select exists (
    select from {schema}.jobs where schedule = %s and state in ('waiting', 'queued', 'running')
)::integer;

-- name: fire
-- The job of a slot, or of none; a slot has one job at most.
insert into {schema}.jobs (uuid, task, arguments, state, run_at, created_at, begin_by, policy, queue, priority,
    limit_key, unique_key, schedule, slot)
values (%(uuid)s, %(task)s, %(arguments)s, 'queued', %(run_at)s, %(created_at)s, %(begin_by)s, %(policy)s, %(queue)s,
    %(priority)s, %(limit_key)s, %(unique_key)s, %(schedule)s, %(slot)s)
on conflict do nothing;

-- name: step
-- The value of a step that a job has done.
select value from {schema}.steps where uuid = %s and name = %s;

-- name: keep_step
-- A job has done a step; an attempt that does not hold the job any more keeps nothing.
insert into {schema}.steps (uuid, name, value)
select %(uuid)s, %(name)s, %(value)s where exists (
    select from {schema}.jobs where uuid = %(uuid)s and attempt = %(attempt)s and state || '' = 'running'
)
on conflict (uuid, name) do update set value = excluded.value;

-- name: add_hook
-- The code declares a hook.
insert into {schema}.failure_hooks (name, module) values (%s, %s)
on conflict (name) do update set module = excluded.module;

-- name: forget_hooks
-- These modules were imported, or no longer exist, and these hooks are all that they declare.
delete from {schema}.failure_hooks
where module in (select json_array_elements_text(%(modules)s::json))
    and name not in (select json_array_elements_text(%(names)s::json));
