-- The first schema. {schema} is its name.

create table {schema}.jobs (
    id            bigint generated always as identity,  -- the order in which calls came
    uuid          text collate "C" primary key with (fillfactor = 50), -- has room for each job's later versions
    task          text not null,
    arguments     text not null,             -- JSON
    state         text collate "C" not null,
    held          text,                      -- why a queued job is parked
    run_at        float8 not null,
    queue         text collate "C" not null default 'default',
    priority      integer not null default 0 check (priority between -100 and 100),
    limit_key     text collate "C" not null default '',  -- of the table limits; '' for most jobs
    unique_key    text collate "C",          -- no other unfinished job of the task has it
    attempt       integer not null default 0,
    crashes       integer not null default 0,
    losses        integer not null default 0,
    retries       integer not null default 0, -- used so far
    begin_by      float8,                    -- not begun by then: cancelled; null also when it was begun
    policy        text,                      -- JSON: how it is run, where that is not the default
    created_at    float8 not null,
    started_at    float8,
    finished_at   float8,
    expires_at    float8,
    result        text,                      -- JSON
    error_message text not null default '',
    traceback     text not null default '',
    past_attempts text,                      -- JSON
    schedule      text,
    slot          float8,
    node          bigint,                    -- who holds it while it runs
    awaited       boolean not null default false,  -- on another machine than the one that runs it
    progress      text,                      -- JSON
    output        text not null default '',  -- what the last attempt printed, cut in the middle
    stop_asked    boolean not null default false -- somebody has cancelled it
) with (
    -- Each job leaves two dead rows: vacuum has to come often and must not pause, or claims have to pass them by.
    fillfactor = 85,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_scale_factor = 0.1,
    autovacuum_analyze_scale_factor = 0.1
);
create index jobs_ready on {schema}.jobs (limit_key, queue, priority desc, run_at, id)
    where state = 'queued' and held is null;
create index jobs_held on {schema}.jobs (task) where held is not null;
create index jobs_running on {schema}.jobs (started_at) where state = 'running';
create index jobs_failed on {schema}.jobs (finished_at) where state = 'failed';
create index jobs_expiring on {schema}.jobs (expires_at) where expires_at is not null;
create index jobs_begin_by on {schema}.jobs (begin_by) where begin_by is not null and state in ('waiting', 'queued');
create index jobs_to_stop on {schema}.jobs (uuid) where stop_asked and state in ('waiting', 'queued', 'running');
create unique index jobs_slot on {schema}.jobs (schedule, slot) where schedule is not null;
create index jobs_unfinished on {schema}.jobs (schedule)
    where schedule is not null and state in ('waiting', 'queued', 'running');
create unique index jobs_unique on {schema}.jobs (task, unique_key) where unique_key is not null;
create index jobs_limit_running on {schema}.jobs (limit_key) where limit_key <> '' and state = 'running';
create index jobs_limit_unfinished on {schema}.jobs (limit_key)
    where limit_key <> '' and state in ('waiting', 'queued', 'running');

create table {schema}.limits (
    key         text collate "C" primary key, -- a task, and a key of the arguments
    concurrency integer,                     -- so many of its jobs run at once
    burst       integer,                     -- tokens that the bucket holds
    period      float8,                      -- seconds in which it becomes full
    full_at     float8 not null default 0    -- when the bucket is full, if no job begins until then
);

create table {schema}.lines (                -- where jobs under a limit wait
    id          bigint generated always as identity primary key,
    limit_key   text collate "C" not null,
    queue       text collate "C" not null,
    priority    integer not null,
    next_at     float8,                      -- when to look at it; null: when one of the running jobs has ended
    unique (limit_key, queue, priority)
);
create index lines_ready on {schema}.lines (queue, priority desc, next_at) where next_at is not null;

