"""The calls that ran in this process, in their callers, and what came of them."""

from collections import deque
from weakref import WeakValueDictionary

from autocron import codec, inline
from autocron.batch import Pending
from autocron.clock import Clock
from autocron.log import logger
from autocron.model import Call, NewJob, State, StoredJob
from autocron.names import new_uuid
from autocron.result import Source, find_job, settle
from autocron.task import Registry

KEPT = 1000  # jobs


class Here:
    """Runs calls, and remembers their jobs: those whose results are held by somebody, and the last ones.

    Args:
        registry: has the hooks for those that fail.
        clock: tells the time.
        source: finds the jobs for which calls wait.
    """

    def __init__(self, registry: Registry, clock: Clock, source: Source) -> None:
        self._registry = registry
        self._clock = clock
        self._source = source
        self._jobs: WeakValueDictionary[str, StoredJob] = WeakValueDictionary()
        self._last: deque[StoredJob] = deque(maxlen=KEPT)

    def get(self, uuid: str) -> StoredJob | None:
        """Give the job of a call that ran here."""
        return self._jobs.get(uuid)

    def run(self, pending: Pending) -> None:
        """Run a call."""
        call, function, result = pending
        parents = {parent.uuid: find_job(parent.uuid, self._source) for parent in call.parents}
        done = inline.run(call, parents, function, self._clock)
        self._jobs[result.uuid] = done
        self._last.append(done)
        settle(result, done)
        if done.state is State.FAILED:
            self._call_failure_hooks(done)

    def _call_failure_hooks(self, failed: StoredJob) -> None:
        for name in self._registry.failure_hooks:
            hook = self._registry.functions[name]
            job = NewJob(new_uuid(), name, codec.encode_call((failed.uuid,), {}), self._clock.now(), self._clock.now())
            done = inline.run(Call(job), {}, hook, self._clock)
            if done.state is State.FAILED:
                logger.error("%s %s failed:\n%s", name, job.uuid, done.traceback)
