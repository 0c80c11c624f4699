"""The same for Starlette before 1.0, which has `on_startup` (since 1.0: app.py, with a lifespan).

uvicorn app_on_startup:app                                (or with --reload, or with --workers 2)
curl -X POST "http://127.0.0.1:8000/reports?seconds=2"    answers at once, with a uuid
curl http://127.0.0.1:8000/reports/UUID                   tells what became of it
"""

import os
import time
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import autocron

TITLE = "Monthly report"


@autocron.delay
def write_report(seconds: float) -> dict[str, object]:
    time.sleep(seconds)  # the work
    print(f"{TITLE}: written")
    return {"title": TITLE, "process": os.getpid(), "finished": time.time()}


@autocron.cron(every=1)  # each second, so that there is something to see; nightly at half past two is "30 2 * * *"
def heartbeat() -> None:
    with Path(os.environ.get("HEARTBEATS", "heartbeats.txt")).open("a") as file:
        print(time.time(), file=file)


async def order_report(request: Request) -> JSONResponse:
    task_result = write_report(float(request.query_params.get("seconds", 2)))
    return JSONResponse({"uuid": task_result.uuid}, status_code=202)


def show_report(request: Request) -> JSONResponse:
    try:
        task_result = autocron.get_result(request.path_params["uuid"])
    except autocron.ResultNotFound as error:
        raise HTTPException(404) from error
    return JSONResponse({"status": task_result.status, "result": task_result.result})


def start_autocron() -> None:
    autocron.start("starlette-example.db")


app = Starlette(
    routes=[Route("/reports", order_report, methods=["POST"]), Route("/reports/{uuid}", show_report)],
    on_startup=[start_autocron],
)
