"""What the page is told of the cell."""

import json
import math

import pytest

from vipa.benchmarks.loop import Step
from vipa.console.cell_view import EVENTS_KEPT, CellView, TrialState, rounded
from vipa.console.gauges import WINDOW_S, GateGauge, LatencyGauge

MS = 1_000_000


def step(chunk: int, latency_ms: float, acknowledged: bool = True) -> Step:
    end = 10**12 + round(latency_ms * MS)
    return Step(chunk, 10**12, 0, 0, 0, 0, 0, end if acknowledged else 0, False)


def test_latency_counts_the_first_step_of_each_chunk_that_reached_the_arm() -> None:
    gauge = LatencyGauge()
    assert gauge.figures(0.0)["p50"] is None
    for chunk in range(101):
        gauge.see(step(chunk, chunk), now=1.0)
        gauge.see(step(chunk, 5000.0), now=1.0)
    gauge.see(step(200, 0.0, acknowledged=False), now=1.0)
    figures = gauge.figures(2.0)
    assert (figures["p50"], figures["p99"], figures["chunks"]) == (50.0, 99.0, 101)


def test_latency_forgets() -> None:
    gauge = LatencyGauge()
    gauge.see(step(1, 900.0), now=0.0)
    gauge.see(step(2, 30.0), now=WINDOW_S)
    assert gauge.figures(WINDOW_S + 1.0)["p99"] == 30.0
    assert gauge.figures(3 * WINDOW_S)["chunks"] == 0


def test_refusals_are_counted_by_rule() -> None:
    gauge = GateGauge()
    gauge.see("workspace", "0.9 m", is_refusal=True)
    gauge.see("workspace", "0.8 m", is_refusal=True)
    gauge.see("step_translation", "0.1 m", is_refusal=False)
    assert gauge.figures() == {"refused": {"workspace": 2}, "changed": {"step_translation": 1},
                               "last": "workspace: 0.8 m"}  # fmt: skip


def test_what_is_not_heard_of_is_silent() -> None:
    view = CellView()
    assert view.snapshot(0.0)["arm"] == {"silent": True}
    view.see("arm", {"mode": "IDLE"}, 10.0)
    assert view.snapshot(10.5)["arm"] == {"mode": "IDLE", "silent": False}
    assert view.snapshot(12.0)["arm"] == {"mode": "IDLE", "silent": True}
    view.see_heartbeat("policy", "policy: no instruction", 10.0)
    assert view.snapshot(10.5)["notes"] == {"policy": "policy: no instruction"}
    assert view.snapshot(12.0)["notes"] == {}


def test_a_snapshot_can_always_be_sent() -> None:
    view = CellView()
    view.see("hand", {"forces": rounded([math.nan, math.inf, 1.26], 1)}, 1.0)
    view.trial = TrialState("reach-1", "judge", "touch red", "done?")
    view.see_event("trial", "reach-1", "started", "touch", 1.0)
    content = json.loads(json.dumps(view.snapshot(1.0), allow_nan=False))
    assert content["hand"]["forces"] == [None, None, 1.3]
    assert (content["trial"]["asks"], content["trial"]["runs"]) == (True, True)


def test_events_are_few_and_sub_tasks_belong_to_their_trial() -> None:
    view = CellView()
    for number in range(100):
        view.see_event("recorder", "episode_000001", "note", str(number), number)
    view.see_event("trial", "reach-1", "sub_task_done", "touch red", 100.0)
    assert view.snapshot(0.0)["trial"]["done"] == ["touch red"]
    view.see_event("trial", "reach-2", "started", "", 101.0)
    content = view.snapshot(0.0)
    assert content["trial"]["done"] == []
    assert len(content["events"]) == EVENTS_KEPT
    assert content["events"][-1]["number"] == 102


@pytest.mark.parametrize(("mode", "has_error", "expected"), [("STREAMING", False, (False, False)),
                                                             ("REFLEX", True, (True, True)),
                                                             ("USER_STOP", False, (True, False))])  # fmt: skip
def test_what_a_reset_has_to_mend(mode: str, has_error: bool, expected: tuple[bool, bool]) -> None:
    view = CellView()
    assert view.errors == (False, False)
    view.see("arm", {"mode": mode}, 0.0)
    view.see("hand", {"has_error": has_error}, 0.0)
    assert view.errors == expected
