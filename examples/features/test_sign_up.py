"""Testing: run it with ``pytest test_sign_up.py``; nothing has to be started."""

from datetime import UTC, datetime, timedelta

from autocron import Retry, delay

outbox: list[str] = []


@delay(retries=Retry(2, delay=60))
def send_mail(address: str) -> None:
    if address == "nowhere":
        raise ConnectionError("no route")
    outbox.append(address)


def sign_up(address: str) -> None:
    send_mail(address)
    send_mail.options(days=1)(address)


def test_all_of_it_runs(autocron_inline):
    outbox.clear()
    sign_up("a@example.org")
    assert outbox == ["a@example.org"] * 2


def test_what_is_enqueued(autocron_captured):
    sign_up("a@example.org")
    now, later = autocron_captured
    assert (now.task, now.args) == (send_mail.name, ("a@example.org",))
    assert later.run_at - now.run_at > timedelta(hours=23)


def test_the_mail_is_tried_again(autocron_drain):
    result = send_mail("nowhere")
    assert autocron_drain(datetime.now(UTC) + timedelta(hours=1)) == 3
    assert result.has_error
