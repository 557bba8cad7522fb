"""Which rows of the controller's plan a new chunk has to begin with."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vipa_inference.policy import ActionChunk, CommittedPlan
from vipa_inference.real_time_chunking import (
    DelayConfig,
    DelayEstimator,
    PlanTracker,
    committed_part,
    continued,
    interpolate,
)
from vipa_inference.rotations import matrix_from_rotation_vector

MS = 1_000_000
NS = 1_000_000_000
START = 5 * NS
STEP = 50 * MS


def make_plan(rows: int, start_ns: int = START, step_ns: int = STEP) -> CommittedPlan:
    """Straight on and turning, both with constant speed, so that interpolation is exact."""
    times_ns = start_ns + step_ns * np.arange(rows, dtype=np.int64)
    return CommittedPlan(times_ns, pose_at(times_ns), hand_at(times_ns))


def pose_at(times_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    t = (np.atleast_1d(times_ns) - START)[:, None] / NS
    poses = np.tile(np.eye(4), (len(t), 1, 1))
    poses[:, :3, 3] = np.array([0.4, 0.1, 0.3]) + t * (0.1, -0.2, 0.05)
    poses[:, :3, :3] = matrix_from_rotation_vector(t * (0.3, 0.2, -0.4)) @ matrix_from_rotation_vector([3.0, 0.2, 0.1])
    return poses


def hand_at(times_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.repeat(0.5 + 0.1 * (np.atleast_1d(times_ns) - START)[:, None] / NS, 6, axis=1)


class TestCommittedPart:
    """The rows between the observation and the moment at which a new chunk takes effect."""

    @given(
        rows=st.integers(2, 40),
        step=st.integers(5, 500),
        observed=st.integers(-1000, 3000),
        effect=st.integers(0, 5000),
    )
    def test_rows_lie_between_observation_and_effect_within_the_plan(
        self, rows: int, step: int, observed: int, effect: int
    ) -> None:
        plan = make_plan(rows, step_ns=step * MS)
        observation_ns, until_ns = START + observed * MS, START + (observed + effect) * MS
        part = committed_part(plan, observation_ns, until_ns)
        wanted = observation_ns + step * MS * np.arange(1, 2 + effect // step)
        wanted = wanted[(wanted <= until_ns) & (wanted <= plan.times_ns[-1])]
        if observation_ns + step * MS < START or not len(wanted):
            assert part is None
            return
        assert part is not None
        np.testing.assert_array_equal(part.times_ns, wanted)
        np.testing.assert_allclose(part.poses, pose_at(wanted), atol=1e-9)
        np.testing.assert_allclose(part.hand, hand_at(wanted), atol=1e-9)

    def test_without_a_plan_nothing_is_committed(self) -> None:
        assert committed_part(None, START, START + NS) is None
        assert committed_part(make_plan(1), START - 10 * MS, START + NS) is None

    def test_a_plan_that_is_over_commits_nothing(self) -> None:
        plan = make_plan(4)
        assert committed_part(plan, int(plan.times_ns[-1]), START + NS) is None
        assert committed_part(plan, int(plan.times_ns[-1]) - STEP + 1, START + NS) is None
        last = committed_part(plan, int(plan.times_ns[-1]) - STEP, START + NS)
        assert last is not None
        assert len(last.times_ns) == 1

    def test_a_gap_before_the_plan_commits_nothing(self) -> None:
        """The prefix of a chunk has no holes."""
        assert committed_part(make_plan(9), START - STEP - 1, START + NS) is None
        assert committed_part(make_plan(9), START - STEP, START + NS) is not None


class TestInterpolate:
    """Between rows on straight lines and shortest turns."""

    @given(st.lists(st.integers(0, 450), min_size=1, max_size=20))
    def test_constant_speed_is_met_exactly(self, milliseconds: list[int]) -> None:
        times_ns = START + MS * np.array(milliseconds, dtype=np.int64)
        found = interpolate(make_plan(10), times_ns)
        np.testing.assert_allclose(found.poses, pose_at(times_ns), atol=1e-9)
        np.testing.assert_allclose(found.hand, hand_at(times_ns), atol=1e-9)

    @pytest.mark.parametrize("rows", [1, 2, 5])
    def test_outside_it_is_constant(self, rows: int) -> None:
        plan = make_plan(rows)
        found = interpolate(plan, np.array([START - NS, START + NS]))
        np.testing.assert_allclose(found.poses, plan.poses[[0, -1]], atol=1e-12)
        np.testing.assert_allclose(found.hand, plan.hand[[0, -1]], atol=1e-12)

    def test_the_plan_is_left_alone(self) -> None:
        plan = make_plan(5)
        interpolate(plan, plan.times_ns + 20 * MS)
        np.testing.assert_array_equal(plan.poses, make_plan(5).poses)


class TestContinued:
    """After what is committed comes what the last chunk intended."""

    def make_chunk(self, observation_ns: int) -> ActionChunk:
        actions = np.full((8, 12), 0.7)
        actions[:, :6] = 0.0
        actions[:, 0] = 0.01 * np.arange(1, 9)
        return ActionChunk(actions, 0.05, np.eye(4), observation_ns, "p", "h")

    def test_rows_follow_at_the_same_step_to_the_end_of_the_chunk(self) -> None:
        chunk = self.make_chunk(START - 120 * MS)
        committed = committed_part(make_plan(20), START, START + 110 * MS)
        assert committed is not None
        plan = continued(committed, chunk)
        np.testing.assert_array_equal(plan.times_ns, START + STEP * np.arange(1, 6))  # the chunk ends 280 ms later
        np.testing.assert_array_equal(plan.poses[:2], committed.poses)
        steps = (plan.times_ns[2:] - chunk.observation_ns) / STEP
        np.testing.assert_allclose(plan.poses[2:, 0, 3], 0.01 * steps, atol=1e-12)
        np.testing.assert_allclose(plan.hand[2:], 0.7)

    def test_a_chunk_that_is_over_adds_nothing(self) -> None:
        committed = committed_part(make_plan(20), START, START + 110 * MS)
        assert committed is not None
        plan = continued(committed, self.make_chunk(START - NS))
        np.testing.assert_array_equal(plan.times_ns, committed.times_ns)


class TestDelayEstimator:
    """The longest of the last delays."""

    @given(st.lists(st.floats(), max_size=40), st.integers(1, 12), st.floats(0, 0.3), st.floats(0, 0.3))
    def test_is_bounded_and_never_below_a_recent_delay(
        self, delays: list[float], window: int, initial: float, more: float
    ) -> None:
        config = DelayConfig(window, initial, initial + more)
        estimator = DelayEstimator(config)
        for delay in delays:
            estimator.add(delay)
        valid = [delay for delay in delays if math.isfinite(delay) and delay >= 0]
        estimate = estimator.estimate()
        assert 0.0 <= estimate <= config.limit
        assert estimate == (min(max(valid[-window:]), config.limit) if valid else initial)

    @pytest.mark.parametrize(
        "values", [{"window": 0}, {"initial": -0.1}, {"initial": 0.6}, {"limit": math.inf}, {"initial": math.nan}]
    )
    def test_configurations_that_mean_nothing_are_refused(self, values: dict[str, float]) -> None:
        with pytest.raises(ValueError, match=r"window|initial"):
            DelayConfig(**values)  # type: ignore[arg-type]


class TestPlanTracker:
    """The policy's view of what the controller does."""

    def test_nothing_is_committed_without_a_plan_and_when_the_arm_is_stopped(self) -> None:
        tracker = PlanTracker(lead=0.02)
        assert tracker.committed(START, START) is None
        tracker.received(make_plan(20), 1, START)
        assert tracker.committed(START, START) is not None
        tracker.received(None, 1, START + 10 * MS)
        assert tracker.committed(START + 20 * MS, START + 20 * MS) is None

    def test_the_delay_is_measured_from_the_start_of_the_inference(self) -> None:
        tracker = PlanTracker(0.02, DelayConfig(initial=0.1))
        assert tracker.expected_delay == pytest.approx(0.12)
        tracker.inferred(4, START)
        tracker.received(make_plan(40), 3, START + 30 * MS)  # of another process
        assert tracker.expected_delay == pytest.approx(0.12)
        tracker.received(make_plan(40), 4, START + 190 * MS)
        assert tracker.expected_delay == pytest.approx(0.21)
        assert (tracker.plan_ns, tracker.takes_effect_ns(START + 240 * MS)) == (START + 190 * MS, START + 450 * MS)
        part = tracker.committed(START + 200 * MS, START + 240 * MS)
        assert part is not None
        np.testing.assert_array_equal(part.times_ns, START + 200 * MS + STEP * np.arange(1, 6))

    def test_the_plan_of_a_stop_measures_nothing(self) -> None:
        tracker = PlanTracker(0.0, DelayConfig(initial=0.1))
        tracker.inferred(4, START)
        tracker.received(None, 4, START + 400 * MS)
        tracker.received(make_plan(9), 4, START + 450 * MS)
        assert tracker.expected_delay == pytest.approx(0.1)

    def test_a_clock_that_was_set_back_voids_the_plan(self) -> None:
        tracker = PlanTracker(0.02)
        tracker.received(make_plan(20), 1, START)
        assert tracker.committed(START - 40 * MS, START - 20 * MS) is not None  # the clocks of two nodes differ
        assert tracker.committed(START - NS, START - NS) is None
        assert tracker.committed(START, START) is None, "it does not come back"

    @given(st.data())
    def test_whatever_happens_the_prefix_stays_within_plan_and_delay(self, data: st.DataObject) -> None:
        config = DelayConfig(window=3, initial=0.05, limit=0.3)
        tracker = PlanTracker(0.02, config)
        now_ns = START
        plan: CommittedPlan | None = None
        for chunk_id in range(data.draw(st.integers(1, 12))):
            now_ns += data.draw(st.integers(0, 600)) * MS
            observation_ns = now_ns - data.draw(st.integers(0, 100)) * MS
            part = tracker.committed(observation_ns, now_ns)
            assert 0.02 <= tracker.expected_delay <= 0.32
            if part is not None:
                assert plan is not None
                assert part.times_ns[0] == observation_ns + STEP
                assert part.times_ns[-1] <= min(plan.times_ns[-1], now_ns + 320 * MS)
            tracker.inferred(chunk_id, now_ns)
            if data.draw(st.booleans()):  # accepted
                now_ns += data.draw(st.integers(0, 500)) * MS
                plan = data.draw(st.sampled_from([None, make_plan(12, observation_ns)]))
                tracker.received(plan, chunk_id, now_ns)
