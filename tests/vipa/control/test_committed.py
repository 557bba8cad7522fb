"""What the controller says it is going to do."""

import numpy as np
import pytest

from tests.vipa.control.test_controller import MS, NS, PERIOD, Bench
from vipa.control.config import ControlConfig
from vipa_inference.policy import CommittedPlan
from vipa_inference.real_time_chunking import PlanTracker

LEAD_NS = 20 * MS


def committed(bench: Bench) -> CommittedPlan:
    plan = bench.controller.committed(bench.now_ns)
    assert plan is not None
    return plan


def test_nothing_is_committed_before_the_first_chunk() -> None:
    bench = Bench()
    assert bench.controller.committed(bench.now_ns) is None
    bench.run(100)
    assert bench.controller.committed(bench.now_ns) is None


def test_rows_begin_at_the_observation_of_the_newest_chunk_at_its_step_period() -> None:
    bench = Bench()
    bench.follow_circle(1.0)
    chunk = bench.chunk(bench.now_ns - 40 * MS)
    bench.accept(chunk)
    plan = committed(bench)
    assert plan.times_ns[0] == chunk.observation_ns
    assert set(np.diff(plan.times_ns)) == {round(PERIOD * NS)}
    assert plan.times_ns[-1] >= chunk.observation_ns + round(chunk.horizon * PERIOD * NS)
    assert plan.poses.shape == (len(plan.times_ns), 4, 4)
    assert plan.hand.shape == (len(plan.times_ns), 6)


def test_what_is_committed_is_what_the_arm_then_does() -> None:
    """No further chunk comes: the arm, read at the times of the rows, is where they say, to the end."""
    bench = Bench(config=ControlConfig(observation_age_limit=1.0))
    bench.follow_circle(1.0)
    bench.accept(bench.chunk(bench.now_ns - 40 * MS))
    plan = committed(bench)
    bench.run(1500)
    path = dict(bench.path)
    seen = [(t, pose) for t, pose in zip(plan.times_ns.tolist(), plan.poses, strict=True) if t in path]
    assert len(seen) == len(plan.times_ns)
    for time_ns, pose in seen:
        np.testing.assert_allclose(bench.kinematics.forward(path[time_ns]), pose, atol=1e-4)
    np.testing.assert_allclose(plan.hand[-1], 0.7, atol=1e-6)


def test_the_next_chunk_changes_nothing_before_it_takes_effect() -> None:
    bench = Bench()
    bench.follow_circle(1.0)
    bench.accept(bench.chunk(bench.now_ns - 40 * MS))
    before = committed(bench)
    bench.run(100)
    bench.read()
    effect_ns = bench.now_ns + LEAD_NS
    bench.accept(bench.chunk(bench.now_ns - 40 * MS, actions=np.full((16, 12), 0.01)))
    bench.run(1000)
    path = dict(bench.path)
    certain = before.times_ns <= effect_ns
    assert 3 <= certain.sum() < len(certain)
    for time_ns, pose in zip(before.times_ns[certain].tolist(), before.poses[certain], strict=True):
        np.testing.assert_allclose(bench.kinematics.forward(path[time_ns]), pose, atol=1e-4)
    later = int(before.times_ns[certain.sum() + 4])
    assert np.abs(bench.kinematics.forward(path[later]) - before.poses[certain.sum() + 4]).max() > 5e-3


@pytest.mark.parametrize("cause", ["motion", "stale"])
def test_nothing_is_committed_once_the_arm_is_stopped(cause: str) -> None:
    bench = Bench()
    bench.follow_circle(1.0)
    assert bench.controller.committed(bench.now_ns) is not None
    bench.run(200, motion_allowed=cause != "motion", reading=cause != "stale")
    assert bench.controller.committed(bench.now_ns) is None


def test_nothing_is_committed_once_the_plan_is_over_or_the_clock_was_set_back() -> None:
    bench = Bench()
    bench.follow_circle(1.0)
    bench.run(1500)
    assert bench.controller.committed(bench.now_ns) is None
    bench = Bench()
    bench.follow_circle(1.0)
    bench.now_ns -= NS
    bench.tick()
    assert bench.controller.committed(bench.now_ns) is None


def test_no_more_is_committed_than_the_arm_has() -> None:
    bench = Bench()
    bench.follow_circle(1.0)
    bench.accept(bench.chunk(bench.now_ns - 40 * MS, rows=40))
    plan = committed(bench)
    assert plan.times_ns[-1] <= bench.now_ns + NS
    assert plan.times_ns[-1] > bench.now_ns + NS - round(PERIOD * NS)


def test_the_tracker_finds_rows_for_every_later_observation() -> None:
    """Whatever the phase of the next observation, its prefix begins one step after it and reaches to the effect."""
    bench = Bench()
    bench.follow_circle(1.0)
    observation_ns = bench.now_ns - 40 * MS
    bench.accept(bench.chunk(observation_ns))
    tracker = PlanTracker(LEAD_NS / NS)
    tracker.received(committed(bench), 1, bench.now_ns)
    for milliseconds in range(1, 140, 3):
        moment_ns = observation_ns + milliseconds * MS
        part = tracker.committed(moment_ns, moment_ns + 40 * MS)
        assert part is not None
        assert part.times_ns[0] == moment_ns + 50 * MS
        assert part.times_ns[-1] == moment_ns + 150 * MS  # effect 160 ms after: 40 until now, 100 expected, 20 lead
