"""Schedules at run time: users subscribe to reports, rest, and go."""

import time

import autocron
from autocron import delay


@delay
def send_report(customer: int) -> str:
    return f"report for {customer}"


def main() -> None:
    autocron.start("schedules.db")
    every_second = autocron.schedules.add("report 7", 1, send_report, [7])
    weekly = autocron.schedules.add("report 8", "0 6 * * MON", send_report, [8], tz="Europe/Berlin")
    for schedule in autocron.schedules:
        print(f"{schedule.name}: {schedule.crontab}, {schedule.tz}")
    print("run now:", weekly.run_now().wait(20))
    due = every_second.next_run
    while every_second.next_run == due:  # until it has fired
        time.sleep(0.05)
    print("it has fired")
    every_second.pause()
    print("paused:", every_second.paused)
    for schedule in autocron.schedules:
        schedule.remove()
    print("schedules left:", len(list(autocron.schedules)))
    autocron.stop()


if __name__ == "__main__":
    main()
