# /// script
# requires-python = ">=3.11"
# dependencies = ["procrastinate==3.10.0", "psycopg[binary]==3.3.9"]
#
# [tool.peer]
# title = "procrastinate"
# package = "procrastinate"
# store = "postgres"
# settings = """\
#     coroutines, 10 at once in each worker; stalled jobs are looked for every minute, as documented; results \
#     are not kept, jobs are"""
# ///
"""procrastinate on PostgreSQL."""

from typing import Any

import work
from procrastinate import App, PsycopgConnector, SyncPsycopgConnector

app = App(connector=PsycopgConnector(conninfo=work.URL))


@app.task
async def job(number: int, nap: float) -> None:
    work.job(number, nap)


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="retry_stalled_jobs", pass_context=True)
async def retry_stalled_jobs(_: Any, timestamp: int) -> None:
    for stalled in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(stalled)


def setup() -> None:
    with app.with_connector(SyncPsycopgConnector(conninfo=work.URL)).open() as sync_app:
        sync_app.schema_manager.apply_schema()


def serve(workers: int) -> None:
    work.run("procrastinate", "--app", "procrastinate_postgres.app", "worker", "--concurrency", "10", copies=workers)


async def connect() -> None:
    await app.open_async()


async def enqueue(number: int, nap: float) -> None:
    await job.defer_async(number=number, nap=nap)


async def bulk(numbers: list[int]) -> None:
    await job.batch_defer_async(*({"number": number, "nap": 0.0} for number in numbers))
