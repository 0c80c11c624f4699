"""Reports that are written in the background of a FastAPI application.

uvicorn app:app                                           (or with --reload, or with --workers 2)
curl -X POST "http://127.0.0.1:8000/reports?seconds=2"    answers at once, with a uuid
curl http://127.0.0.1:8000/reports/UUID                   tells what became of it
"""

import asyncio
import os
import time
from pathlib import Path

from fastapi import FastAPI, HTTPException

import autocron

TITLE = "Monthly report"

app = FastAPI(lifespan=autocron.lifespan("fastapi-example.db"))


@autocron.delay
async def write_report(seconds: float) -> dict[str, object]:
    await asyncio.sleep(seconds)  # the work
    print(f"{TITLE}: written")
    return {"title": TITLE, "process": os.getpid(), "finished": time.time()}


@autocron.cron(every=1)  # each second, so that there is something to see; nightly at half past two is "30 2 * * *"
def heartbeat() -> None:
    with Path(os.environ.get("HEARTBEATS", "heartbeats.txt")).open("a") as file:
        print(time.time(), file=file)


@app.post("/reports", status_code=202)
async def order_report(seconds: float = 2):
    task_result = await write_report.aenqueue(seconds)
    return {"uuid": task_result.uuid}


@app.get("/reports/{uuid}")
def show_report(uuid: str):
    try:
        task_result = autocron.get_result(uuid)
    except autocron.ResultNotFound as error:
        raise HTTPException(404) from error
    return {"status": task_result.status, "result": task_result.result}
