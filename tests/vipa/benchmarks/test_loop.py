"""Figures of the running loop."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipa.benchmarks.loop import LoopStatistics, Step, dropped_frames

MS = 1_000_000
PERIOD_NS = round(1e9 / 30)


def step(chunk_id: int, exposure_ns: int = 0, acknowledged_ns: int = 40 * MS, changed: bool = False) -> Step:
    t = exposure_ns
    return Step(chunk_id, t, t + 10 * MS, t + 12 * MS, t + 20 * MS, t + 25 * MS, t + 26 * MS, acknowledged_ns, changed)


def test_latency_counts_the_first_executed_step_of_a_chunk() -> None:
    statistics = LoopStatistics(0.01, 30.0)
    statistics.steps = [step(1, 0, 40 * MS), step(1, 0, 90 * MS), step(2, 100 * MS, 150 * MS)]
    figures = statistics.figures()
    assert figures["executed_steps"] == 3
    assert figures["chunks"] == 2
    assert figures["exposure_to_command_p50_ms"] == pytest.approx(45.0)
    assert figures["inference_p99_ms"] == pytest.approx(8.0)


def test_a_step_that_no_driver_took_has_no_command_latency() -> None:
    statistics = LoopStatistics(0.01, 30.0)
    statistics.steps = [step(1, acknowledged_ns=0)]
    assert math.isnan(statistics.figures()["exposure_to_command_p99_ms"])


def test_jitter_is_the_distance_from_the_nominal_period() -> None:
    statistics = LoopStatistics(0.01, 30.0)
    statistics.periods = [0.010, 0.012, 0.008, 0.010]
    statistics.ros_periods = [0.010] * 4
    figures = statistics.figures()
    assert figures["control_period_jitter_p99_ms"] == pytest.approx(2.0, abs=0.01)
    assert figures["control_period_ros_jitter_p99_ms"] == pytest.approx(0.0, abs=1e-9)


def test_lost_packets_and_aborts_come_from_the_robot() -> None:
    statistics = LoopStatistics(0.01, 30.0)
    assert "aborts" not in statistics.figures()
    statistics.fci = {"lost": 3, "aborts": {"joint_reflex": 1, "communication_constraints_violation": 2}}
    figures = statistics.figures()
    assert (figures["fci_packets_lost"], figures["aborts"]) == (3, 3)


def test_refusals_of_the_driver_and_reflexes_are_counted_from_the_first_state_on() -> None:
    statistics = LoopStatistics(0.01, 30.0)
    for mode, refused in (("1", 7), ("2", 7), ("2", 8), ("1", 8), ("2", 9)):
        statistics.see_arm(mode, mode == "2", refused)
    figures = statistics.figures()
    assert (figures["gate_violations_reaching_driver"], figures["reflexes"]) == (2, 2)
    assert statistics.modes == {"1": 2, "2": 3}
    statistics.clear()
    statistics.see_arm("1", False, 9)
    assert statistics.figures()["gate_violations_reaching_driver"] == 0


def test_clear_keeps_the_cameras_and_forgets_the_rest() -> None:
    statistics = LoopStatistics(0.01, 30.0)
    statistics.frames = {"front": [1, 2]}
    statistics.steps = [step(1)]
    statistics.clear()
    assert statistics.frames == {"front": []}
    assert statistics.figures()["executed_steps"] == 0


@given(st.integers(2, 200), st.data())
def test_dropped_frames_counts_what_was_taken_out(n: int, data: st.DataObject) -> None:
    stamps = [i * PERIOD_NS for i in range(n)]
    lost = data.draw(st.sets(st.integers(1, n - 1).filter(lambda i: i < n - 1), max_size=n // 2)) if n > 2 else set()
    kept = [t for i, t in enumerate(stamps) if i not in lost]
    assert dropped_frames(kept, 30.0) == len(lost)
    assert dropped_frames(kept + kept, 30.0) == len(lost), "a duplicate is no drop"
