"""A test that may be looked at after every trial, and stopped, without more false findings than promised.

Two policies meet the same layouts. Only layouts at which exactly one of them succeeds say which is better; each is a
bet on a coin that is fair where the policies are equal. The evidence for "the first is better" is what a player has won
who spread his stake evenly over all coins that favour the first (Robbins 1970, Ann. Math. Stat. 41, 1397-1409):

    E(s, f) = 1 / (1 - p0) * integral from p0 to 1 of (p / p0)^s ((1 - p) / (1 - p0))^f dp

after s successes and f failures, p0 = 1/2. Where every success has a probability of at most p0, whatever happened
before, no bet gains on average: for p >= p0, q <= p0, q p / p0 + (1 - q) (1 - p) / (1 - p0) <= 1. E is then a
nonnegative supermartingale that starts at 1, and by Ville's inequality (1939, Etude critique de la notion de collectif)
it ever reaches 1 / level with a probability of at most ``level``. This holds for layouts of different difficulty, for
policies that drift, and however often one looks. The same test compares one policy with a threshold p0.

What comes out of the integral is a binomial probability, so that E is computed without quadrature:

    E(s, f) = P(X <= s) / ((n + 1) C(n, s) p0^s (1 - p0)^(f + 1)),  n = s + f,  X ~ Binomial(n + 1, p0)
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

Decision = Literal["open", "greater", "less", "undecidable"]


@lru_cache(maxsize=65_536)
def evidence(successes: int, failures: int, null_rate: float = 0.5) -> float:
    """Natural logarithm of E, the evidence that the success rate is above ``null_rate``.

    Raises:
        ValueError: a count is negative, or ``null_rate`` is not between 0 and 1.
    """
    if min(successes, failures) < 0:
        raise ValueError(f"successes, failures: {successes}, {failures}: a count is negative")
    if not 0.0 < null_rate < 1.0:
        raise ValueError(f"null_rate: {null_rate} is not between 0 and 1")
    n = successes + failures
    log_rate, log_rest = math.log(null_rate), math.log1p(-null_rate)
    terms = [
        _log_choose(n + 1, k) + k * log_rate + (n + 1 - k) * log_rest for k in range(successes + 1)
    ]  # of P(X <= s); the largest is taken out so that none of them vanishes
    largest = max(terms)
    log_tail = largest + math.log(math.fsum(math.exp(term - largest) for term in terms))
    return log_tail - (math.log(n + 1) + _log_choose(n, successes) + successes * log_rate + (failures + 1) * log_rest)


@dataclass(frozen=True)
class SequentialConfig:
    """What is declared before the first trial.

    The two directions share ``level``: the test decides for the wrong one, or for any where there is no difference,
    with a probability of at most ``level``.
    """

    level: float = 0.05
    null_rate: float = 0.5  # 1/2 for pairs; the threshold for one policy
    planned: int = 0  # observations at most, those that say nothing included; 0: no end

    def __post_init__(self) -> None:
        if not 0.0 < self.level < 1.0:
            raise ValueError(f"level: {self.level} is not between 0 and 1")
        if not 0.0 < self.null_rate < 1.0:
            raise ValueError(f"null_rate: {self.null_rate} is not between 0 and 1")
        if self.planned < 0:
            raise ValueError(f"planned: {self.planned} is negative")

    @property
    def bound(self) -> float:
        """The logarithm of the evidence at which the test decides."""
        return math.log(2.0 / self.level)


@dataclass
class SequentialTest:
    """Takes one observation after the other; a decision stays.

    Attributes:
        decision: "greater": above the null rate (the first policy is better); "less"; "undecidable": what is left of
            the plan cannot decide any more, whatever its outcomes; "open": go on.
        decided_after: observations until the decision.
        path: logarithms of the evidence for "greater" and for "less" after each observation.
    """

    config: SequentialConfig = SequentialConfig()
    decision: Decision = "open"
    decided_after: int | None = None
    observations: int = 0
    successes: int = 0
    failures: int = 0
    path: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])

    def observe(self, success: bool | None) -> Decision:
        """Take in a success, a failure, or None: a pair with equal outcomes, which says nothing."""
        self.observations += 1
        self.successes += success is True
        self.failures += success is False
        self.path.append(self._evidence(self.successes, self.failures))
        if self.decision == "open":
            self.decision = self._decide()
            self.decided_after = None if self.decision == "open" else self.observations
        return self.decision

    @property
    def p_value(self) -> float:
        """P-value that holds at any time: twice the inverse of the largest evidence so far, at most 1."""
        largest = max((max(pair) for pair in self.path), default=0.0)
        return min(1.0, 2.0 * math.exp(-largest))

    def _evidence(self, successes: int, failures: int) -> tuple[float, float]:
        rate = self.config.null_rate
        return evidence(successes, failures, rate), evidence(failures, successes, 1.0 - rate)

    def _decide(self) -> Decision:
        greater, less = self.path[-1]
        if max(greater, less) >= self.config.bound:
            return "greater" if greater > less else "less"
        left = self.config.planned - self.observations
        if self.config.planned and not self._can_decide(left):
            return "undecidable"
        return "open"

    def _can_decide(self, left: int) -> bool:
        """Whether ``left`` more observations, all to one side, would decide."""
        return any(
            self._evidence(self.successes + k, self.failures)[0] >= self.config.bound
            or self._evidence(self.successes, self.failures + k)[1] >= self.config.bound
            for k in range(1, left + 1)
        )


def run_sequential_test(outcomes: Iterable[bool | None], config: SequentialConfig) -> SequentialTest:
    """The test after all of ``outcomes``, oldest first."""
    test = SequentialTest(config)
    for outcome in outcomes:
        test.observe(outcome)
    return test


def decision_chances(
    success: float, failure: float, planned: int, config: SequentialConfig
) -> tuple[float, float, float]:
    """What the test will do with ``planned`` observations that do not depend on each other; exact, not simulated.

    Args:
        success: probability that an observation is a success (only the first policy succeeds).
        failure: probability that it is a failure; the rest says nothing.
        planned: observations at most.
        config: level and null rate.

    Returns:
        Probability of deciding "greater", of deciding "less", and mean number of observations.
    """
    decided = {"greater": 0.0, "less": 0.0}
    running, mean = {(0, 0): 1.0}, 0.0
    for _ in range(planned):
        mean += sum(running.values())
        following: dict[tuple[int, int], float] = {}
        for (s, f), chance in running.items():
            for state, probability in (((s + 1, f), success), ((s, f + 1), failure), ((s, f), 1.0 - success - failure)):
                if probability > 0.0:
                    following[state] = following.get(state, 0.0) + chance * probability
        running = {}
        for (s, f), chance in following.items():
            if evidence(s, f, config.null_rate) >= config.bound:
                decided["greater"] += chance
            elif evidence(f, s, 1.0 - config.null_rate) >= config.bound:
                decided["less"] += chance
            else:
                running[s, f] = chance
    return decided["greater"], decided["less"], mean


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
