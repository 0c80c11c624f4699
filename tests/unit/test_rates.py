import pytest
from hypothesis import given
from hypothesis import strategies as some

from autocron.errors import ConfigError
from autocron.model import Limit
from autocron.rates import next_token, parse_rate, take, tokens

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "rate"),
    [("100/m", (100, 60.0)), ("1/s", (1, 1.0)), ("5/h", (5, 3600.0)), ("2/d", (2, 86400.0))],
)
def test_a_rate_is_tokens_and_seconds(text: str, rate: tuple[int, float]):
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "100", "0/m", "-1/m", "1.5/m", "100/w", "100 / m", "m/100", 100, None, "9999999999/s"]
)
def test_what_is_no_rate_is_refused(text: object):
    with pytest.raises(ConfigError, match=r"rate: .* is none; write how many jobs per s, m, h or d"):
        parse_rate(text)


def test_without_a_rate_there_are_as_many_tokens_as_wanted():
    assert tokens(Limit(concurrency=1), 0.0, NOW) is None
    assert take(Limit(), 5.0, NOW, 3) == 5.0


def test_a_bucket_empties_and_fills_up_steadily():
    limit = Limit(burst=2, period=10.0)
    assert tokens(limit, 0.0, NOW) == 2
    full_at = take(limit, 0.0, NOW, 2)
    assert (tokens(limit, full_at, NOW), next_token(limit, full_at)) == (0, NOW + 5)
    assert [tokens(limit, full_at, NOW + seconds) for seconds in (4.9, 5, 9.9, 10, 99)] == [0, 1, 1, 2, 2]


def test_a_clock_that_was_put_back_delays_nothing_for_longer_than_the_bucket_takes_to_fill():
    limit = Limit(burst=1, period=60.0)
    full_at = take(limit, 0.0, NOW, 1)
    assert tokens(limit, full_at, NOW - 86400) == 0
    assert next_token(limit, take(limit, full_at, NOW - 86400, 0)) == NOW - 86400 + 60


@given(some.integers(1, 50), some.sampled_from([1.0, 60.0, 3600.0]), some.lists(some.floats(0, 100), max_size=60))
def test_no_window_of_a_period_has_more_than_two_buckets(burst: int, period: float, pauses: list[float]):
    limit, full_at, now, begun = Limit(burst=burst, period=period), 0.0, NOW, list[float]()
    for pause in pauses:
        now += pause * period / 50
        count = tokens(limit, full_at, now) or 0
        full_at = take(limit, full_at, now, count)
        begun += [now] * count
    for moment in begun:
        assert sum(moment <= other < moment + period for other in begun) <= 2 * burst
