-- Every statement that autocron runs on SQLite. The names are the same in each dialect.

-- name: insert
-- Keep a call, unless the autocron lock is on.
insert into jobs (uuid, task, arguments, state, run_at, created_at, begin_by, policy, queue, priority, limit_key, unique_key)
select :uuid, :task, :arguments, 'queued', :run_at, :created_at, :begin_by, :policy, :queue, :priority, :limit_key,
    :unique_key
where not exists (select 1 from settings where name = 'locked' and value = 'true');

-- name: locked
-- Is the autocron lock on?
select exists (select 1 from settings where name = 'locked' and value = 'true');

-- name: insert_many
-- Keep a call; `waiting` when it waits for others.
insert into jobs (uuid, task, arguments, state, run_at, created_at, begin_by, policy, queue, priority, limit_key, unique_key)
values (:uuid, :task, :arguments, iif(:waiting, 'waiting', 'queued'), :run_at, :created_at, :begin_by, :policy, :queue,
    :priority, :limit_key, :unique_key);

-- name: parents
-- Which of these jobs are there, for others to wait for them.
select uuid from jobs
where uuid in (select value from json_each(:uuids)) and (expires_at is null or expires_at > :now);

-- name: add_edges
-- Jobs wait for others.
insert into edges (parent, child, needed) select value->>0, value->>1, value->>2 from json_each(:edges);

-- name: failed_parents
-- Which of these jobs have come to their end without success while others need them.
select value from json_each(:uuids)
where exists (select 1 from edges where edges.parent = value and open and needed)
    and exists (select 1 from jobs where uuid = value and state in ('failed', 'cancelled'));

-- name: cancel_waiting
-- Cancel what needs this job, directly or not, if it has come to its end without success.
with recursive doomed (one) as (
    select child from edges where parent = :parent and needed
        and exists (select 1 from jobs where uuid = :parent and state in ('failed', 'cancelled'))
    union
    select child from doomed cross join edges on parent = one
    where needed and exists (select 1 from jobs where uuid = one and state = 'waiting')
)
update jobs set state = 'cancelled', finished_at = :now,
    error_message = (
        select task || ' ' || uuid || iif(state = 'failed', ' failed: ', ' was cancelled: ')
            || iif(error_message = '', 'no reason was given', substr(error_message, 1, 300))
        from jobs where uuid = :parent
    ),
    expires_at = :now + coalesce(
        iif(json_valid(policy), policy->>'result_ttl', null),
        (select cast(value as real) from settings where name = 'result_ttl'), :ttl
    )
where uuid in (select one from doomed) and state = 'waiting'
returning uuid;

-- name: close_edges
-- Nobody waits any more for those of these jobs that have come to their end, nor for what was cancelled because of them.
with recursive gone (one) as (
    select value from json_each(:uuids)
    where exists (select 1 from edges where edges.parent = value)
    union
    select child from gone cross join edges on edges.parent = one
    where open and needed and exists (select 1 from jobs where uuid = child and state = 'cancelled')
)
update edges set open = 0
where open and parent in (select one from gone)
    and exists (select 1 from jobs where uuid = edges.parent and state in ('succeeded', 'failed', 'cancelled'));

-- name: release_waiting
-- Queue those that waited for these jobs, or what was cancelled because of them, and wait for nothing any more.
with recursive gone (one) as (
    select value from json_each(:uuids)
    where exists (select 1 from edges where edges.parent = value)
    union
    select child from gone cross join edges on edges.parent = one
    where needed and exists (select 1 from jobs where uuid = child and state = 'cancelled')
)
update jobs set state = 'queued'
where uuid in (select child from gone cross join edges on edges.parent = one) and state = 'waiting'
    and not exists (select 1 from edges where child = uuid and open = 1);

