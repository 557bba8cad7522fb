"""Minimum-jerk paths: they go through their waypoints, at rest, within the speed limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vipa_inference.minimum_jerk import MinimumJerkPath, SpeedLimits, Waypoint
from vipa_inference.rotations import matrix_from_rotation_vector, rotation_vector_from_matrix

LIMITS = SpeedLimits()
START_NS = 1_700_000_000_000_000_000  # a date: nanoseconds must not go through floats


def waypoint(position=(0.4, 0.0, 0.3), vector=(0.0, 0.0, 0.0), hand=1.0):
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = matrix_from_rotation_vector(vector), position
    return Waypoint(pose, np.full(6, hand))


waypoints = st.builds(
    waypoint,
    st.tuples(*[st.floats(-1, 1)] * 3),
    st.tuples(*[st.floats(-1.5, 1.5)] * 3),
    st.floats(0, 1),
)


@settings(max_examples=40, deadline=None)
@given(waypoints, st.lists(waypoints, min_size=1, max_size=4))
def test_a_path_reaches_every_waypoint_within_the_speed_limits(start, targets):
    path = MinimumJerkPath(start, START_NS)
    for target in targets:
        path.go_to(target, START_NS, LIMITS)
        poses, hands = path.sample(np.array([path.end_ns, path.end_ns + 10**9]))
        np.testing.assert_allclose(poses, [target.pose] * 2, atol=1e-9)
        np.testing.assert_allclose(hands, [target.hand] * 2, atol=1e-9)
    step_ns = 5_000_000
    poses, hands = path.sample(np.arange(START_NS - step_ns, path.end_ns + 2 * step_ns, step_ns))
    seconds = step_ns * 1e-9
    turns = rotation_vector_from_matrix(poses[1:, :3, :3] @ poses[:-1, :3, :3].transpose(0, 2, 1))
    assert np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).max() / seconds <= LIMITS.linear * 1.001
    assert np.linalg.norm(turns, axis=1).max() / seconds <= LIMITS.angular * 1.001
    assert np.abs(np.diff(hands, axis=0)).max() / seconds <= LIMITS.hand * 1.001


def test_it_rests_at_the_start_between_segments_and_at_the_end():
    path = MinimumJerkPath(waypoint(), START_NS)
    path.go_to(waypoint((0.5, 0.0, 0.3)), START_NS + 1_000_000_000, LIMITS)
    middle_ns = path.end_ns
    path.go_to(waypoint((0.5, 0.1, 0.3)), middle_ns + 1_000_000_000, LIMITS)
    times = np.array(
        [START_NS - 10**12, START_NS + 999_000_000, middle_ns, middle_ns + 999_000_000, path.end_ns + 10**12]
    )
    poses, _ = path.sample(times)
    np.testing.assert_allclose(poses[:, 0, 3], [0.4, 0.4, 0.5, 0.5, 0.5], atol=1e-12)
    np.testing.assert_allclose(poses[:, 1, 3], [0.0, 0.0, 0.0, 0.0, 0.1], atol=1e-12)


def test_a_segment_asked_for_too_early_waits_for_the_one_before():
    path = MinimumJerkPath(waypoint(), START_NS)
    path.go_to(waypoint((0.6, 0.0, 0.3)), START_NS, LIMITS)
    first_end_ns = path.end_ns
    path.go_to(waypoint((0.6, 0.2, 0.3)), START_NS, LIMITS)
    poses, _ = path.sample(np.array([first_end_ns]))
    np.testing.assert_allclose(poses[0, :3, 3], [0.6, 0.0, 0.3], atol=1e-12)


def test_forgetting_the_past_does_not_change_the_future():
    path = MinimumJerkPath(waypoint(), START_NS)
    for k in range(5):
        path.go_to(waypoint((0.4 + 0.05 * k, 0.02 * k, 0.3), hand=0.2 * k), START_NS, LIMITS)
    now_ns = START_NS + 1_300_000_000
    times = np.arange(now_ns, path.end_ns, 20_000_000)
    before = path.sample(times)
    path.forget_before(now_ns)
    assert START_NS < path.start_ns <= now_ns
    np.testing.assert_array_equal(path.sample(times)[0], before[0])
    path.forget_before(path.end_ns + 10**12)
    np.testing.assert_allclose(path.sample(np.array([path.end_ns]))[0][0], path.end.pose, atol=1e-12)


@pytest.mark.parametrize("key", ["linear", "angular", "hand", "shortest"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_limits_must_be_positive(key, value):
    with pytest.raises(ValueError, match=key):
        SpeedLimits(**{key: value})
