"""The sequential tests of a design: pairs of policies in each variant, and each policy against a threshold."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from vipa.trials.plan import Plan
from vipa.trials.result import TrialResult
from vipa.trials.sequential import SequentialConfig, SequentialTest, run_sequential_test


@dataclass(frozen=True)
class Verdict:
    """One sequential test and how far it is.

    ``second`` is empty where ``first`` is tested against the threshold.
    """

    variant: str
    first: str  # label
    second: str
    test: SequentialTest


def judge(plan: Plan, finished: Mapping[int, TrialResult]) -> tuple[Verdict, ...]:
    """Run every test of the design over the results so far.

    The tests share the design's level equally (Bonferroni): the chance that even one of them decides wrongly is at most
    that level.

    Args:
        plan: the plan.
        finished: results that count, by the number of the trial.
    """
    design = plan.design
    against = [""] if design.threshold is not None else []
    sides = [*itertools.combinations(plan.labels, 2), *itertools.product(plan.labels, against)]
    level = design.level / max(1, len(sides) * len(design.variants))
    verdicts: list[Verdict] = []
    for variant in design.variants:
        success: dict[str, dict[int, bool]] = {label: {} for label in plan.labels}  # by seed, in the order of the plan
        for trial in plan.trials:
            if trial.variant == variant and trial.number in finished:
                success[trial.label][trial.seed] = finished[trial.number].succeeded
        for first, second in sides:
            rate = 0.5 if second else design.threshold or 0.5
            config = SequentialConfig(level, rate, design.layouts)
            outcomes = _pairs(success[first], success[second]) if second else [*success[first].values()]
            verdicts.append(Verdict(variant, first, second, run_sequential_test(outcomes, config)))
    return tuple(verdicts)


def is_decided(verdicts: tuple[Verdict, ...]) -> bool:
    """True where there is a test and none of them is open."""
    return bool(verdicts) and all(verdict.test.decision != "open" for verdict in verdicts)


def _pairs(first: Mapping[int, bool], second: Mapping[int, bool]) -> list[bool | None]:
    """Per layout that both have met: whether the first won, None for equal outcomes."""
    return [first[seed] if first[seed] != second[seed] else None for seed in first if seed in second]