-- name: levels
-- Each queue and priority of jobs that are queued, with the time at which the first is due, and the time to look at the
-- first line of those under limits. From one pair to the next by the index: it does not matter how many jobs there are.
with recursive
plain (queue, priority) as (
    values ('', 101)
    union all
    select next.queue, next.priority from plain join jobs as next on next.id = coalesce(
        (select id from jobs where limit_key = '' and state = 'queued' and held is null
            and queue = plain.queue and priority < plain.priority order by priority desc, run_at limit 1),
        (select id from jobs where limit_key = '' and state = 'queued' and held is null
            and queue > plain.queue order by queue, priority desc, run_at limit 1)
    )
),
limited (queue, priority, next_at) as (
    values ('', 101, null)
    union all
    select next.queue, next.priority, next.next_at from limited join lines as next on next.id = coalesce(
        (select id from lines where next_at is not null
            and queue = limited.queue and priority < limited.priority order by priority desc, next_at limit 1),
        (select id from lines where next_at is not null
            and queue > limited.queue order by queue, priority desc, next_at limit 1)
    )
)
select queue, priority, (
    select run_at from jobs where limit_key = '' and state = 'queued' and held is null
        and queue = plain.queue and priority = plain.priority
    order by run_at limit 1
), null from plain where priority < 101 and queue not in (select queue from paused)
union all
select queue, priority, null, next_at from limited where priority < 101 and queue not in (select queue from paused);

-- name: claim
-- Take the jobs of a level that have been due for longest, unless they have expired; give the claims, how many were due,
-- and when the next is due that is not yet.
select json_group_array(
    json_array(uuid, attempt + 1, task, arguments, :now, crashes, losses, retries, begin_by, policy, queue)
) filter (where begin_by is null or begin_by > :now), count(*), (
    select run_at from jobs
    where state = 'queued' and held is null and limit_key = :limit_key and queue = :queue and priority = :priority
        and run_at > :now
    order by run_at limit 1
) from (
    select uuid, attempt, task, arguments, crashes, losses, retries, begin_by, policy, queue from jobs
    where state = 'queued' and held is null and limit_key = :limit_key and queue = :queue and priority = :priority
        and run_at <= :now
    order by run_at, id limit :count
);
update jobs set state = 'running', attempt = attempt + 1, started_at = :now, progress = null, output = ''
where id in (
    select id from jobs
    where state = 'queued' and held is null and limit_key = :limit_key and queue = :queue and priority = :priority
        and run_at <= :now
    order by run_at, id limit :count
) and (begin_by is null or begin_by > :now);

-- name: lock_lines
-- Jobs are about to leave their places: nobody else can write.
select 1 where false;

-- name: due_times
-- Since when the jobs of a level have been due.
select run_at from jobs
where state = 'queued' and held is null and limit_key = :limit_key and queue = :queue and priority = :priority
    and run_at <= :now
order by run_at, id limit :count;

-- name: first_due
-- The job of a level that is claimed next.
select id from jobs
where state = 'queued' and held is null and limit_key = :limit_key and queue = :queue and priority = :priority
    and run_at <= :now
order by run_at, id limit 1;

-- name: due_lines
-- The lines of a level that are to be looked at.
select limit_key from lines
where next_at is not null and queue = :queue and priority = :priority and next_at <= :now
order by next_at limit :count;

-- name: bucket
-- A limit, when its bucket is full, and how many of its jobs run.
select concurrency, burst, period, coalesce(full_at, 0), (
    select count(*) from jobs where limit_key = :limit_key and limit_key <> '' and state = 'running'
)
from (select 1) left join limits on key = :limit_key;

-- name: take_tokens
-- The bucket will be full at another time.
update limits set full_at = :full_at where key = :limit_key;

-- name: give_back_token
-- A claimed job was not begun.
update limits set full_at = full_at - period / burst
where burst is not null and key = (select limit_key from jobs where uuid = ? and limit_key <> '');

-- name: first_time
-- Since when, or from when, the first job of a line is due.
select min(run_at) from jobs
where state = 'queued' and held is null and limit_key = :limit_key and queue = :queue and priority = :priority;

-- name: set_line
-- When a line is to be looked at.
update lines set next_at = :next_at where limit_key = :limit_key and queue = :queue and priority = :priority;

