"""Plans are balanced, interleaved, blinded and the same for the same seed."""

import dataclasses
import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vipa.errors import ConfigurationError
from vipa.trials.plan import Design, PolicyChoice, make_plan, read_key, read_plan, write_plan

designs = st.builds(
    Design,
    task=st.just("wipe_board"),
    layouts=st.integers(1, 13),
    variants=st.sampled_from([("seen",), ("seen", "unseen"), ("a", "b", "c")]),
    seed=st.integers(0, 2**40),
    layouts_per_block=st.integers(1, 5),
)


def policies(count):
    return [PolicyChoice(f"policy {k}", "vipa", f'{{"checkpoint": {k}}}') for k in range(count)]


@settings(max_examples=80)
@given(designs, st.integers(1, 5))
def test_every_policy_meets_the_same_layouts_once(design, count):
    plan, key = make_plan(design, policies(count))
    layouts = {(v, s) for v in design.variants for s in range(design.seed, design.seed + design.layouts)}
    assert len(plan.trials) == len(layouts) * count
    for label in plan.labels:
        assert Counter((t.variant, t.seed) for t in plan.trials if t.label == label) == Counter(layouts)
    assert [t.number for t in plan.trials] == list(range(1, len(plan.trials) + 1))
    assert sorted(c.title for c in key.policies.values()) == [c.title for c in policies(count)]
    assert tuple(key.policies) == plan.labels


@settings(max_examples=80)
@given(designs, st.integers(1, 5))
def test_blocks_are_complete_and_positions_balanced(design, count):
    plan, _ = make_plan(design, policies(count))
    orders = {variant: [] for variant in design.variants}
    for _, block in itertools.groupby(plan.trials, key=lambda t: t.block):
        trials = list(block)
        (variant,) = {t.variant for t in trials}
        met = [[t.seed for t in rows] for _, rows in itertools.groupby(trials, key=lambda t: t.label)]
        assert len(met) == count
        assert all(seeds == met[0] for seeds in met)
        assert len(met[0]) <= design.layouts_per_block
        orders[variant].append(list(dict.fromkeys(t.label for t in trials)))
    for rows in orders.values():
        for start in range(0, len(rows) - count + 1, count):
            for position in zip(*rows[start : start + count], strict=True):
                assert sorted(position) == list(plan.labels)


@settings(max_examples=60)
@given(designs, st.integers(1, 4))
def test_variants_are_interleaved(design, count):
    """At every moment the variants' numbers of trials differ by one block at most."""
    plan, _ = make_plan(design, policies(count))
    seen = Counter(dict.fromkeys(design.variants, 0))
    for trial in plan.trials:
        seen[trial.variant] += 1
        assert max(seen.values()) - min(seen.values()) <= design.layouts_per_block * count


@settings(max_examples=60)
@given(designs, st.integers(1, 4))
def test_runs_are_consecutive_trials_of_one_policy(design, count):
    plan, _ = make_plan(design, policies(count))
    for before, after in itertools.pairwise(plan.trials):
        assert after.run - before.run == (before.label != after.label)
    assert plan.trials[0].run == 1


@settings(max_examples=40)
@given(designs, st.integers(1, 4))
def test_the_same_seed_gives_the_same_plan(design, count):
    assert make_plan(design, policies(count)) == make_plan(design, policies(count))


def test_the_order_and_the_labels_depend_on_the_seed():
    plans = [make_plan(Design("reach", layouts=8, seed=seed), policies(3)) for seed in range(40)]
    assert len({tuple(t.label for t in plan.trials) for plan, _ in plans}) > 30
    first = Counter(key.policies["A"].title for _, key in plans)
    assert len(first) == 3
    assert max(first.values()) < 25


def test_plan_and_key_come_back_and_the_plan_names_no_policy(tmp_path):
    design = Design("reach", layouts=3, variants=("seen", "größer"), threshold=0.8, stop_early=True, aborted="repeat")
    plan, key = make_plan(design, policies(2))
    write_plan(tmp_path / "new", plan, key)
    assert read_plan(tmp_path / "new") == plan
    assert read_key(tmp_path / "new", plan) == key
    text = (tmp_path / "new/plan.json").read_text()
    assert "policy 0" not in text
    assert "checkpoint" not in text


def test_the_key_of_another_plan_is_refused(tmp_path):
    plan, key = make_plan(Design("reach"), policies(2))
    write_plan(tmp_path, plan, key)
    (tmp_path / "key.json").write_text(make_plan(Design("reach"), policies(3))[1].to_json())
    with pytest.raises(ConfigurationError, match="not the key of this plan"):
        read_key(tmp_path, plan)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "cannot be read"),
        ("[]", "expected a mapping"),
        ('{"design": {}}', "missing key"),
        ('{"x": 1}', "unknown key"),
    ],
)
def test_plans_that_cannot_be_used(tmp_path, content, complaint):
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(ConfigurationError, match=rf"plan\.json: .*{complaint}"):
        read_plan(tmp_path)


def test_no_plan(tmp_path):
    with pytest.raises(ConfigurationError, match=r"plan\.json: no such file. Name the folder that vipa trial"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"layouts": 0},
        {"layouts_per_block": 0},
        {"attempts": 0},
        {"variants": ()},
        {"variants": ("seen", "seen")},
        {"seed": -1},
        {"time_limit": float("nan")},
        {"level": 0.0},
        {"threshold": 1.0},
    ],
)
def test_designs_that_cannot_be_used(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        dataclasses.replace(Design("reach"), **change)


@pytest.mark.parametrize("count", [0, 27])
def test_too_few_or_too_many_policies(count):
    with pytest.raises(ValueError, match="1 to 26 policies"):
        make_plan(Design("reach"), policies(count))


def test_a_policy_twice():
    with pytest.raises(ValueError, match="each once"):
        make_plan(Design("reach"), [*policies(2), policies(1)[0]])
