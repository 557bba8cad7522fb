"""Confidence intervals of success rates from few trials."""

import math
from statistics import NormalDist


def wilson_interval(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a success rate (Wilson 1927, J. Am. Stat. Assoc. 22).

    Args:
        successes: number of successes, 0-n. It need not be whole: for n trials that each score a fraction between 0 and
            1, give the sum of the fractions. The interval is then conservative, because the variance of such a score is
            at most that of a success or failure with the same mean.
        n: number of trials; 0 gives (0, 1).
        confidence: coverage aimed at, between 0 and 1.

    Returns:
        Lower and upper bound of the rate.

    Raises:
        ValueError: the numbers contradict each other.
    """
    _check(successes, n, confidence)
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def clopper_pearson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a success rate (Clopper and Pearson 1934, Biometrika 26): covers at least ``confidence``.

    Args:
        successes: number of successes, 0-n.
        n: number of trials; 0 gives (0, 1).
        confidence: coverage guaranteed, between 0 and 1.

    Returns:
        Lower and upper bound of the rate.

    Raises:
        ValueError: the numbers contradict each other.
    """
    _check(successes, n, confidence)
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if successes == 0 else _rate_with_tail(successes, n, tail)
    # At most k successes of n are at least n - k failures.
    high = 1.0 if successes == n else 1.0 - _rate_with_tail(n - successes, n, tail)
    return low, high


def binomial_tail(successes: int, n: int, rate: float) -> float:
    """Probability of at least ``successes`` successes in ``n`` trials."""
    if rate <= 0.0 or rate >= 1.0:
        return float(successes <= (n if rate >= 1.0 else 0))
    log_rate, log_rest = math.log(rate), math.log1p(-rate)
    terms = (
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * log_rate + (n - k) * log_rest
        for k in range(successes, n + 1)
    )
    return min(1.0, math.fsum(math.exp(term) for term in terms))


def _rate_with_tail(successes: int, n: int, tail: float) -> float:
    """The rate at which at least ``successes`` of ``n`` have probability ``tail``, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2.0
        if binomial_tail(successes, n, middle) < tail:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def _check(successes: float, n: int, confidence: float) -> None:
    if n < 0 or not 0 <= successes <= n:
        raise ValueError(f"successes: {successes} of {n} trials is impossible")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence: {confidence} is not between 0 and 1")
