# /// script
# requires-python = ">=3.11"
# dependencies = ["Django==5.2.19", "django-tasks==0.12.0", "django-tasks-db[compat]==0.13.0"]
#
# [tool.peer]
# title = "Django tasks, database backend"
# package = "django-tasks-db"
# store = "sqlite"
# durability = "WAL, synchronous=NORMAL"
# settings = """\
#     `transaction_mode=IMMEDIATE`, 20 s busy timeout; `db_worker` once per worker, its default interval of 1 \
#     s; results are stored"""
# ///
"""Django's tasks with the database backend, on SQLite."""

import os

import django
import work
from django.conf import settings
from django.core.management import call_command

if not settings.configured:
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # the driver calls it from a coroutine
    settings.configure(
        INSTALLED_APPS=["django_tasks", "django_tasks_db"],
        TASKS={"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}},
        USE_TZ=True,
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": work.DATABASE,
                "OPTIONS": {
                    "transaction_mode": "IMMEDIATE",
                    "timeout": 20,
                    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
                },
            }
        },
    )
    django.setup()

from django_tasks import task


@task()
def job(number: int, nap: float) -> None:
    work.job(number, nap)


def setup() -> None:
    call_command("migrate", verbosity=0)


def serve(workers: int) -> None:
    work.run("python", __file__, copies=workers)


def enqueue(number: int, nap: float) -> None:
    job.enqueue(number, nap)


if __name__ == "__main__":
    call_command("db_worker", "--no-startup-delay", verbosity=0)
