"""Intervals against published values and against exact enumeration of their coverage."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vipa_inference.success_rates import binomial_tail, clopper_pearson_interval, wilson_interval


@pytest.mark.parametrize(
    ("successes", "low", "high"), [(0, 0.0, 27.8), (1, 1.8, 40.4), (5, 23.7, 76.3), (6, 31.3, 83.2), (10, 72.2, 100.0)]
)
def test_wilson_at_ten_trials(successes, low, high):
    interval = wilson_interval(successes, 10)
    assert [100 * bound for bound in interval] == pytest.approx([low, high], abs=0.05)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 10, 0.0, 30.85), (1, 10, 0.25, 44.50), (5, 10, 18.71, 81.29), (10, 10, 69.15, 100.0), (2, 20, 1.23, 31.70)],
)
def test_clopper_pearson_published_values(successes, n, low, high):
    interval = clopper_pearson_interval(successes, n)
    assert [100 * bound for bound in interval] == pytest.approx([low, high], abs=0.01)


@pytest.mark.parametrize("n", [1, 5, 10, 30])
def test_coverage_by_enumeration(n):
    """Clopper-Pearson never covers less than promised; Wilson's mean coverage is close to it."""
    wilson = [wilson_interval(k, n) for k in range(n + 1)]
    exact = [clopper_pearson_interval(k, n) for k in range(n + 1)]
    rates = [(i + 0.5) / 200 for i in range(200)]
    mean = 0.0
    for rate in rates:
        chance = [math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(n + 1)]
        assert sum(c for c, (low, high) in zip(chance, exact, strict=True) if low <= rate <= high) >= 0.95 - 1e-9
        mean += sum(c for c, (low, high) in zip(chance, wilson, strict=True) if low <= rate <= high) / len(rates)
    assert 0.94 < mean < 0.97


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.99))
def test_intervals_contain_the_rate_and_mirror(case, confidence):
    successes, n = case
    for interval in (wilson_interval, clopper_pearson_interval):
        low, high = interval(successes, n, confidence)
        assert 0.0 <= low <= successes / n <= high <= 1.0
        mirrored = interval(n - successes, n, confidence)
        assert mirrored == pytest.approx((1.0 - high, 1.0 - low), abs=1e-9)


def test_fractions_of_a_success_lie_between_their_neighbours():
    below, middle, above = wilson_interval(5, 10), wilson_interval(5.5, 10), wilson_interval(6, 10)
    assert below[0] < middle[0] < above[0]
    assert below[1] < middle[1] < above[1]


def test_no_trials_say_nothing():
    assert wilson_interval(0, 0) == clopper_pearson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("interval", [wilson_interval, clopper_pearson_interval])
@pytest.mark.parametrize("arguments", [(3, 2), (-1, 5), (0, -1), (1, 5, 0.0), (1, 5, 1.0), (float("nan"), 5)])
def test_impossible_numbers_are_refused(interval, arguments):
    with pytest.raises(ValueError, match=r"impossible|confidence"):
        interval(*arguments)


def test_binomial_tail():
    assert binomial_tail(0, 10, 0.3) == pytest.approx(1.0)
    assert binomial_tail(8, 10, 0.5) == pytest.approx((45 + 10 + 1) / 1024)
    assert binomial_tail(10, 10, 1.0) == 1.0
    assert binomial_tail(1, 10, 0.0) == 0.0
    assert binomial_tail(0, 10, 0.0) == 1.0
    assert binomial_tail(1200, 2000, 0.6) == pytest.approx(0.5, abs=0.02)