-- name: drop_line
-- Nobody stands in a line.
delete from lines where limit_key = :limit_key and queue = :queue and priority = :priority;

-- name: look_at_lines
-- All lines that wait for the end of a job are to be looked at: nobody may have seen it.
update lines set next_at = 0 where next_at is null;

-- name: limit
-- The last call says what a limit is.
insert into limits (key, concurrency, burst, period) values (?, ?, ?, ?)
on conflict (key) do update set concurrency = excluded.concurrency, burst = excluded.burst, period = excluded.period
where (concurrency, burst, period) is not (excluded.concurrency, excluded.burst, excluded.period);

-- name: line_up
-- A job stands in line. A line that waits for the end of a job goes on to do so.
insert into lines (limit_key, queue, priority, next_at)
select limit_key, queue, priority, run_at from jobs where uuid = :uuid
on conflict do update set next_at = min(next_at, excluded.next_at);

-- name: limits_after
-- Limits, in the order of their keys.
select key from limits where key > ? order by key limit ?;

-- name: drop_limits
-- Those of these limits that are under nobody's use and have a full bucket.
delete from limits where key in (select value from json_each(:keys)) and full_at <= :now and not exists (
    select 1 from jobs where limit_key = key and limit_key <> '' and state in ('waiting', 'queued', 'running')
);

-- name: lock_key
-- Calls with one key come one after another, as all writers do.
select 1;

-- name: try_key
-- The same.
select 1;

-- name: holder_of
-- The job that has a unique key, and whether it has it no more.
select uuid, state, (state in ('failed', 'cancelled') or (state = 'succeeded' and
    finished_at + coalesce(iif(json_valid(policy), policy->>'unique_for', null), 0) <= :now))
from jobs where task = :task and unique_key = :unique_key;

-- name: free_key
-- A job that has the key no more.
update jobs set unique_key = null where uuid = :uuid;

-- name: replace
-- A queued job becomes that of another call; no row: it is queued no more.
update jobs set arguments = :arguments, run_at = :run_at, created_at = :created_at, begin_by = :begin_by,
    policy = :policy, queue = :queue, priority = :priority, limit_key = :limit_key, held = null, retries = 0
where uuid = :replaced and state = 'queued' returning uuid;

-- name: park
-- A job cannot be run as it is stored.
update jobs set state = 'queued', held = ?, started_at = null where id = ? and state in ('queued', 'running');

-- name: tell
-- What running jobs have said about themselves; what comes too late changes nothing.
update jobs set progress = coalesce(value->>2, progress), output = coalesce(value->>3, output)
from json_each(:batch)
where uuid = value->>0 and attempt = value->>1 and state = 'running'
returning uuid;

-- name: call_hooks
-- Jobs are about to fail: queue the hooks for them, except for those that are hooks themselves.
insert into jobs (uuid, task, arguments, state, run_at, created_at)
select lower(
        hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-8'
        || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))
    ), failure_hooks.name, value->>2, 'queued', :now, :now
from json_each(:batch), failure_hooks
where exists (
    select 1 from jobs where uuid = value->>0 and attempt = value->>1 and state = 'running'
        and task not in (select name from failure_hooks)
)
returning uuid;

-- name: finish
-- Claimed jobs have reached their final states; what comes too late changes nothing, and is given.
select json_group_array(value->>0) from json_each(:batch)
where not exists (select 1 from jobs where uuid = value->>0 and attempt = value->>1 and state = 'running');
update jobs set state = value->>2, result = value->>3, error_message = value->>4, traceback = value->>5,
    started_at = value->>6, finished_at = value->>7, expires_at = value->>8
from json_each(:batch)
where uuid = value->>0 and attempt = value->>1 and state = 'running';