create table {schema}.joining (              -- what a block of calls leaves to its commit; nobody else ever sees the row
    id          bigint generated always as identity primary key,
    uuids       text[],                      -- jobs that wait for others or in lines
    clock       float8,                      -- the time of the commit; null: that of the server
    freed       text,                        -- a job that loses its unique key, which another has with chr(31) until then
    task        text,                        -- its task
    unique_key  text collate "C",            -- the key
    limit_key   text collate "C",            -- a limit as a call has it, with its numbers
    concurrency integer,
    burst       integer,
    period      float8
);

-- Whoever lets a job wait under a limit again, or end: its line is looked at. A line that waits for an end is left alone.
create function {schema}.line_up() returns trigger language plpgsql as $$
begin
    if exists (select from {schema}.joining) then
        insert into {schema}.joining (uuids) values (array[new.uuid]);
        return null;
    end if;
    insert into {schema}.lines (limit_key, queue, priority, next_at)
    values (new.limit_key, new.queue, new.priority, new.run_at)
    on conflict (limit_key, queue, priority) do update set next_at =
        case when lines.next_at is null then null else least(lines.next_at, excluded.next_at) end;
    return null;
end $$;
-- A line that another node looks at just now may be about to wait for the end that this is: first that has to be over.
create function {schema}.give_place_back() returns trigger language plpgsql as $$
begin
    perform from {schema}.lines where limit_key = old.limit_key order by id for update;
    update {schema}.lines set next_at = 0 where limit_key = old.limit_key and next_at is null;
    return null;
end $$;
create trigger jobs_line_update after update of state, held, run_at, limit_key, queue, priority on {schema}.jobs
    for each row when (new.limit_key <> '' and new.state = 'queued' and new.held is null)
    execute function {schema}.line_up();
create trigger jobs_place_update after update of state on {schema}.jobs
    for each row when (old.limit_key <> '' and old.state = 'running' and new.state <> 'running')
    execute function {schema}.give_place_back();
create trigger jobs_place_delete after delete on {schema}.jobs
    for each row when (old.limit_key <> '' and old.state = 'running')
    execute function {schema}.give_place_back();

create table {schema}.paused (
    queue text collate "C" primary key
);

-- Each queue and priority of jobs that are queued and under no limit.
create view {schema}.plain_levels as
with recursive plain (queue, priority) as (
    (select queue, priority from {schema}.jobs where limit_key = '' and state = 'queued' and held is null
        order by queue, priority desc limit 1)
    union all
    select next.queue, next.priority from plain cross join lateral (
        (select queue, priority from {schema}.jobs where limit_key = '' and state = 'queued' and held is null
            and queue = plain.queue and priority < plain.priority order by priority desc limit 1)
        union all
        (select queue, priority from {schema}.jobs where limit_key = '' and state = 'queued' and held is null
            and queue > plain.queue order by queue, priority desc limit 1)
        limit 1
    ) as next
)
select queue, priority from plain;

-- These and those of jobs under limits, except for paused queues: when the first job is due, when to look at the first line.
create view {schema}.levels as
with recursive limited (queue, priority) as (
    (select queue, priority from {schema}.lines where next_at is not null order by queue, priority desc limit 1)
    union all
    select next.queue, next.priority from limited cross join lateral (
        (select queue, priority from {schema}.lines where next_at is not null
            and queue = limited.queue and priority < limited.priority order by priority desc limit 1)
        union all
        (select queue, priority from {schema}.lines where next_at is not null
            and queue > limited.queue order by queue, priority desc limit 1)
        limit 1
    ) as next
)
select queue, priority, (
    select run_at from {schema}.jobs where limit_key = '' and state = 'queued' and held is null
        and queue = plain.queue and priority = plain.priority
    order by run_at limit 1
) as run_at, null::float8 as next_at
from {schema}.plain_levels as plain where queue not in (select queue from {schema}.paused)
union all
select queue, priority, null, (
    select next_at from {schema}.lines where next_at is not null
        and queue = limited.queue and priority = limited.priority order by next_at limit 1
)
from limited where queue not in (select queue from {schema}.paused);

