"""Every way in which a trial can go."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vipa.trials.referee import Assignment
from vipa.trials.trial import Trial, TrialEvent

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
TASK = Assignment("reach", "touch the red, then the green marker", ("touch red", "touch green"), 60.0)


def started(**options):
    trial = Trial(TASK, seed=3, variant="seen", policy="scripted", policy_hash="ab" * 32, **options)
    assert trial.start(START) == [TrialEvent("started", START, detail=TASK.instruction)]
    return trial


def at(seconds):
    return START + round(seconds * SECOND)


def test_a_trial_that_succeeds():
    trial = started(recording="runs/3.mcap")
    assert trial.running
    assert trial.update(at(1), [False, False]) == []
    assert trial.update(at(4.5), [True, False]) == [TrialEvent("sub_task_done", at(4.5), sub_task="touch red")]
    assert trial.update(at(5), [True, False]) == []
    assert trial.result is None
    assert trial.update(at(9), [True, True]) == [
        TrialEvent("sub_task_done", at(9), sub_task="touch green"),
        TrialEvent("succeeded", at(9)),
    ]
    result = trial.result
    assert result is not None
    assert not trial.running
    assert (result.outcome, result.succeeded, result.done) == ("succeeded", True, (True, True))
    assert result.times == pytest.approx((4.5, 9.0))
    assert result.duration == pytest.approx(9.0)
    assert (result.task, result.instruction, result.seed, result.variant) == ("reach", TASK.instruction, 3, "seen")
    assert (result.policy, result.policy_hash, result.recording) == ("scripted", "ab" * 32, "runs/3.mcap")
    assert result.start_ns == START


def test_a_sub_task_once_done_stays_done():
    trial = started()
    trial.update(at(1), [True, False])
    assert trial.update(at(2), [False, False]) == []
    assert trial.update(at(3), [False, True])[-1].kind == "succeeded"


def test_everything_at_once_is_a_success():
    kinds = [event.kind for event in started().update(at(1), [True, True])]
    assert kinds == ["sub_task_done", "sub_task_done", "succeeded"]


def test_the_time_limit():
    trial = started()
    trial.update(at(10), [True, False])
    assert trial.update(at(60), [True, False]) == []
    assert trial.update(at(60.1), [True, False]) == [TrialEvent("time_limit", at(60.1), detail="not done within 60 s")]
    assert trial.result.done == (True, False)
    assert trial.result.times == (pytest.approx(10.0), None)


def test_what_is_done_exactly_at_the_limit_counts_and_later_does_not():
    assert started().update(at(60), [True, True])[-1].kind == "succeeded"
    late = started()
    assert [event.kind for event in late.update(at(60.001), [True, True])] == ["time_limit"]
    assert late.result.done == (False, False)


def test_the_referee_says_that_it_failed():
    trial = started()
    events = trial.update(at(7), [True, False], failure="touched blue")
    assert [event.kind for event in events] == ["sub_task_done", "failed"]
    assert (trial.result.outcome, trial.result.detail) == ("failed", "touched blue")


def test_a_stop_of_the_cell_aborts():
    trial = started()
    events = trial.update(at(7), [False, False], supervisor_ok=False, supervisor_reason="arm: user stop")
    assert events == [TrialEvent("aborted", at(7), detail="arm: user stop")]
    assert trial.result.detail == "arm: user stop"


def test_the_operator_aborts():
    trial = started()
    events = trial.update(at(7), [True, False], failure="fell", supervisor_ok=False, abort="the operator: a cable")
    assert [event.kind for event in events] == ["sub_task_done", "aborted"]
    assert (trial.result.outcome, trial.result.detail) == ("aborted", "the operator: a cable")


def test_a_stop_needs_no_reason():
    trial = started()
    trial.update(at(7), [False, False], supervisor_ok=False)
    assert trial.result.detail == "the supervisor stopped the cell"


def test_a_task_that_is_done_when_the_cell_stops_is_a_success():
    assert started().update(at(7), [True, True], supervisor_ok=False)[-1].kind == "succeeded"


def test_abort_from_outside():
    trial = started()
    trial.update(at(2), [True, False])
    assert trial.abort(at(3), "cancelled") == [TrialEvent("aborted", at(3), detail="cancelled")]
    assert trial.result.done == (True, False)
    assert trial.abort(at(4), "again") == []
    assert trial.result.detail == "cancelled"


def test_a_clock_that_goes_backwards_aborts():
    trial = started()
    trial.update(at(5), [False, False])
    events = trial.update(at(1), [False, False])
    assert events[0].kind == "aborted"
    assert "clock went backwards" in events[0].detail
    assert trial.result.duration == pytest.approx(5.0)


def test_flags_of_another_task_abort():
    trial = started()
    assert trial.update(at(1), [True])[0].detail == "the referee judged 1 sub-tasks, the task has 2"


def test_nothing_happens_before_the_start_or_after_the_end():
    trial = Trial(TASK, seed=0, variant="seen", policy="scripted")
    assert trial.update(at(1), [True, True]) == []
    assert trial.abort(at(1), "cancelled") == []
    assert trial.result is None
    trial.start(START)
    trial.update(at(1), [True, True])
    result = trial.result
    assert trial.update(at(2), [False, False], supervisor_ok=False) == []
    assert trial.result is result


def test_a_trial_runs_once():
    trial = started()
    with pytest.raises(RuntimeError, match="runs once"):
        trial.start(at(1))
    trial.abort(at(2), "cancelled")
    with pytest.raises(RuntimeError, match="runs once"):
        trial.start(at(3))


steps = st.tuples(
    st.floats(0.0, 15.0), st.booleans(), st.booleans(), st.booleans(), st.sampled_from(["", "", "", "fell"])
)


@settings(max_examples=150)
@given(st.lists(steps, max_size=12))
def test_whatever_happens_there_is_one_outcome_and_it_agrees_with_the_sub_tasks(history):
    trial, now, events = started(), 0.0, []
    for pause, red, green, stopped, failure in history:
        now += pause
        events += trial.update(at(now), [red, green], supervisor_ok=not stopped, failure=failure)
    events += trial.abort(at(now), "the end")
    result = trial.result
    ends = [event.kind for event in events if event.kind != "sub_task_done"]
    assert ends == [result.outcome]
    assert events[-1].kind == result.outcome
    assert sum(event.kind == "sub_task_done" for event in events) == sum(result.done)
    assert (result.outcome == "succeeded") == all(result.done)
    assert all(moment is None or moment <= min(result.duration, TASK.time_limit) for moment in result.times)