-- name: requeue
-- Claimed jobs are queued again, perhaps parked; what comes too late changes nothing, and is given.
select json_group_array(value->>0) from json_each(:batch)
where not exists (select 1 from jobs where uuid = value->>0 and attempt = value->>1 and state = 'running');
update jobs set state = 'queued', run_at = coalesce(value->>2, run_at), held = value->>3, crashes = value->>4,
    losses = value->>5, started_at = null, retries = value->>7, begin_by = iif(value->>8, null, begin_by),
    past_attempts = case when value->>6 is null then past_attempts
        else json_insert(iif(json_valid(past_attempts), past_attempts, '[]'), '$[#]', json(value->>6)) end
from json_each(:batch)
where uuid = value->>0 and attempt = value->>1 and state = 'running';

-- name: next_expiry
-- When the next job expires that has not begun.
select min(begin_by) from jobs where begin_by is not null and state in ('waiting', 'queued');

-- name: expire
-- Jobs that have not begun in time, the one that expired first before the others.
update jobs set state = 'cancelled', held = null, error_message = 'expired', finished_at = :now,
    expires_at = :now + coalesce(iif(json_valid(policy), policy->>'result_ttl', null), :ttl)
where id in (
    select id from jobs where begin_by <= :now and begin_by is not null and state in ('waiting', 'queued')
    order by begin_by limit :count
)
returning uuid;

-- name: cancel
-- Cancel a job; one that runs is to be stopped by its node.
update jobs set stop_asked = 1,
    state = case state when 'running' then state else 'cancelled' end,
    held = case state when 'running' then held end,
    error_message = case state when 'running' then error_message else 'cancelled before it was begun' end,
    finished_at = case state when 'running' then finished_at else :now end,
    expires_at = case state when 'running' then expires_at
        else :now + coalesce(iif(json_valid(policy), policy->>'result_ttl', null), :ttl) end
where uuid = :uuid and state in ('waiting', 'queued', 'running')
returning uuid;

-- name: to_stop
-- Jobs that were to be cancelled while they ran.
select uuid from jobs where stop_asked and state in ('waiting', 'queued', 'running');

-- name: running
-- The jobs that are held: after a crash of the node, by nobody.
select id, attempt from jobs where state = 'running';

-- name: held
-- The jobs that this node holds, as far as the database knows.
select id, attempt from jobs where state = 'running';

-- name: claim_of
-- What was claimed with a job, if it still runs.
select json_array(
    json_array(uuid, attempt, task, arguments, started_at, crashes, losses, retries, begin_by, policy, queue)
) from jobs where id = ? and attempt = ? and state = 'running';

-- name: get
-- Everything about one job whose result has not expired.
select uuid, task, state, held, attempt, created_at, run_at, started_at, finished_at, result, error_message,
    traceback, past_attempts, progress, output
from jobs where uuid = :uuid and (expires_at is null or expires_at > :now);

-- name: get_all
-- Everything about these jobs, whether their results have expired or not.
select uuid, task, state, held, attempt, created_at, run_at, started_at, finished_at, result, error_message,
    traceback, past_attempts, progress, output
from jobs where uuid in (select value from json_each(:uuids));

-- name: graph
-- All jobs that wait or have waited for this one or for which it does, directly or not.
with recursive members (one) as (
    select :uuid
    union
    select iif(parent = one, child, parent) from members cross join edges on parent = one or child = one
)
select uuid, task from members cross join jobs on uuid = one where expires_at is null or expires_at > :now order by id;

-- name: find_running
-- What runs now, oldest first.
select uuid, task, state, held, attempt, created_at, run_at, started_at, finished_at, null, error_message,
    traceback, past_attempts, progress, ''
from jobs where state = 'running' order by started_at limit :count;

-- name: places
-- Where jobs are queued: the levels, and as many lines.
with recursive plain (queue, priority) as (
    values ('', 101)
    union all
    select next.queue, next.priority from plain join jobs as next on next.id = coalesce(
        (select id from jobs where limit_key = '' and state = 'queued' and held is null
            and queue = plain.queue and priority < plain.priority order by priority desc, run_at limit 1),
        (select id from jobs where limit_key = '' and state = 'queued' and held is null
            and queue > plain.queue order by queue, priority desc, run_at limit 1)
    )
)
select '', queue, priority from plain where priority < 101
union all
select * from (select limit_key, queue, priority from lines limit :count);

