"""What follows from a schedule: when it is due next, and its jobs."""

import msgspec

from autocron import crontab
from autocron.errors import ConfigError
from autocron.model import PLAIN, Declaration, NewJob, Placing, StoredSchedule
from autocron.names import new_uuid


def next_run(schedule: StoredSchedule, now: float) -> float | None:
    """Give the next slot; None while it is paused, when there is none, or in a zone that this machine does not know."""
    if schedule.paused:
        return None
    declared = schedule.declaration
    try:
        return crontab.from_stored(declared.text, declared.tz).next_after(max(now, schedule.cursor))
    except ConfigError:  # the node says so, too
        return None


def job_of(declared: Declaration, slot: float, now: float) -> NewJob:
    """Give the job of a slot, made now."""
    # A run that was missed is made up for now, and has as much time to begin as any other.
    begin_by = None if declared.expires is None else max(slot, now) + declared.expires
    placing = PLAIN if declared.placing is None else msgspec.json.decode(declared.placing, type=Placing)
    return NewJob(new_uuid(), declared.task, declared.arguments, slot, now, begin_by, declared.policy, placing=placing)