create table {schema}.edges (                -- a job waits, or has waited, for the end of another one
    parent text collate "C" not null,
    child  text collate "C" not null,
    needed boolean not null,                 -- the child is cancelled unless the parent succeeds
    open   boolean not null default true,    -- the parent has not come to its end
    primary key (parent, child)
);
create index edges_child on {schema}.edges (child, open);

-- Cancels what needs this job, directly or not, if it has come to its end without success, or is gone with its result;
-- gives what was cancelled, and whether it is awaited.
create function {schema}.cancel_waiting(ended text, now float8, ttl float8)
returns table (cancelled text, is_awaited boolean) language plpgsql as $$
begin
    return query
    with recursive doomed (uuid) as (
        select child from {schema}.edges
        where parent = ended and needed
            and coalesce((select state from {schema}.jobs where uuid = ended), 'gone') in ('failed', 'cancelled', 'gone')
        union
        select child from doomed, lateral (
            select child from {schema}.edges where parent = uuid and needed offset 0
        ) as edge
        where (select state from {schema}.jobs where jobs.uuid = doomed.uuid) = 'waiting'
    ),
    waiting as materialized (
        select uuid from {schema}.jobs where uuid = any (array(select uuid from doomed)) and state = 'waiting'
        order by uuid for update
    )
    update {schema}.jobs set state = 'cancelled', finished_at = now,
        error_message = coalesce((
            select concat(
                task, ' ', uuid, case when state = 'failed' then ' failed: ' else ' was cancelled: ' end,
                coalesce(nullif(left(error_message, 300), ''), 'no reason was given')
            ) from {schema}.jobs where uuid = ended
        ), concat('the result of ', ended, ' has expired (result_ttl, failed_ttl)')),
        expires_at = now + coalesce(
            substring(policy from '"result_ttl":([0-9.e+-]+)'),
            (select substring(value from '^[0-9.e+-]+$') from {schema}.settings where name = 'result_ttl'),
            ttl::text
        )::float8
    where uuid = any (array(select uuid from waiting))
    returning uuid, awaited;
end $$;

-- Does by the commit what would keep nodes waiting as long as a transaction is open: new jobs that wait for others are
-- queued or cancelled if these have come to their ends meanwhile, those under limits stand in line, limits get the numbers
-- of their last calls, and jobs lose their keys to others. Parents are locked, so none ends between the look and the
-- commit. Nodes lock jobs in the order in which they end: whoever waits for a lock too long here gives all back and begins
-- anew, so that neither side is the victim of a deadlock. One plan of each statement is right for every size of the
-- tables; to plan it anew each time would take longer than to carry it out.
create function {schema}.join_up() returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '100ms' set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    now float8 := coalesce((select max(clock) from {schema}.joining), extract(epoch from clock_timestamp()));
    joined text[];
