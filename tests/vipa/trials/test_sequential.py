"""The sequential test: its formula by quadrature, its error exactly and by simulation, its power."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from vipa.trials.sequential import SequentialConfig, SequentialTest, decision_chances, evidence, run_sequential_test

outcomes = st.lists(st.sampled_from([True, False, None]), max_size=40)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.floats(0.05, 0.95))
def test_the_formula_is_the_integral(s, f, rate):
    def bets(p):
        return math.exp(s * math.log(p / rate) + f * math.log((1 - p) / (1 - rate))) if 0 < p < 1 else float(s == 0)

    middle = min(1.0, max(rate, s / (s + f))) if s + f else rate
    whole = sum(integrate.quad(bets, *ends, limit=200)[0] for ends in ((rate, middle), (middle, 1.0)))
    assert evidence(s, f, rate) == pytest.approx(math.log(whole / (1 - rate)), abs=1e-6)


@settings(max_examples=100)
@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.05, 0.95), st.floats(0.0, 1.0))
def test_no_bet_gains_on_average_where_the_null_holds(s, f, null_rate, share):
    """One step of the supermartingale: the mean of the next evidence is at most the present one."""
    rate = share * null_rate
    now, won, lost = evidence(s, f, null_rate), evidence(s + 1, f, null_rate), evidence(s, f + 1, null_rate)
    mean = rate * math.exp(won - now) + (1 - rate) * math.exp(lost - now)
    assert mean <= 1.0 + 1e-9
    if share == 1.0:
        assert mean == pytest.approx(1.0)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("level", [0.05, 0.2])
def test_type_one_error_of_pairs_exactly(share, level):
    """Policies that are equal: all chances of a decision within 40 pairs, whatever share of pairs differs."""
    greater, less, mean = decision_chances(share / 2, share / 2, 40, SequentialConfig(level))
    assert greater == pytest.approx(less)
    assert 0.0 <= greater + less <= level
    assert mean <= 40.0


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.95])
def test_type_one_error_against_a_threshold_exactly(threshold):
    """A policy at or below the threshold is called better than it, and one at or above it worse, with at most 2.5 %."""
    config = SequentialConfig(0.05, threshold)
    for rate in np.linspace(0.0, threshold, 8):
        assert decision_chances(rate, 1 - rate, 40, config)[0] <= 0.025 + 1e-12
    for rate in np.linspace(threshold, 1.0, 8):
        assert decision_chances(rate, 1 - rate, 40, config)[1] <= 0.025 + 1e-12


def decisions(first, second, level=0.05):
    """Decisions of many repetitions; arguments: (repetitions, pairs) of bool."""
    config = SequentialConfig(level)

    def sequence(rows):
        return [None if a == b else bool(a) for a, b in zip(*rows, strict=True)]

    return [run_sequential_test(sequence(rows), config).decision for rows in zip(first, second, strict=True)]


def test_type_one_error_by_simulation_on_layouts_of_different_difficulty():
    """Equal policies whose success depends on the layout and drifts over time; looked at after every pair."""
    rng = np.random.default_rng(1)
    difficulty = rng.uniform(0.02, 0.98, (600, 50)) * np.linspace(0.4, 1.0, 50)
    first, second = rng.random(difficulty.shape) < difficulty, rng.random(difficulty.shape) < difficulty
    wrong = np.mean([decision != "open" for decision in decisions(first, second)])
    assert wrong <= 0.05


def test_type_one_error_where_the_second_policy_adapts_to_the_past():
    """An adversary makes pairs differ only while the evidence is high; the coin stays fair."""
    rng, wrong = np.random.default_rng(2), 0
    for _ in range(600):
        test = SequentialTest(SequentialConfig(0.1))
        for _ in range(60):
            hot = not test.path or max(test.path[-1]) > 0.3 or rng.random() < 0.5
            test.observe(bool(rng.random() < 0.5) if hot else None)
        wrong += test.decision != "open"
    assert wrong / 600 <= 0.1


@pytest.mark.parametrize(
    ("only_first", "only_second", "power", "pairs"),
    [(0.5, 0.0, 1.0, 16.0), (0.5, 0.1, 0.87, 28.9), (0.4, 0.1, 0.64, 36.7), (0.3, 0.1, 0.32, 44.1)],
)
def test_power_within_fifty_pairs(only_first, only_second, power, pairs):
    """What it finds, and after how many pairs; simulation agrees with the exact computation."""
    greater, less, mean = decision_chances(only_first, only_second, 50, SequentialConfig())
    assert greater == pytest.approx(power, abs=0.01)
    assert mean == pytest.approx(pairs, abs=0.1)
    assert less < 1e-3
    rng = np.random.default_rng(3)
    ways = rng.choice(3, p=[only_first, only_second, 1 - only_first - only_second], size=(300, 50))
    found = [run_sequential_test([{0: True, 1: False}.get(w) for w in row], SequentialConfig()) for row in ways]
    assert np.mean([test.decision == "greater" for test in found]) == pytest.approx(greater, abs=0.09)


def test_eight_wins_in_a_row_decide_and_seven_do_not():
    assert run_sequential_test([True] * 7, SequentialConfig()).decision == "open"
    test = run_sequential_test([True] * 8, SequentialConfig())
    assert (test.decision, test.decided_after) == ("greater", 8)
    assert math.exp(evidence(8, 0)) == pytest.approx(2 * 256 / 9 * (1 - 2**-9))
    assert test.p_value == pytest.approx(2 / math.exp(evidence(8, 0)))


@settings(max_examples=80, deadline=None)
@given(outcomes, st.integers(0, 40))
def test_a_decision_stays_and_the_directions_mirror(sequence, planned):
    config = SequentialConfig(planned=planned)
    test, mirrored = SequentialTest(config), SequentialTest(config)
    swapped = {"greater": "less", "less": "greater"}
    decided = "open"
    for outcome in sequence:
        decision = test.observe(outcome)
        opposite = mirrored.observe(None if outcome is None else not outcome)
        assert opposite == swapped.get(decision, decision)
        assert decided in ("open", decision)
        decided = decision
    assert test.observations == len(test.path) == len(sequence)
    assert 0.0 < test.p_value <= 1.0
    if test.decision in swapped:
        assert test.p_value <= 0.05


def test_it_says_when_the_rest_of_the_plan_cannot_decide():
    config = SequentialConfig(planned=10)
    assert run_sequential_test([None, None], config).decision == "open"  # eight wins would decide
    test = run_sequential_test([None, None, None], config)
    assert (test.decision, test.decided_after) == ("undecidable", 3)


def test_many_observations_do_not_overflow():
    assert math.isfinite(evidence(3000, 1000))
    assert evidence(3000, 1000) > 300
    assert evidence(1000, 3000) < 0


@pytest.mark.parametrize(
    "change", [{"level": 0.0}, {"level": 1.0}, {"null_rate": 0.0}, {"null_rate": 1.0}, {"planned": -1}]
)
def test_configurations_that_cannot_be_used(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        SequentialConfig(**change)


@pytest.mark.parametrize("arguments", [(-1, 0), (0, -1), (1, 1, 0.0), (1, 1, 1.0)])
def test_evidence_of_impossible_numbers(arguments):
    with pytest.raises(ValueError, match=r"negative|null_rate"):
        evidence(*arguments)
