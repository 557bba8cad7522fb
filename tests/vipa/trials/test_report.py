"""The report of several trials: rates, intervals, times, outcomes, and the ways to show them."""

import dataclasses
import json

import pytest

from vipa.trials.report import summarise
from vipa.trials.result import TrialResult

SUCCESS = TrialResult(
    task="reach",
    instruction="touch the red, then the green marker",
    seed=0,
    variant="seen",
    policy="scripted",
    policy_hash="0123456789abcdef",
    sub_tasks=("touch red", "touch green"),
    done=(True, True),
    times=(4.0, 9.0),
    start_ns=0,
    duration=9.0,
    outcome="succeeded",
)
HALF = dataclasses.replace(SUCCESS, done=(True, False), times=(4.0, None), duration=60.0, outcome="time_limit")
NOTHING = dataclasses.replace(SUCCESS, done=(False, False), times=(None, None), duration=2.0, outcome="aborted")


def ten():
    slow = dataclasses.replace(SUCCESS, duration=19.0)
    return [SUCCESS] * 4 + [slow] * 2 + [HALF] * 3 + [NOTHING]


def test_rates_times_and_outcomes():
    (task,) = summarise(ten()).tasks
    assert task.trials == 10
    assert (task.whole_task.successes, task.whole_task.value) == (6, 0.6)
    assert (100 * task.whole_task.low, 100 * task.whole_task.high) == pytest.approx((31.3, 83.2), abs=0.05)
    assert task.sub_tasks["touch red"].value == 0.9
    assert task.sub_tasks["touch green"].value == 0.6
    assert task.sub_task.value == pytest.approx(0.75)
    assert task.sub_task.low < 0.75 < task.sub_task.high
    assert task.time_to_success == (9.0, 9.0, 19.0)
    assert task.outcomes == {"succeeded": 6, "aborted": 1, "time_limit": 3}
    assert task.ended_at == {"touch red": 1, "touch green": 3}
    assert task.sub_task_times == {"touch red": 4.0, "touch green": 9.0}


def test_figures_of_the_loop_are_summarised_over_the_trials_that_have_them():
    trials = [dataclasses.replace(SUCCESS, figures={"inference_p99_ms": value}) for value in (3.0, 9.0, 4.0)]
    (task,) = summarise([*trials, SUCCESS]).tasks
    assert task.loop == {"inference_p99_ms": (4.0, 9.0)}


def test_tasks_variants_and_policies_are_kept_apart():
    other = dataclasses.replace(SUCCESS, variant="unseen")
    retrained = dataclasses.replace(SUCCESS, policy_hash="fedc")
    report = summarise([SUCCESS, other, SUCCESS, retrained])
    assert [(task.variant, task.policy_hash, task.trials) for task in report.tasks] == [
        ("seen", "0123456789abcdef", 2),
        ("unseen", "0123456789abcdef", 1),
        ("seen", "fedc", 1),
    ]


def test_the_console_table():
    text = summarise(ten()).to_text()
    header, rule, row, *rest = text.splitlines()
    assert header.split()[:4] == ["task", "variant", "policy", "trials"]
    assert set(rule) == {"-", " "}
    assert "scripted@01234567" in row
    assert "75.0 % (44-92)" in row
    assert "60.0 % (31-83)" in row
    assert "9.0 (9.0-19.0)" in row
    assert "6 succeeded, 1 aborted, 3 time limit" in row
    assert header.index("outcomes") == row.index("6 succeeded")
    assert any(line.startswith("  touch red") and "9/10" in line for line in rest)


def test_json_and_figures():
    report = summarise(ten())
    content = json.loads(json.dumps(report.to_json_dict()))
    assert content["tasks"][0]["whole_task"]["value"] == 0.6
    assert content["tasks"][0]["outcomes"]["time_limit"] == 3
    figures = report.figures()
    assert figures["reach.seen.scripted@01234567.whole_task"] == 0.6
    assert figures["reach.seen.scripted@01234567.median_time_to_success"] == 9.0


def test_no_success_has_no_time():
    report = summarise([NOTHING])
    assert report.tasks[0].time_to_success is None
    assert "median_time_to_success" not in " ".join(report.figures())
    assert " - " in report.to_text()


def test_no_trials():
    report = summarise([])
    assert report.tasks == ()
    assert report.to_json_dict() == {"tasks": []}
    assert report.to_text().startswith("task")
