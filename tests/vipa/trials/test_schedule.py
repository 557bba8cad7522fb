"""Schedules hand out what is left, verdicts share the level, and a design that stops early stops."""

import math

import pytest
from fabricated_trials import label_of, new_store, result_of, run_all

from vipa.trials.plan import PlannedTrial
from vipa.trials.result import TrialLog
from vipa.trials.schedule import PlanSchedule, SeedSchedule, Setup, remaining
from vipa.trials.verdicts import is_decided, judge


def run(schedule, store, outcome=None, done=3):
    """Run a schedule to its end; the setups that it handed out."""
    setups = []
    while (setup := schedule.upcoming) is not None:
        schedule.begin()
        setups.append(setup)
        planned = PlannedTrial(0, 0, 0, setup.policy, setup.variant, setup.seed)
        schedule.keep(result_of(planned, done, outcome))
    return setups


def test_consecutive_seeds(tmp_path):
    log = TrialLog(tmp_path / "trials.jsonl")
    schedule = SeedSchedule(log, Setup(7, "unseen", "scripted"), 3)
    assert run(schedule, None) == [Setup(seed, "unseen", "scripted") for seed in (7, 8, 9)]
    assert [result.seed for result in log.read()] == [7, 8, 9]
    assert SeedSchedule(log, Setup(7, "unseen", "scripted"), 0).upcoming is None


def test_a_run_of_a_plan_and_what_is_left_of_it(tmp_path):
    store = new_store(tmp_path, layouts_per_block=4)
    first_run = [trial for trial in store.plan.trials if trial.run == 1]
    assert len(first_run) == 4
    schedule = PlanSchedule(store, 1)
    schedule.begin()
    schedule.keep(result_of(first_run[0]))
    schedule.begin()  # and the process ends
    again = PlanSchedule(store, 1)
    assert run(again, store) == [Setup(t.seed, t.variant, t.label) for t in first_run[1:]]
    assert PlanSchedule(store, 1).upcoming is None
    assert store.progress().interrupted == ((first_run[1].number, 1),)
    assert {trial.run for trial in remaining(store)} == {2}


def test_an_aborted_trial_comes_again(tmp_path):
    store = new_store(tmp_path, policies=("one",), layouts=2, aborted="repeat", attempts=2)
    setups = run(PlanSchedule(store, 1), store, "aborted", 1)
    assert [setup.seed for setup in setups] == [setups[0].seed] * 2 + [setups[-1].seed] * 2
    assert remaining(store) == ()


def test_every_test_gets_its_share_of_the_level(tmp_path):
    store = new_store(tmp_path, policies=("a", "b", "c"), variants=("seen", "unseen"), threshold=0.5)
    verdicts = judge(store.plan, {})
    assert len(verdicts) == 2 * (3 + 3)
    assert math.fsum(verdict.test.config.level for verdict in verdicts) == pytest.approx(0.05)
    assert {v.test.config.null_rate for v in verdicts if v.second} == {0.5}
    assert all(v.test.config.planned == 4 for v in verdicts)


def test_pairs_are_formed_by_layout(tmp_path):
    store = new_store(tmp_path, layouts=12)
    good = label_of(store, "good")
    run_all(store, lambda trial: 3 if trial.label == good or trial.seed == 0 else 1)
    (verdict,) = judge(store.plan, store.progress().finished)
    wins = (verdict.test.successes, verdict.test.failures)
    assert wins == ((11, 0) if verdict.first == good else (0, 11))
    assert verdict.test.observations == 12
    assert verdict.test.decision == ("greater" if verdict.first == good else "less")


def test_a_pair_counts_once_both_are_there(tmp_path):
    store = new_store(tmp_path, layouts=2)
    trial = store.plan.trials[0]
    store.finish(1, store.begin(1), result_of(trial))
    (verdict,) = judge(store.plan, store.progress().finished)
    assert verdict.test.observations == 0


def test_a_design_that_stops_early_stops_as_soon_as_everything_is_decided(tmp_path):
    store = new_store(tmp_path, layouts=40, stop_early=True)
    good = label_of(store, "good")
    while left := remaining(store):
        trial = left[0]
        store.finish(trial.number, store.begin(trial.number), result_of(trial, 3 if trial.label == good else 0))
    assert len(store.progress().finished) == 16  # eight pairs in a row
    assert PlanSchedule(store, left[0].run if left else 17).upcoming is None


def test_without_stopping_early_the_plan_is_run_to_its_end(tmp_path):
    store = new_store(tmp_path, layouts=12)
    good = label_of(store, "good")
    run_all(store, lambda trial: 3 if trial.label == good else 0)
    assert len(store.progress().finished) == 24
    assert is_decided(judge(store.plan, store.progress().finished))


def test_one_policy_without_a_threshold_has_nothing_to_decide(tmp_path):
    store = new_store(tmp_path, policies=("one",), stop_early=True)
    assert judge(store.plan, {}) == ()
    assert not is_decided(())
    assert len(remaining(store)) == 4


def test_one_policy_against_a_threshold(tmp_path):
    store = new_store(tmp_path, policies=("one",), layouts=30, threshold=0.5, stop_early=True)
    setups = run(PlanSchedule(store, 1), store)
    assert len(setups) == 8
    (verdict,) = judge(store.plan, store.progress().finished)
    assert (verdict.second, verdict.test.decision) == ("", "greater")
