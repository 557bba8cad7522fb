"""How often something may happen."""

from hypothesis import given
from hypothesis import strategies as st

from vipa_inference.serving.rate_limit import RateLimit


def test_a_burst_then_a_wait_for_each() -> None:
    limit = RateLimit(rate=10.0, burst=3.0)
    assert [limit.take(5.0) for _ in range(5)] == [0.0, 0.0, 0.0, 0.1, 0.2]
    assert limit.take(6.0) == 0.0, "permits come back with time"


def test_what_is_refused_costs_nothing() -> None:
    limit = RateLimit(rate=10.0, burst=2.0)
    assert [limit.allows(1.0) for _ in range(4)] == [True, True, False, False]
    assert limit.allows(1.11)
    assert not limit.allows(1.12)


def test_nobody_waits_longer_than_for_a_burst() -> None:
    limit = RateLimit(rate=10.0, burst=5.0)
    assert max(limit.take(0.0) for _ in range(1000)) == 0.5


@given(st.lists(st.floats(0.0, 0.2), max_size=200))
def test_never_more_than_the_rate_and_one_burst(pauses: list[float]) -> None:
    limit, now, allowed = RateLimit(rate=20.0, burst=4.0), 0.0, 0
    for pause in pauses:
        now += pause
        allowed += limit.allows(now)
    assert allowed <= 4.0 + 20.0 * now + 1e-6