begin
    if not exists (select from {schema}.joining where id = new.id) then
        return null; -- it was done for the first row
    end if;
    joined := array(select distinct unnest(uuids) from {schema}.joining);
    for attempt in 1..50 loop
        begin
            perform from {schema}.jobs
            where uuid = any (array(select parent from {schema}.edges where child = any (joined) and open))
            order by uuid for share;
            perform {schema}.cancel_waiting(lost.parent, now, 1800) from (
                select distinct parent from {schema}.edges where child = any (joined) and open and needed
                    and not exists (
                        select from {schema}.jobs where uuid = parent and state not in ('failed', 'cancelled') offset 0
                    )
            ) as lost;
            update {schema}.edges set open = false where child = any (joined) and open and not exists (
                select from {schema}.jobs where uuid = parent and state in ('waiting', 'queued', 'running') offset 0
            );
            update {schema}.jobs set state = 'queued' where uuid = any (joined) and state = 'waiting'
                and not exists (select from {schema}.edges where child = uuid and open offset 0);
            update {schema}.jobs set unique_key = null where uuid in (select freed from {schema}.joining);
            update {schema}.jobs set unique_key = left(unique_key, -1) where (task, unique_key) in (
                select joining.task, joining.unique_key || chr(31) from {schema}.joining where freed is not null
            );
            insert into {schema}.limits (key, concurrency, burst, period)
            select distinct on (limit_key) limit_key, concurrency, burst, period from {schema}.joining
            where limit_key is not null order by limit_key, id desc
            on conflict (key) do update
            set concurrency = excluded.concurrency, burst = excluded.burst, period = excluded.period;
            insert into {schema}.lines (limit_key, queue, priority, next_at)
            select limit_key, queue, priority, min(run_at) from {schema}.jobs
            where uuid = any (joined) and limit_key <> '' and state = 'queued'
            group by limit_key, queue, priority order by limit_key, queue, priority
            on conflict (limit_key, queue, priority) do update set next_at =
                case when lines.next_at is null then null else least(lines.next_at, excluded.next_at) end;
            delete from {schema}.joining;
            return null;
        exception when lock_not_available then
            if attempt = 50 then
                raise;
            end if;
        end;
    end loop;
end $$;
revoke execute on function {schema}.join_up() from public; -- whoever may store calls fires it, but nobody else uses it
create constraint trigger joining_commit after insert on {schema}.joining deferrable initially deferred
    for each row execute function {schema}.join_up();

create table {schema}.settings (
    name  text primary key,
    value text not null                      -- JSON
);

create table {schema}.modules (
    name text collate "C" primary key        -- an application has declared tasks in it
);

create table {schema}.schedules (
    name    text collate "C" primary key,
    task    text not null,
    module  text,                            -- null: added at run time
    text    text not null,                   -- the expression, or "every SECONDS"
    tz      text not null,
    missed  text not null,
    overlap text not null,
    expires float8,                          -- seconds in which its jobs must begin
    policy  text,                            -- JSON: of its jobs
    arguments text not null,                 -- JSON: of its jobs
    paused  boolean not null default false,
    placement text,                          -- JSON: of its jobs
    cursor  float8 not null,                 -- no slot up to here fires any more
    active  boolean not null                 -- false: no longer in the code
);

create table {schema}.failure_hooks (
    name   text collate "C" primary key,     -- the task
    module text not null
);

create table {schema}.steps (
    uuid  text collate "C" not null references {schema}.jobs on delete cascade,
    name  text not null,
    value text not null,                     -- JSON
    primary key (uuid, name)
);

create table {schema}.nodes (
    id           bigint generated always as identity primary key,
    place        text not null,              -- the lock file of a machine: it has one node at a time
    host         text not null,
    pid          integer not null,
    started_at   float8 not null,
    heartbeat_at float8 not null,
    declared     text                        -- JSON: the schedules of its code
) with (fillfactor = 50);

create table {schema}.move (  -- one row while everything goes elsewhere or comes from there, and when it went
    id       text primary key,               -- of the move; the same on both sides
    role     text not null,                  -- source or target
    other    text not null,                  -- the other database, without secrets
    stage    text not null,
    progress text                            -- JSON: up to where a target has been filled
);

create table {schema}.version (number integer not null);

-- Keeps a call, unless the autocron lock is on; gives a row when it did. `clock` is for tests, which have their own time.
create function {schema}.enqueue(
    uuid text, task text, arguments text, run_at float8, is_moment boolean, created_at float8, begin_by float8,
    begins_by_moment boolean, policy text, queue text, priority integer, limit_key text, unique_key text, clock float8
) returns setof integer language plpgsql as $$
declare
    now float8 := coalesce(clock, extract(epoch from statement_timestamp()));
begin
    return query
    insert into {schema}.jobs (uuid, task, arguments, state, run_at, created_at, begin_by, policy, queue, priority,
        limit_key, unique_key)
    select $1, $2, $3, 'queued', case when is_moment then greatest($4, now) else $4 + now - $6 end, now,
        case when begins_by_moment then $7 else $7 + now - $6 end, $9, $10, $11, $12, $13
    where not exists (select from {schema}.settings where name = 'locked' and value = 'true')
    returning 1;
