"""Are two success rates different? Exact tests and intervals, for separate trials and for trials in pairs.

Trials are paired where both policies met the same layout (the same variant and seed). The test of pairs is then the
right one: it takes the layout's difficulty out of the comparison.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vipa_inference.success_rates import wilson_interval

_GRID = 1001  # points of the nuisance rate, and of each refinement of the search for its worst value


@dataclass(frozen=True)
class PairedCounts:
    """How many pairs ended in which way."""

    both: int
    only_first: int
    only_second: int
    neither: int

    def __post_init__(self) -> None:
        if min(self.both, self.only_first, self.only_second, self.neither) < 0:
            raise ValueError(f"pairs: {self} has a negative count")

    @property
    def pairs(self) -> int:
        """All pairs."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def difference(self) -> float:
        """First success rate minus the second; 0 without pairs."""
        return (self.only_first - self.only_second) / self.pairs if self.pairs else 0.0


def fisher_exact_test(successes: tuple[int, int], trials: tuple[int, int]) -> float:
    """Two-sided p-value of Fisher's exact test (Fisher 1935, The Design of Experiments).

    The sum of the probabilities of all tables with the same margins that are no likelier than the observed one.

    Args:
        successes: of the first and of the second policy.
        trials: of the first and of the second policy, separate trials.

    Raises:
        ValueError: the numbers contradict each other.
    """
    _check(successes, trials)
    counts = _tables(sum(successes), trials)
    return sum(c for c in counts.values() if c <= counts[successes[0]]) / math.comb(sum(trials), sum(successes))


def boschloo_test(successes: tuple[int, int], trials: tuple[int, int]) -> float:
    """Two-sided p-value of Boschloo's unconditional exact test (Boschloo 1970, Statistica Neerlandica 24).

    Fisher's p-value orders the tables. The result is the largest probability, over the common success rate, of a table
    at least as extreme as the observed one; it is never above Fisher's p-value. The largest probability is found on a
    grid of 1001 rates that is refined three times around its best point.

    Args:
        successes: of the first and of the second policy.
        trials: of the first and of the second policy, separate trials.

    Raises:
        ValueError: the numbers contradict each other.
    """
    _check(successes, trials)
    total = sum(trials)
    observed = _tables(sum(successes), trials)
    limit = sum(c for c in observed.values() if c <= observed[successes[0]])
    limit_tables = math.comb(total, sum(successes))
    shares = np.zeros(total + 1)  # of the tables with that many successes, those in the rejection region
    for margin in range(total + 1):
        tables, inside, below = math.comb(total, margin), 0, 0
        counts = sorted(_tables(margin, trials).values())
        for index, count in enumerate(counts):
            below += count
            is_last_of_ties = index + 1 == len(counts) or counts[index + 1] > count
            if is_last_of_ties and below * limit_tables <= limit * tables:
                inside = below
        shares[margin] = inside / tables
    return min(1.0, limit / limit_tables, _largest(shares))


def mcnemar_exact_test(pairs: PairedCounts) -> float:
    """Two-sided p-value of the exact conditional test of McNemar (1947, Psychometrika 12): a sign test of the pairs
    in which only one policy succeeded."""
    discordant = pairs.only_first + pairs.only_second
    fewer = min(pairs.only_first, pairs.only_second)
    return min(1.0, 2 * sum(math.comb(discordant, k) for k in range(fewer + 1)) / 2**discordant)


def newcombe_interval(
    successes: tuple[int, int], trials: tuple[int, int], confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the difference of two rates from separate trials (Newcombe 1998, Stat. Med. 17, 873-890, method 10).

    Args:
        successes: of the first and of the second policy.
        trials: of the first and of the second policy.
        confidence: coverage aimed at.

    Returns:
        Bounds of the first rate minus the second, within -1 and 1.

    Raises:
        ValueError: the numbers contradict each other.
    """
    _check(successes, trials)
    if min(trials) == 0:
        return -1.0, 1.0
    first, second = successes[0] / trials[0], successes[1] / trials[1]
    return _square_and_add(
        (first, *wilson_interval(successes[0], trials[0], confidence)),
        (second, *wilson_interval(successes[1], trials[1], confidence)),
        0.0,
    )


def paired_newcombe_interval(pairs: PairedCounts, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the difference of two rates from pairs (Newcombe 1998, Stat. Med. 17, 2635-2650, method 10).

    Returns:
        Bounds of the first rate minus the second, within -1 and 1; (-1, 1) without pairs.
    """
    n = pairs.pairs
    if n == 0:
        return -1.0, 1.0
    first, second = pairs.both + pairs.only_first, pairs.both + pairs.only_second
    excess = pairs.both * pairs.neither - pairs.only_first * pairs.only_second
    corrected = max(0.0, excess - n / 2) if excess > 0 else float(excess)
    scale = first * (n - first) * second * (n - second)
    correlation = corrected / math.sqrt(scale) if scale else 0.0
    return _square_and_add(
        (first / n, *wilson_interval(first, n, confidence)),
        (second / n, *wilson_interval(second, n, confidence)),
        correlation,
    )


def holm_adjusted(p_values: Sequence[float]) -> tuple[float, ...]:
    """P-values adjusted for their number (Holm 1979, Scand. J. Stat. 6): below 0.05, the chance of even one false
    finding among all is below 0.05."""
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return tuple(adjusted)


def _square_and_add(
    first: tuple[float, float, float], second: tuple[float, float, float], correlation: float
) -> tuple[float, float]:
    """Each argument: rate, lower and upper bound."""

    def width(up: float, down: float) -> float:
        return math.sqrt(max(0.0, up * up - 2 * correlation * up * down + down * down))

    difference = first[0] - second[0]
    low = difference - width(first[0] - first[1], second[2] - second[0])
    high = difference + width(first[2] - first[0], second[0] - second[1])
    return max(-1.0, low), min(1.0, high)


def _tables(margin: int, trials: tuple[int, int]) -> dict[int, int]:
    """How many arrangements have ``x`` of ``margin`` successes in the first policy's trials, by ``x``."""
    low, high = max(0, margin - trials[1]), min(margin, trials[0])
    return {x: math.comb(trials[0], x) * math.comb(trials[1], margin - x) for x in range(low, high + 1)}


def _largest(shares: NDArray[np.float64]) -> float:
    """Maximum over the rate of the probability whose share of each binomial count is given."""
    n = len(shares) - 1
    counts = np.arange(n + 1)
    log_binomial = np.array([math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in counts])
    low, high, best = 0.0, 1.0, float(max(shares[0], shares[-1]))
    for _ in range(4):
        rates = np.linspace(low, high, _GRID + 2)[1:-1]
        logs = log_binomial + np.outer(np.log(rates), counts) + np.outer(np.log1p(-rates), n - counts)
        chances = np.exp(logs) @ shares
        top, step = int(np.argmax(chances)), float(rates[1] - rates[0])
        best = max(best, float(chances[top]))
        low, high = max(0.0, float(rates[top]) - step), min(1.0, float(rates[top]) + step)
    return best


def _check(successes: tuple[int, int], trials: tuple[int, int]) -> None:
    if any(not 0 <= s <= n for s, n in zip(successes, trials, strict=True)):
        raise ValueError(f"successes: {successes[0]} of {trials[0]} and {successes[1]} of {trials[1]} is impossible")
