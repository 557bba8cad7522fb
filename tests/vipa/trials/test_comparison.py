"""Tests and intervals of two rates against published values, scipy, and exact enumeration of what they promise."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vipa.trials.comparison import (
    PairedCounts,
    boschloo_test,
    fisher_exact_test,
    holm_adjusted,
    mcnemar_exact_test,
    newcombe_interval,
    paired_newcombe_interval,
)

RATES = [0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95]
small = st.integers(0, 12)
tables = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda n: st.tuples(st.tuples(st.integers(0, n[0]), st.integers(0, n[1])), st.just(n))
)
paired = st.builds(PairedCounts, small, small, small, small)


def binomial(n, rate):
    return [math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(n + 1)]


@pytest.mark.parametrize(
    ("successes", "trials", "p"),
    [
        ((3, 1), (4, 4), 34 / 70),  # Fisher 1935, The Design of Experiments, chapter 2: the lady tasting tea
        (
            (0, 15),
            (16, 72),
            0.06287,
        ),  # Fagerland, Lydersen & Laake 2017, Contingency Tables, ch. 4
        ((7, 12), (15, 15), 0.1281),  # Mehta & Senchaudhuri 2003, sec. 1: 0.0641 one-sided, symmetric
    ],
)
def test_fisher_published_values(successes, trials, p):
    assert fisher_exact_test(successes, trials) == pytest.approx(p, abs=5e-5)


def test_boschloo_published_values():
    """In these tables with equal margins Fisher's order and that of Barnard's statistic agree."""
    # Barnard 1945, Nature 156, 177: three of three and none of three, 1/64 one-sided.
    assert boschloo_test((3, 0), (3, 3)) == pytest.approx(2 / 64, abs=1e-9)
    # Mehta & Senchaudhuri 2003, Conditional versus Unconditional Exact Tests: Barnard's p is 0.0341 one-sided.
    assert boschloo_test((7, 12), (15, 15)) == pytest.approx(2 * 0.0341, abs=1e-4)


def test_mcnemar_published_values():
    # Fagerland, Lydersen & Laake 2013, BMC Med. Res. Methodol. 13:91: airway hyper-responsiveness, 0.070.
    assert mcnemar_exact_test(PairedCounts(1, 1, 7, 12)) == pytest.approx(0.0703, abs=5e-5)
    # Armitage & Berry 1994, Statistical Methods in Medical Research, p. 127: two culture media, 0.0129.
    assert mcnemar_exact_test(PairedCounts(20, 12, 2, 16)) == pytest.approx(0.0129, abs=5e-5)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        ((56, 48), (70, 80), 0.0524, 0.3339),  # Newcombe 1998, Stat. Med. 17, 873, Table II, method 10
        ((9, 3), (10, 10), 0.1705, 0.8090),
        ((6, 2), (7, 7), 0.0582, 0.8062),
        ((5, 0), (56, 29), -0.0381, 0.1926),
        ((0, 0), (10, 20), -0.1611, 0.2775),
        ((10, 0), (10, 10), 0.6075, 1.0),
        ((7, 1), (34, 34), 0.0189, 0.3404),  # Fagerland, Lydersen & Laake 2017, chapter 4
    ],
)
def test_newcombe_published_values(successes, trials, low, high):
    assert newcombe_interval(successes, trials) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize(
    ("pairs", "low", "high"),
    [  # Fagerland, Lydersen & Laake 2017, chapter 8: complete response; airway hyper-responsiveness
        (PairedCounts(59, 6, 16, 80), -0.1186, -0.0046),
        (PairedCounts(1, 1, 7, 12), -0.507, -0.026),
    ],
)
def test_paired_newcombe_published_values(pairs, low, high):
    assert paired_newcombe_interval(pairs) == pytest.approx((low, high), abs=5e-4 if pairs.pairs < 100 else 6e-5)


@settings(max_examples=60, deadline=None)
@given(tables)
def test_fisher_agrees_with_scipy_and_boschloo_is_never_above_it(case):
    (a, b), (n, m) = case
    p = fisher_exact_test((a, b), (n, m))
    assert p == pytest.approx(stats.fisher_exact([[a, b], [n - a, m - b]]).pvalue, abs=1e-9)
    assert boschloo_test((a, b), (n, m)) <= p + 1e-12
    assert boschloo_test((b, a), (m, n)) == pytest.approx(boschloo_test((a, b), (n, m)), abs=1e-9)


@settings(max_examples=60)
@given(paired)
def test_mcnemar_is_a_sign_test(pairs):
    discordant = pairs.only_first + pairs.only_second
    expected = stats.binomtest(pairs.only_first, discordant).pvalue if discordant else 1.0
    assert mcnemar_exact_test(pairs) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=80)
@given(paired, st.floats(0.5, 0.99))
def test_intervals_contain_the_difference_and_mirror(pairs, confidence):
    n = pairs.pairs
    low, high = paired_newcombe_interval(pairs, confidence)
    assert -1.0 <= low <= pairs.difference + 1e-12
    assert pairs.difference - 1e-12 <= high <= 1.0
    other = PairedCounts(pairs.both, pairs.only_second, pairs.only_first, pairs.neither)
    assert paired_newcombe_interval(other, confidence) == pytest.approx((-high, -low), abs=1e-9)
    successes = (pairs.both + pairs.only_first, pairs.both + pairs.only_second)
    separate = newcombe_interval(successes, (n, n), confidence)
    assert separate[0] - 1e-12 <= pairs.difference <= separate[1] + 1e-12


@pytest.mark.parametrize(("n", "m"), [(10, 10), (12, 7)])
def test_the_exact_tests_keep_their_level_at_every_rate(n, m):
    """By enumeration: the chance of p <= 0.05 where both rates are equal; Boschloo finds at least what Fisher finds."""
    cases = list(itertools.product(range(n + 1), range(m + 1)))
    fisher = np.array([fisher_exact_test(case, (n, m)) <= 0.05 for case in cases])
    boschloo = np.array([boschloo_test(case, (n, m)) <= 0.05 for case in cases])
    assert np.all(fisher <= boschloo)
    for rate in np.linspace(0.01, 0.99, 99):
        chance = np.outer(binomial(n, rate), binomial(m, rate)).ravel()
        assert chance[boschloo].sum() <= 0.05 + 1e-12
    power = np.outer(binomial(n, 0.9), binomial(m, 0.3)).ravel()
    assert power[boschloo].sum() > power[fisher].sum() + 0.004


def test_mcnemar_keeps_its_level_however_often_pairs_differ():
    for n, share in itertools.product((6, 10, 25), RATES):
        chance = sum(
            binomial(n, share)[d] * binomial(d, 0.5)[k]
            for d in range(n + 1)
            for k in range(d + 1)
            if mcnemar_exact_test(PairedCounts(n - d, k, d - k, 0)) <= 0.05
        )
        assert chance <= 0.05


def test_coverage_of_newcombe_by_enumeration():
    """Ten trials each: 95 % on average over the rates, nowhere far below."""
    n = 10
    intervals = np.array([newcombe_interval(case, (n, n)) for case in itertools.product(range(n + 1), repeat=2)])
    coverage = []
    for first, second in itertools.product(RATES, repeat=2):
        chance = np.outer(binomial(n, first), binomial(n, second)).ravel()
        inside = (intervals[:, 0] <= first - second) & (first - second <= intervals[:, 1])
        coverage.append(chance[inside].sum())
    assert 0.945 < np.mean(coverage) < 0.975
    assert min(coverage) > 0.90


def test_coverage_of_paired_newcombe_by_enumeration():
    """Ten pairs whose outcomes depend on each other to different degrees."""
    n = 10
    cells = [c for c in itertools.product(range(n + 1), repeat=3) if sum(c) <= n]
    intervals = np.array([paired_newcombe_interval(PairedCounts(*c, n - sum(c))) for c in cells])
    ways = np.array([math.factorial(n) / math.prod(map(math.factorial, (*c, n - sum(c)))) for c in cells])
    coverage = []
    for first, second, dependence in itertools.product(RATES, RATES, (0.0, 0.5, 0.9)):
        both = (1 - dependence) * first * second + dependence * min(first, second)
        shares = np.array([both, first - both, second - both, 1 - first - second + both])
        counts = np.array([(*c, n - sum(c)) for c in cells])
        chance = ways * np.prod(shares**counts, axis=1)
        inside = (intervals[:, 0] <= first - second) & (first - second <= intervals[:, 1])
        coverage.append(chance[inside].sum())
    assert 0.945 < np.mean(coverage) < 0.985
    assert min(coverage) > 0.88


def test_holm():
    """Holm 1979: the smallest is multiplied by the number of tests, the next by one less; the order is kept."""
    assert holm_adjusted([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert holm_adjusted([0.9, 0.8]) == (1.0, 1.0)
    assert holm_adjusted([]) == ()


def test_nothing_says_nothing():
    none = PairedCounts(0, 0, 0, 0)
    assert mcnemar_exact_test(none) == fisher_exact_test((0, 0), (0, 0)) == boschloo_test((0, 0), (0, 0)) == 1.0
    assert paired_newcombe_interval(none) == newcombe_interval((0, 1), (0, 3)) == (-1.0, 1.0)
    assert none.difference == 0.0


@pytest.mark.parametrize("function", [fisher_exact_test, boschloo_test, newcombe_interval])
@pytest.mark.parametrize(("successes", "trials"), [((3, 0), (2, 4)), ((-1, 0), (2, 4)), ((0, 5), (2, 4))])
def test_impossible_numbers_are_refused(function, successes, trials):
    with pytest.raises(ValueError, match="is impossible"):
        function(successes, trials)


def test_negative_pairs_are_refused():
    with pytest.raises(ValueError, match="negative"):
        PairedCounts(1, -1, 0, 0)
