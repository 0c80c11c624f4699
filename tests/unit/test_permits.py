"""Jobs that a worker has received and not begun can be taken back, one by one, without its help."""

from __future__ import annotations

from contextlib import closing

from autocron.permits import Permits, Taker


def test_what_was_not_taken_can_be_taken_back() -> None:
    with closing(Permits()) as permits:
        worker = Taker(permits.fileno())
        permits.give(3)
        assert worker.take(permits.round)
        assert permits.take_back() == 2
        assert not worker.take(0)
        assert permits.take_back() == 0


def test_a_permit_of_a_later_round_is_kept_for_its_job() -> None:
    with closing(Permits()) as permits:
        worker = Taker(permits.fileno())
        permits.give(2)
        first = permits.round
        assert worker.take(first)
        assert permits.take_back() == 1
        permits.give(2)
        assert not worker.take(first)  # of what was taken back; one of the new permits is in the worker's hand now
        assert permits.take_back() == 1
        assert worker.take((first + 1) % 256)
        assert not worker.take((first + 1) % 256)


def test_rounds_begin_anew() -> None:
    with closing(Permits()) as permits:
        worker = Taker(permits.fileno())
        for _ in range(600):
            permits.give(1)
            assert worker.take(permits.round)
            assert permits.take_back() == 0