end $$;

-- Takes the jobs of a level that have been due for longest, unless they have expired or others are taking them; gives the
-- claims, how many were due, and when the next is due that is not yet. A node that was declared dead takes nothing: nobody
-- would look after it. Without a queue, takes them from the first level of a pool, gives all levels, and which it was: none
-- where the jobs of several queues or those under limits are due, too. Most often there is one level only, which is the
-- first look. It passes by all that was claimed and not vacuumed; the second one begins where it has arrived.
create function {schema}.claim(
    from_limit text, from_queue text, from_priority integer, pool text, most integer, asked_at float8, claimer bigint,
    clock float8, out claims text, out due bigint, out next_at float8, out queue text, out priority integer,
    out levels text
) language plpgsql as $$
#variable_conflict use_column
declare
    now float8 := coalesce(clock, extract(epoch from statement_timestamp()));
    behind float8 := asked_at - now;
    since float8 := '-infinity';
    chosen tid[];
begin
    if from_queue is null then
        from_limit := '';
        select queue, priority, run_at into from_queue, from_priority, since from {schema}.jobs
        where limit_key = '' and state = 'queued' and held is null
        order by queue, priority desc, run_at limit 1;
        if exists (select from {schema}.lines where next_at is not null) or exists (select from {schema}.paused)
            or exists (select from {schema}.jobs where limit_key = '' and state = 'queued' and held is null
                and queue = from_queue and priority < from_priority)
            or exists (select from {schema}.jobs where limit_key = '' and state = 'queued' and held is null
                and queue > from_queue)
        then
            since := '-infinity';
            with levels as materialized (select * from {schema}.levels),
            due as materialized (select * from levels where least(run_at, next_at) <= now and pool in ('', queue)),
            first as (
                select queue, priority from due
                where 1 = (select count(distinct queue) from due)
                    and not exists (select from due where next_at is not null)
                order by priority desc limit 1
            )
            select (select queue from first), (select priority from first),
                json_agg(json_build_array(queue, priority, run_at + behind, next_at + behind))
            into from_queue, from_priority, levels from levels;
        elsif from_queue is not null then
            levels := json_build_array(json_build_array(from_queue, from_priority, since + behind, null));
            if since > now or pool not in ('', from_queue) then
                from_queue := null;
            end if;
        end if;
    end if;
    queue := from_queue;
    priority := from_priority;
    if queue is null then
        claims := '[]';
        due := 0;
        return;
    end if;
    chosen := array(
        select ctid from {schema}.jobs
        where state = 'queued' and held is null and limit_key = from_limit and queue = from_queue
            and priority = from_priority and run_at between since and now
            and (claimer is null or exists (select from {schema}.nodes where id = claimer))
        order by run_at, id limit most for update skip locked
    );
    due := cardinality(chosen);
    with claimed as (
        update {schema}.jobs
        set state = 'running', attempt = attempt + 1, started_at = now, node = claimer, progress = null, output = ''
        where ctid = any (chosen) and (begin_by is null or begin_by > now)
        returning id, run_at, case
            when crashes + losses + retries = 0 and coalesce(begin_by::text, policy) is null and queue = 'default'
            then json_build_array(uuid, attempt, task, arguments, asked_at) -- most are like that
            else json_build_array(
                uuid, attempt, task, arguments, asked_at, crashes, losses, retries, begin_by + behind, policy, queue
            ) end as claim
    )
    select coalesce(json_agg(claim order by run_at, id), '[]') into claims from claimed;
    next_at := behind + (
        select run_at from {schema}.jobs
        where state = 'queued' and held is null and limit_key = from_limit and queue = from_queue
            and priority = from_priority and run_at > now
        order by run_at limit 1
    );
end $$;