-- name: find_queued
-- What comes next at a place.
select uuid, task, state, held, attempt, created_at, run_at, started_at, finished_at, null, error_message,
    traceback, past_attempts, progress, ''
from jobs where state = 'queued' and held is null and limit_key = :limit_key and queue = :queue and priority = :priority
order by run_at, id limit :count;

-- name: find_held
-- What is parked.
select uuid, task, state, held, attempt, created_at, run_at, started_at, finished_at, null, error_message,
    traceback, past_attempts, progress, ''
from jobs where state = 'queued' and held is not null limit :count;

-- name: find_failed
-- What failed last. The plus keeps SQLite from going through all that expires.
select uuid, task, state, held, attempt, created_at, run_at, started_at, finished_at, null, error_message,
    traceback, past_attempts, progress, ''
from jobs where state = 'failed' and +expires_at > :now order by finished_at desc limit :count;

-- name: final_among
-- Which of these jobs have come to their end, or are unknown.
select value from json_each(:uuids)
where not exists (
    select 1 from jobs where uuid = value and state in ('waiting', 'queued', 'running')
);

-- name: count_states
-- How many jobs are in each state.
select state, count(*) from jobs group by state;

-- name: count_queued
-- How many queued jobs are due later, and how many are parked.
select count(*) filter (where held is null and run_at > :now), count(*) filter (where held is not null)
from jobs where state = 'queued';

-- name: queues
-- What is in each queue.
select queue, sum(due), sum(later), sum(running), max(paused) from (
    select queue, state = 'queued' and held is null and run_at <= :now as due,
        state = 'queued' and held is null and run_at > :now as later, state = 'running' as running, 0 as paused
    from jobs where state in ('queued', 'running')
    union all
    select queue, 0, 0, 0, 1 from paused
)
group by queue;

-- name: due_in
-- The jobs of each queue that are due and wait for nothing but a worker: how many, and since when the first has been due.
select queue, count(*), min(run_at) from jobs
where limit_key = '' and state = 'queued' and held is null and run_at <= :now group by queue order by queue;

-- name: held_reasons
-- Why jobs are parked, the most frequent reasons first.
select held, task, count(*) from jobs where state = 'queued' and held is not null
group by held, task order by count(*) desc, held, task limit :count;

-- name: failed_since
-- How many jobs have failed since then.
select count(*) from jobs where state = 'failed' and finished_at > :now - :seconds;

-- name: pause_queue
-- No job of this queue begins.
insert into paused (queue) values (?) on conflict do nothing;

-- name: resume_queue
-- Jobs of this queue may begin again.
delete from paused where queue = ?;

-- name: release_held
-- Some jobs that were parked as these tasks were unknown may run: the code has them now.
update jobs set held = null
where id in (
    select id from jobs
    where held like 'unknown task%' and held is not null and task in (select value from json_each(:tasks)) limit 1000
);

-- name: calls
-- Jobs in the order of their uuids, with the arguments where they are queued; large ones are not worth reading.
select uuid, task, held, case when state = 'queued' and length(arguments) <= 10000 then arguments end
from jobs where uuid > :after order by uuid limit :count;

-- name: set_held
-- Park queued jobs, or let them go.
update jobs set held = value->>1 from json_each(:batch)
where uuid = value->>0 and state = 'queued';

-- name: prune
-- Results that nobody may ask for any more, and that nobody is still to receive.
delete from jobs where id in (
    select id from jobs where expires_at <= :now and not exists (
        select 1 from edges cross join jobs as other on other.uuid = child
        where parent = jobs.uuid and other.state in ('waiting', 'queued', 'running')
    ) limit :count
)
returning uuid;

-- name: forget_edges
-- These jobs are gone.
delete from edges where child in (select value from json_each(:uuids));

-- name: ahead
-- By how many seconds the clock of the database is ahead of this machine's.
select 0.0;

-- name: moving_to
-- Where everything is being moved to from here.
select other from move where role = 'source';

