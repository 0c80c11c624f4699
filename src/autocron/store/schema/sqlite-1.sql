-- The first schema.

create table jobs (
    id            integer primary key,       -- the order in which calls came
    uuid          text not null,
    task          text not null,
    state         text not null,
    held          text,                      -- why a queued job is parked
    run_at        real not null,
    queue         text not null default 'default',
    priority      integer not null default 0 check (priority between -100 and 100),
    limit_key     text not null default '',  -- of the table limits; '' for most jobs
    unique_key    text,                      -- no other unfinished job of the task has it
    attempt       integer not null default 0,
    crashes       integer not null default 0,
    losses        integer not null default 0,
    retries       integer not null default 0, -- used so far
    begin_by      real,                      -- not begun by then: cancelled; null also when it was begun
    policy        text,                      -- JSON: how it is run, where that is not the default
    created_at    real not null,
    started_at    real,
    finished_at   real,
    expires_at    real,
    arguments     text not null,             -- JSON; what may be large stands behind what is looked at often
    result        text,                      -- JSON
    error_message text not null default '',
    traceback     text not null default '',
    past_attempts text,                      -- JSON
    schedule      text,
    slot          real,
    progress      text,                      -- JSON
    output        text not null default '',  -- what the last attempt printed, cut in the middle
    stop_asked    integer not null default 0 -- somebody has cancelled it
);
create unique index jobs_uuid on jobs (uuid);
create index jobs_ready on jobs (limit_key, queue, priority desc, run_at) where state = 'queued' and held is null;
create index jobs_held on jobs (task) where held is not null;
create index jobs_running on jobs (started_at) where state = 'running';
create index jobs_failed on jobs (finished_at) where state = 'failed';
create index jobs_expiring on jobs (expires_at) where expires_at is not null;
create index jobs_begin_by on jobs (begin_by) where begin_by is not null and state in ('waiting', 'queued');
create index jobs_to_stop on jobs (uuid) where stop_asked and state in ('waiting', 'queued', 'running');
create unique index jobs_slot on jobs (schedule, slot) where schedule is not null;
create index jobs_unfinished on jobs (schedule) where schedule is not null and state in ('waiting', 'queued', 'running');
create unique index jobs_unique on jobs (task, unique_key) where unique_key is not null;
create index jobs_limit_running on jobs (limit_key) where limit_key <> '' and state = 'running';
create index jobs_limit_unfinished on jobs (limit_key)
    where limit_key <> '' and state in ('waiting', 'queued', 'running');

create table limits (
    key         text primary key,            -- a task, and a key of the arguments
    concurrency integer,                     -- so many of its jobs run at once
    burst       integer,                     -- tokens that the bucket holds
    period      real,                        -- seconds in which it becomes full
    full_at     real not null default 0      -- when the bucket is full, if no job begins until then
) without rowid;

create table lines (                         -- where jobs under a limit wait
    id          integer primary key,
    limit_key   text not null,
    queue       text not null,
    priority    integer not null,
    next_at     real,                        -- when to look at it; null: when one of the running jobs has ended
    unique (limit_key, queue, priority)
);
create index lines_ready on lines (queue, priority desc, next_at) where next_at is not null;

-- Whoever lets a job wait under a limit, or end: its line is looked at. A line that waits for an end is left alone.
create trigger jobs_line_update after update of state, held, run_at, limit_key, queue, priority on jobs
when new.limit_key <> '' and new.state = 'queued' and new.held is null begin
    insert into lines (limit_key, queue, priority, next_at) values (new.limit_key, new.queue, new.priority, new.run_at)
    on conflict do update set next_at = min(next_at, excluded.next_at);
end;
create trigger jobs_place_update after update of state on jobs
when old.limit_key <> '' and old.state = 'running' and new.state <> 'running' begin
    update lines set next_at = 0 where limit_key = old.limit_key and next_at is null;
end;
create trigger jobs_place_delete after delete on jobs when old.limit_key <> '' and old.state = 'running' begin
    update lines set next_at = 0 where limit_key = old.limit_key and next_at is null;
end;

create table paused (
    queue text primary key
) without rowid;

create table edges (                         -- a job waits, or has waited, for the end of another one
    parent text not null,
    child  text not null,
    needed integer not null,                 -- 1: the child is cancelled unless the parent succeeds
    open   integer not null default 1,       -- 0: the parent has come to its end
    primary key (parent, child)
) without rowid;
create index edges_child on edges (child, open);

create table settings (
    name  text primary key,
    value text not null                      -- JSON
) without rowid;

create table modules (
    name text primary key                    -- an application has declared tasks in it
) without rowid;

create table schedules (
    name    text primary key,
    task    text not null,
    module  text,                            -- null: added at run time
    text    text not null,                   -- the expression, or "every SECONDS"
    tz      text not null,
    missed  text not null,
    overlap text not null,
    expires real,                            -- seconds in which its jobs must begin
    policy  text,                            -- JSON: of its jobs
    arguments text not null,                 -- JSON: of its jobs
    paused  integer not null default 0,
    placement text,                          -- JSON: of its jobs
    cursor  real not null,                   -- no slot up to here fires any more
    active  integer not null                 -- 0: no longer in the code
) without rowid;

create table failure_hooks (
    name   text primary key,                 -- the task
    module text not null
) without rowid;

create table steps (
    uuid  text not null,                     -- the job
    name  text not null,
    value text not null,                     -- JSON
    primary key (uuid, name)
) without rowid;
create trigger steps_end after delete on jobs begin
    delete from steps where uuid = old.uuid;
end;

create table move (  -- one row while everything goes elsewhere or comes from there, and when it went
    id       text primary key,               -- of the move; the same on both sides
    role     text not null,                  -- source or target
    other    text not null,                  -- the other database, without secrets
    stage    text not null,
    progress text                            -- JSON: up to where a target has been filled
);
