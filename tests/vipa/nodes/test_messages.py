"""Conversions between ROS messages and the stack's types."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

pytest.importorskip("rclpy", reason="needs ROS 2")
messages = pytest.importorskip("vipa.nodes.messages", reason="needs the built vipa_msgs")

from vipa.errors import VipaError  # noqa: E402
from vipa_inference.policy import ActionChunk, ChunkSources, CommittedPlan  # noqa: E402
from vipa_inference.rotations import matrix_from_rotation_vector  # noqa: E402

pytestmark = pytest.mark.ros
small = st.floats(-1.0, 1.0)


@given(st.integers(0, 2**31 * 10**9 - 1))
def test_time_round_trip_is_exact(stamp_ns: int) -> None:
    assert messages.to_ns(messages.to_time(stamp_ns)) == stamp_ns


@given(hnp.arrays(np.float64, 3, elements=small), hnp.arrays(np.float64, 3, elements=st.floats(-1.7, 1.7)))
def test_pose_round_trip(position: Any, rotation: Any) -> None:
    pose = np.eye(4)
    pose[:3, 3], pose[:3, :3] = position, matrix_from_rotation_vector(rotation)
    np.testing.assert_allclose(messages.from_pose(messages.to_pose(pose)), pose, atol=1e-12)


def test_a_zero_quaternion_becomes_nan() -> None:
    pose = messages.to_pose(np.eye(4))
    pose.orientation.w = 0.0
    assert np.isnan(messages.from_pose(pose)[:3, :3]).all()


@settings(max_examples=20)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8), st.just(3))))
def test_color_image_round_trip(pixels: Any) -> None:
    message = messages.to_image(pixels, "rgb8", messages.to_time(5), "front")
    assert message.step == pixels.shape[1] * 3
    np.testing.assert_array_equal(messages.from_image(message), pixels)


def test_depth_image_round_trip() -> None:
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4) * 4000
    np.testing.assert_array_equal(
        messages.from_image(messages.to_image(pixels, "16UC1", messages.to_time(5), "d")), pixels
    )


def test_a_sliced_image_is_packed() -> None:
    pixels = np.arange(2 * 6 * 3, dtype=np.uint8).reshape(2, 6, 3)[:, ::2]
    message = messages.to_image(np.ascontiguousarray(pixels), "rgb8", messages.to_time(5), "front")
    np.testing.assert_array_equal(messages.from_image(message), pixels)


def test_a_truncated_image_is_named() -> None:
    message = messages.to_image(np.zeros((4, 4, 3), np.uint8), "rgb8", messages.to_time(5), "front")
    message.data = message.data[:-1]
    with pytest.raises(VipaError, match="front: 47 values for 4 x 4 x 3"):
        messages.from_image(message)
    message.encoding = "bayer_rggb8"
    with pytest.raises(VipaError, match="bayer_rggb8"):
        messages.from_image(message)


def test_joint_trajectory_round_trip() -> None:
    times, q, dq = np.array([0.05, 0.1]), np.arange(14.0).reshape(2, 7), np.ones((2, 7))
    message = messages.to_joint_trajectory(7, list("abcdefg"), times, q, dq)
    start, t, p, v = messages.from_joint_trajectory(message)
    assert start == 7
    np.testing.assert_allclose(t, times)
    np.testing.assert_array_equal(p, q)
    np.testing.assert_array_equal(v, dq)


def test_a_ragged_trajectory_is_an_error() -> None:
    message = messages.to_joint_trajectory(7, ["a", "b"], np.array([0.05, 0.1]), np.zeros((2, 2)))
    message.points[1].positions = [0.0]
    with pytest.raises(VipaError, match="differ in length"):
        messages.from_joint_trajectory(message)


def test_action_chunk_round_trip() -> None:
    chunk = ActionChunk(
        actions=np.random.default_rng(0).normal(size=(16, 12)),
        step_period=0.05,
        reference_pose=np.eye(4),
        observation_ns=10,
        policy="p",
        policy_hash="h",
        chunk_id=3,
        exposures_ns={"front": 10, "side": 12},
        received_ns=20,
        inference_start_ns=21,
        inference_end_ns=22,
        instruction="touch",
        sources=ChunkSources(7 * 10**9 + 1, 8, 9, 11, 4),
    )
    back = messages.from_chunk_message(messages.to_chunk_message(chunk, 30, "base"))
    np.testing.assert_array_equal(back.actions, chunk.actions)
    np.testing.assert_allclose(back.reference_pose, chunk.reference_pose)
    for name in (
        *("step_period", "observation_ns", "policy", "policy_hash", "chunk_id"),
        *("exposures_ns", "instruction", "sources"),
    ):
        assert getattr(back, name) == getattr(chunk, name)


@pytest.mark.parametrize(("horizon", "dimension"), [(15, 12), (0, 0), (16, 11), (2**31, 12)])
def test_a_chunk_whose_size_disagrees_is_an_error(horizon: int, dimension: int) -> None:
    chunk = ActionChunk(np.zeros((16, 12)), 0.05, np.eye(4), 10, "p", "h")
    message = messages.to_chunk_message(chunk, 30, "base")
    message.horizon, message.dimension = horizon, dimension
    with pytest.raises(VipaError, match="192 values"):
        messages.from_chunk_message(message)


def make_plan(rows: int = 5) -> CommittedPlan:
    times_ns = 3 * 10**9 + 7 + 50_000_000 * np.arange(rows, dtype=np.int64)
    poses = np.tile(np.eye(4), (rows, 1, 1))
    poses[:, :3, 3] = np.arange(3 * rows).reshape(rows, 3) / 10
    poses[:, :3, :3] = matrix_from_rotation_vector(np.linspace(-1.5, 1.5, 3 * rows).reshape(rows, 3))
    return CommittedPlan(times_ns, poses, np.linspace(0.0, 1.0, 6 * rows).reshape(rows, 6))


@pytest.mark.parametrize("rows", [1, 5])
def test_committed_plan_round_trip(rows: int) -> None:
    plan = make_plan(rows)
    message = messages.to_plan_message(plan, 8, 4 * 10**9, "base")
    assert (message.chunk_id, messages.to_ns(message.header.stamp), message.header.frame_id) == (8, 4 * 10**9, "base")
    back = messages.from_plan_message(message)
    np.testing.assert_array_equal(back.times_ns, plan.times_ns)
    np.testing.assert_allclose(back.poses, plan.poses, atol=1e-12)
    np.testing.assert_array_equal(back.hand, plan.hand)


def test_a_plan_without_rows_commits_nothing() -> None:
    message = messages.to_plan_message(None, 8, 4 * 10**9, "base")
    assert len(message.poses) == 0
    assert messages.from_plan_message(message) is None


def test_a_malformed_plan_is_an_error() -> None:
    for spoil, complaint in (
        (lambda m: m.poses.pop(), "5 offsets and 30 hand targets for 4 poses"),
        (lambda m: setattr(m, "offsets", []), "0 offsets"),
        (lambda m: m.hand.pop(), "29 hand targets"),
        (lambda m: m.offsets.reverse(), "offsets do not increase"),
        (lambda m: m.offsets.__setitem__(4, float("nan")), "offsets do not increase"),
        (lambda m: m.offsets.__setitem__(4, 1e300), "offsets do not increase"),
        (lambda m: m.hand.__setitem__(3, float("inf")), "not finite"),
        (lambda m: setattr(m.poses[2].orientation, "w", float("nan")), "not finite"),
        (lambda m: setattr(m.poses[2].position, "x", float("inf")), "not finite"),
    ):
        message = messages.to_plan_message(make_plan(), 8, 4 * 10**9, "base")
        spoil(message)
        with pytest.raises(VipaError, match=f"plan of chunk 8: .*{complaint}"):
            messages.from_plan_message(message)