-- name: may_run_jobs
-- May this user do what a node does? Whoever may write the file may do everything.
select true;

-- name: settings
-- All settings that differ from the defaults.
select name, value from settings;

-- name: set
-- Store a setting.
insert into settings (name, value) values (?, ?) on conflict (name) do update set value = excluded.value;

-- name: unset_all
-- Back to the defaults, except for the lock.
delete from settings where name <> 'locked';

-- name: modules
-- The modules in which applications have declared tasks.
select name from modules order by name;

-- name: add_module
-- Remember a module in which tasks are declared.
insert into modules (name) values (?) on conflict do nothing;

-- name: remove_module
-- A module that no longer exists.
delete from modules where name = ?;

-- name: schedules
-- All schedules, except those that the code does not declare any more, with their cursors.
select name, task, module, text, tz, missed, overlap, expires, policy, arguments, placement, cursor, paused
from schedules where active order by name;

-- name: module_of
-- Where a schedule is declared.
select module from schedules where name = ? and active;

-- name: pause
-- Let a schedule rest, or go on at its cursor.
update schedules set paused = ? where name = ? and active;

-- name: remove
-- Forget a schedule that was added at run time.
delete from schedules where name = ? and module is null;

-- name: declare
-- There is this schedule. A new or changed one starts now; an unchanged one goes on at its cursor; a paused one rests.
insert into schedules (name, task, module, text, tz, missed, overlap, expires, policy, arguments, placement, cursor, active)
values (:name, :task, :module, :text, :tz, :missed, :overlap, :expires, :policy, :arguments, :placing, :now, 1)
on conflict (name) do update set
    cursor = case when text = excluded.text and tz = excluded.tz then cursor else excluded.cursor end,
    task = excluded.task, module = excluded.module, text = excluded.text, tz = excluded.tz,
    missed = excluded.missed, overlap = excluded.overlap, expires = excluded.expires, policy = excluded.policy,
    arguments = excluded.arguments, placement = excluded.placement, active = 1
where (task, module, text, tz, missed, overlap, expires, policy, arguments, placement, active)
    is not (excluded.task, excluded.module, excluded.text, excluded.tz, excluded.missed, excluded.overlap,
        excluded.expires, excluded.policy, excluded.arguments, excluded.placement, 1);

-- name: retire
-- These modules were imported, and these schedules are all that they declare.
update schedules set active = 0
where active and module in (select value from json_each(:modules))
    and name not in (select value from json_each(:names));

-- name: advance
-- Move a cursor; it only goes forward, so whoever comes second changes nothing.
update schedules set cursor = :cursor where name = :name and cursor < :cursor and active and not paused
returning name;

-- name: unfinished_of
-- Does an earlier run of this schedule still wait or run?
select exists (select 1 from jobs where schedule = ? and state in ('waiting', 'queued', 'running'));

-- name: fire
-- The job of a slot, or of none; a slot has one job at most.
insert into jobs (uuid, task, arguments, state, run_at, created_at, begin_by, policy, queue, priority, limit_key,
    unique_key, schedule, slot)
values (:uuid, :task, :arguments, 'queued', :run_at, :created_at, :begin_by, :policy, :queue, :priority, :limit_key,
    :unique_key, :schedule, :slot)
on conflict do nothing;

-- name: step
-- The value of a step that a job has done.
select value from steps where uuid = ? and name = ?;

-- name: keep_step
-- A job has done a step; an attempt that does not hold the job any more keeps nothing.
insert into steps (uuid, name, value)
select :uuid, :name, :value where exists (
    select 1 from jobs where uuid = :uuid and attempt = :attempt and state = 'running'
)
on conflict (uuid, name) do update set value = excluded.value;

-- name: add_hook
-- The code declares a hook.
insert into failure_hooks (name, module) values (?, ?) on conflict (name) do update set module = excluded.module;

-- name: forget_hooks
-- These modules were imported, or no longer exist, and these hooks are all that they declare.
delete from failure_hooks
where module in (select value from json_each(:modules)) and name not in (select value from json_each(:names));
