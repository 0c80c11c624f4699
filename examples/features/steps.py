"""Steps: the customer is charged once, though the worker dies after that."""

import os
import signal

import autocron
from autocron import delay


def charge(order: int) -> str:
    return f"receipt {order}, by attempt {autocron.current().attempt}"


@delay
def sell(order: int) -> str:
    job = autocron.current()
    receipt = job.step("charge", charge, order)
    if job.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)  # the power fails, the kernel is out of memory ...
    return f"sent by attempt {job.attempt}: {receipt}"


def main() -> None:
    autocron.start("steps.db")
    result = sell(7)
    print(result.wait(20))
    print("attempts:", [attempt.outcome for attempt in result.attempts])
    autocron.stop()


if __name__ == "__main__":
    main()
