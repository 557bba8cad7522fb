"""Kinematics: against reference poses, finite differences, and random reachable targets."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vipa.control.kinematics import Kinematics, KinematicsConfig, is_rigid_pose
from vipa.hardware.fr3.limits import JOINT_LOWER, JOINT_UPPER
from vipa_inference.rotations import matrix_from_rotation_vector, rotation_vector_from_matrix

Array = NDArray[np.float64]
HOME = np.array([0.0, -0.4, 0.0, -2.4, 0.0, 2.0, 0.785])
LOWER, UPPER = JOINT_LOWER + 0.1, JOINT_UPPER - 0.1

seeds = st.integers(0, 2**32 - 1)


def random_q(rng: np.random.Generator, share: float = 1.0) -> Array:
    """Joint positions within the middle ``share`` of the usable range."""
    middle, half = 0.5 * (LOWER + UPPER), 0.5 * (UPPER - LOWER)
    return middle + share * half * rng.uniform(-1.0, 1.0, 7)


def moved(pose: Array, translation: Array, rotation: Array) -> Array:
    out = pose.copy()
    out[:3, 3] += translation
    out[:3, :3] = matrix_from_rotation_vector(rotation) @ pose[:3, :3]
    return out


def random_move(rng: np.random.Generator, metres: float, radians: float) -> tuple[Array, Array]:
    a, b = rng.normal(size=3), rng.normal(size=3)
    return metres * rng.random() * a / np.linalg.norm(a), radians * rng.random() * b / np.linalg.norm(b)


def test_stretched_arm_has_the_published_dimensions() -> None:
    pose = Kinematics().forward(np.zeros(7))
    np.testing.assert_allclose(pose[:3, 3], [0.088, 0.0, 0.333 + 0.316 + 0.384 - 0.107], atol=1e-12)
    np.testing.assert_allclose(pose[:3, :3], np.diag([1.0, -1.0, -1.0]), atol=1e-12)


def test_each_link_turns_about_its_own_axis() -> None:
    """Joint 1 turns everything about the vertical; the last joint turns only the orientation."""
    kinematics = Kinematics()
    pose = kinematics.forward(HOME)
    turned = kinematics.forward(HOME + np.array([0.3, 0, 0, 0, 0, 0, 0]))
    about_z = np.eye(4)
    about_z[:3, :3] = matrix_from_rotation_vector([0.0, 0.0, 0.3])
    np.testing.assert_allclose(turned, about_z @ pose, atol=1e-12)
    last = kinematics.forward(HOME + np.array([0, 0, 0, 0, 0, 0, 0.3]))
    np.testing.assert_allclose(last[:3, 3], pose[:3, 3], atol=1e-12)
    np.testing.assert_allclose(last[:3, :3], pose[:3, :3] @ about_z[:3, :3], atol=1e-12)


def test_tool_is_applied_in_the_flange_frame() -> None:
    tool = np.eye(4)
    tool[:3, :3] = matrix_from_rotation_vector([0.1, -0.7, 0.4])
    tool[:3, 3] = 0.02, -0.01, 0.15
    np.testing.assert_allclose(
        Kinematics(flange_to_end_effector=tool).forward(HOME), Kinematics().forward(HOME) @ tool, atol=1e-12
    )


@given(seeds)
@settings(max_examples=50, deadline=None)
def test_batched_forward_agrees_with_single(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tool = np.eye(4)
    tool[:3, 3] = rng.normal(size=3) * 0.1
    kinematics = Kinematics(flange_to_end_effector=tool)
    q = np.stack([random_q(rng) for _ in range(6)])
    poses = kinematics.forward(q.reshape(2, 3, 7))
    assert poses.shape == (2, 3, 4, 4)
    np.testing.assert_allclose(poses.reshape(6, 4, 4), [kinematics.forward(row) for row in q], atol=1e-12)
    assert all(is_rigid_pose(pose, 1e-9) for pose in poses.reshape(6, 4, 4))


@given(seeds)
@settings(max_examples=50, deadline=None)
def test_jacobian_agrees_with_finite_differences(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tool = np.eye(4)
    tool[:3, 3] = rng.normal(size=3) * 0.1
    kinematics = Kinematics(flange_to_end_effector=tool)
    q, h = random_q(rng), 1e-6
    expected = np.empty((6, 7))
    for i in range(7):
        step = np.zeros(7)
        step[i] = h
        ahead, behind = kinematics.forward(q + step), kinematics.forward(q - step)
        expected[:3, i] = (ahead[:3, 3] - behind[:3, 3]) / (2 * h)
        expected[3:, i] = rotation_vector_from_matrix(ahead[:3, :3] @ behind[:3, :3].T) / (2 * h)
    np.testing.assert_allclose(kinematics.jacobian(q), expected, atol=1e-7)


def test_inverse_finds_nearly_every_near_target() -> None:
    """Targets up to 0.1 m and 0.3 rad from the start, kept where the arm can reach: at least 99 % are found."""
    rng = np.random.default_rng(7)
    kinematics = Kinematics()
    found = tried = 0
    while tried < 400:
        start = random_q(rng, 0.8)
        target = moved(kinematics.forward(start), *random_move(rng, 0.1, 0.3))
        if not 0.3 < np.linalg.norm(target[:3, 3] - [0.0, 0.0, 0.333]) < 0.7:
            continue  # folded up against the shoulder, or out of reach
        tried += 1
        result = kinematics.solve(target, start)
        reached = kinematics.forward(result.q)
        assert ((result.q >= LOWER - 1e-9) & (result.q <= UPPER + 1e-9)).all()
        position_error = float(np.linalg.norm(reached[:3, 3] - target[:3, 3]))
        rotation_error = float(np.linalg.norm(rotation_vector_from_matrix(target[:3, :3] @ reached[:3, :3].T)))
        assert result.position_error == pytest.approx(position_error, abs=1e-9)
        assert result.rotation_error == pytest.approx(rotation_error, abs=1e-7)
        assert result.converged == (position_error <= 1e-4 and rotation_error <= 1e-3)
        found += result.converged
    assert found >= 0.99 * tried, f"{found} of {tried}"


@given(seeds)
@settings(max_examples=50, deadline=None)
def test_inverse_of_forward_stays_with_the_start(seed: int) -> None:
    """Without the pull to the rest posture a start that is already right is not changed."""
    kinematics = Kinematics(KinematicsConfig(rest_gain=0.0))
    q = random_q(np.random.default_rng(seed))
    result = kinematics.solve(kinematics.forward(q), q)
    assert result.converged
    np.testing.assert_allclose(result.q, q, atol=1e-12)


def test_null_space_drifts_to_the_rest_posture_without_moving_the_hand() -> None:
    kinematics = Kinematics(KinematicsConfig(rest_gain=0.05))
    target = kinematics.forward(HOME)
    start = kinematics.solve(target, HOME + np.array([0.8, 0.2, -0.8, 0.1, 0.5, 0.1, -0.3])).q
    q, errors = kinematics.solve_path(np.tile(target, (200, 1, 1)), start)
    assert errors[:, 0].max() < 1e-4
    assert errors[:, 1].max() < 1e-3
    assert np.abs(start - HOME).max() > 0.3
    assert np.abs(q[-1] - HOME).max() < 0.02
    assert np.abs(np.diff(q, axis=0)).max() < 0.1 * np.abs(start - HOME).max()


def test_a_joint_at_its_limit_is_held_and_the_others_take_over() -> None:
    kinematics = Kinematics()
    start = HOME.copy()
    start[6] = UPPER[6] - 0.02
    target = moved(kinematics.forward(start), np.zeros(3), kinematics.forward(start)[:3, 2] * 0.2)
    result = kinematics.solve(target, start)
    assert (result.q <= UPPER + 1e-12).all()
    assert result.position_error < 0.02


@given(seeds)
@settings(max_examples=50, deadline=None)
def test_unreachable_targets_give_finite_joints_inside_the_limits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinematics = Kinematics()
    target = moved(kinematics.forward(HOME), rng.normal(size=3) * 10 ** rng.uniform(0, 6), rng.normal(size=3) * 3)
    result = kinematics.solve(target, random_q(rng) + rng.normal(size=7))
    assert np.isfinite(result.q).all()
    assert ((result.q >= LOWER - 1e-9) & (result.q <= UPPER + 1e-9)).all()
    assert result.converged == (result.position_error <= 1e-4 and result.rotation_error <= 1e-3)


def test_steps_near_a_singularity_are_damped() -> None:
    """Pulled out beyond its reach the arm goes straight, and then does not whip about."""
    kinematics = Kinematics()
    start = np.array([0.0, 0.4, 0.0, -1.4, 0.0, 1.8, 0.785])
    pose = kinematics.forward(start)
    targets = np.tile(pose, (60, 1, 1))
    targets[:, 0, 3] += 0.01 * np.arange(1, 61)
    q, errors = kinematics.solve_path(targets, start)
    assert errors[-1, 0] > 0.05
    assert min(kinematics.smallest_singular_value(row) for row in q) < 0.06
    assert np.abs(np.diff(q, axis=0)).max() < 0.35


@pytest.mark.parametrize("angle", [3.0, 3.14, np.pi])
def test_a_large_turn_is_approached_about_the_right_axis(angle: float) -> None:
    kinematics = Kinematics(KinematicsConfig(rest_gain=0.0, max_iterations=1))
    start = HOME.copy()
    start[6] = 0.0
    pose = kinematics.forward(start)
    target = moved(pose, np.zeros(3), angle * pose[:3, 2])
    result = kinematics.solve(target, start)
    assert result.rotation_error < angle - 0.3


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("joint_margin", -0.1),
        ("max_iterations", 0),
        ("position_tolerance", 0.0),
        ("damping", float("nan")),
        ("rest_posture", (0.0,)),
    ],
)
def test_bad_settings_name_the_key(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=key):
        KinematicsConfig(**{key: value})


@pytest.mark.parametrize("tool", [np.zeros((4, 4)), np.eye(3), np.diag([1.0, 1.0, -1.0, 1.0]), np.full((4, 4), np.nan)])
def test_a_tool_that_is_no_pose_is_refused(tool: Array) -> None:
    with pytest.raises(ValueError, match="flange_to_end_effector"):
        Kinematics(flange_to_end_effector=tool)
