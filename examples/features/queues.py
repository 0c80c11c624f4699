"""Queues and priorities: mail has a worker of its own, and what is urgent comes first."""

import time

import autocron
from autocron import TaskResult, delay


@delay
def report(number: int) -> str:
    time.sleep(0.2)
    return f"report {number}"


@delay(queue="mail")
def send_mail(address: str) -> str:
    return f"mail to {address}"


def order_of(*results: TaskResult[str]) -> list[str]:
    for result in results:
        result.wait(30)
    return [str(result.result) for result in sorted(results, key=lambda one: one.attempts[-1].started_at)]


def main() -> None:
    autocron.start("queues.db", queues={"default": 1, "mail": 1})
    with autocron.transaction():
        usual = report.map(range(3))
        urgent = report.options(priority=10)(99)
        mail = send_mail("a@example.org")
    print("the mail did not wait:", mail.wait(20), "- reports done:", sum(result.is_ready for result in usual))
    print("the order of the reports:", order_of(*usual, urgent))
    autocron.stop()


if __name__ == "__main__":
    main()
