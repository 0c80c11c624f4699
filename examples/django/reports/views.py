import os
import time
from pathlib import Path

from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.http import require_GET, require_POST

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


@require_POST
def order_report(request: HttpRequest) -> JsonResponse:
    task_result = write_report(float(request.GET.get("seconds", 2)))
    return JsonResponse({"uuid": task_result.uuid}, status=202)


@require_GET
def show_report(request: HttpRequest, uuid: str) -> JsonResponse:
    try:
        task_result = autocron.get_result(uuid)
    except autocron.ResultNotFound as error:
        raise Http404 from error
    return JsonResponse({"status": task_result.status, "result": task_result.result})
