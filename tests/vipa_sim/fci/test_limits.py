"""Checks of commanded motion: nothing within the limits aborts, whatever breaks one aborts with its error."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vipa_sim.fci import KinematicPlant, limits
from vipa_sim.fci.motion import CartesianMotion, JointMotion, Setpoint, displacement, moved
from vipa_sim.fci.plant import HOME
from vipa_sim.fci.protocol import Error

STEPS = 400
MODERATE = settings(max_examples=25, deadline=None)
joints = st.integers(0, 6)


def command(q=(0.0,) * 7, dq=(0.0,) * 7, pose=(0.0,) * 16, twist=(0.0,) * 6, elbow=None) -> tuple:
    """One real-time command as it is unpacked."""
    elbow_values = (0.0, 0.0) if elbow is None else elbow
    return (1, *q, *dq, *pose, *twist, *elbow_values, int(elbow is not None), 0, *(0.0,) * 7, 0)


def smooth_path(joint: int, amplitude: float) -> np.ndarray:
    """(STEPS, 7) rad: one joint goes out by ``amplitude`` with continuous acceleration (a minimum-jerk quintic)."""
    s = np.linspace(0.0, 1.0, STEPS)
    path = np.tile(HOME, (STEPS, 1))
    path[:, joint] += amplitude * (10 * s**3 - 15 * s**4 + 6 * s**5)
    return path


def run(path: np.ndarray, motion: JointMotion) -> Error | None:
    """Feed a path; the first error."""
    for q in path:
        error = motion.advance(command(q=q.tolist()))
        if error is not None:
            return error
    return None


def joint_motion(**arguments) -> tuple[Setpoint, JointMotion]:
    setpoint = Setpoint(HOME)
    return setpoint, JointMotion(setpoint, **({"velocities": False, "strict": True} | arguments))


@given(joint=joints, amplitude=st.floats(-0.19, 0.19))
@MODERATE
def test_motion_within_limits_never_aborts(joint: int, amplitude: float):
    # A quintic over 0.4 s peaks at 5.77 d/T² rad/s² and starts with 60 d/T³ rad/s³: 6.9 and 178 for 0.19 rad.
    setpoint, motion = joint_motion()
    path = smooth_path(joint, amplitude)
    assert run(path, motion) is None
    assert setpoint.q == pytest.approx(path[-1])
    assert motion.check_finish() is None


@given(joint=joints, at=st.integers(2, STEPS - 2), sign=st.sampled_from((-1.0, 1.0)), jump=st.floats(2e-5, 5e-3))
@MODERATE
def test_a_jump_in_position_is_a_velocity_discontinuity(joint: int, at: int, sign: float, jump: float):
    _, motion = joint_motion()
    path = smooth_path(joint, 0.0)
    path[at:, joint] += sign * jump
    expected = {Error.JOINT_MOTION_GENERATOR_VELOCITY_DISCONTINUITY}
    if jump > 1.5e-3:  # then it may be too fast as well
        expected.add(Error.JOINT_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION)
    assert run(path, motion) in expected


@given(joint=joints, at=st.integers(2, 300), acceleration=st.floats(6.5, 9.9))
@MODERATE
def test_a_jump_in_acceleration_is_an_acceleration_discontinuity(joint: int, at: int, acceleration: float):
    _, motion = joint_motion()
    path = smooth_path(joint, 0.0)
    k = np.arange(1, STEPS - at + 1)
    path[at:, joint] += acceleration * 1e-6 * k * (k + 1) / 2
    assert run(path, motion) is Error.JOINT_MOTION_GENERATOR_ACCELERATION_DISCONTINUITY


@given(joint=joints, towards_upper=st.booleans())
@MODERATE
def test_approaching_the_end_of_the_range_too_fast_is_a_velocity_violation(joint: int, towards_upper: bool):
    # Ramp up to full speed with little jerk and never brake: the limit that falls towards the end must strike first.
    setpoint, motion = joint_motion(velocities=True)
    dq, ddq = 0.0, 0.0
    sign = 1.0 if towards_upper else -1.0
    error = None
    for _ in range(10_000):
        ddq = min(ddq + 4.0, 9.0) if dq < 0.9 * limits.DQ_MAX[joint] else max(ddq - 4.0, 0.0)
        dq += ddq * 1e-3
        velocities = [0.0] * 7
        velocities[joint] = sign * dq
        error = motion.advance(command(dq=velocities))
        if error is not None:
            break
    assert error is Error.JOINT_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION
    lowest, highest = limits.velocity_limits(joint, setpoint.q[joint])
    assert (highest if towards_upper else -lowest) == pytest.approx(dq, abs=0.05)
    assert limits.Q_LOWER[joint] < setpoint.q[joint] < limits.Q_UPPER[joint]


@given(joint=joints, beyond=st.floats(1e-6, 1.0), upper=st.booleans())
@MODERATE
def test_a_position_beyond_the_range_is_a_position_violation(joint: int, beyond: float, upper: bool):
    q = list(HOME)
    q[joint] = limits.Q_UPPER[joint] + beyond if upper else limits.Q_LOWER[joint] - beyond
    error = limits.check_joint_motion(q, [0.0] * 7, [0.0] * 7, [0.0] * 7)
    assert error is Error.JOINT_MOTION_GENERATOR_POSITION_LIMITS_VIOLATION


@given(joint=joints, q=st.floats(0.0, 1.0), speed=st.floats(-6.0, 6.0))
@settings(max_examples=200, deadline=None)
def test_velocity_check_agrees_with_the_formula_of_the_limit(joint: int, q: float, speed: float):
    position = list(HOME)
    position[joint] = limits.Q_LOWER[joint] + q * (limits.Q_UPPER[joint] - limits.Q_LOWER[joint])
    lowest, highest = limits.velocity_limits(joint, position[joint])
    assume(abs(speed - highest) > 2e-3 and abs(speed - lowest) > 2e-3 and abs(speed) > 2e-3)
    dq = [0.0] * 7
    dq[joint] = speed
    error = limits.check_joint_motion(position, dq, [0.0] * 7, [0.0] * 7)
    assert (error is None) == (lowest <= speed <= highest)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@given(joint=joints)
@settings(max_examples=7, deadline=None)
def test_what_is_no_number_never_passes(value: float, joint: int):
    zeros, bad = [0.0] * 7, [0.0] * 7
    bad[joint] = value
    assert limits.check_joint_motion(bad, zeros, zeros, zeros) is not None
    assert limits.check_joint_motion(list(HOME), zeros, bad, zeros) is not None
    assert limits.check_torques(bad, zeros) is not None
    assert limits.check_cartesian_motion(bad[:6] if joint < 6 else bad[1:], zeros[:6], zeros[:6]) is not None


def test_a_start_far_from_the_setpoint_is_refused():
    _, motion = joint_motion()
    q = list(HOME)
    q[2] += 0.02
    assert motion.advance(command(q=q)) is Error.JOINT_POSITION_MOTION_GENERATOR_START_POSE_INVALID


def test_a_motion_must_not_end_while_it_moves():
    _, motion = joint_motion()
    run(smooth_path(0, 0.15)[:200], motion)
    assert motion.check_finish() is Error.JOINT_MOTION_GENERATOR_VELOCITY_DISCONTINUITY


@given(lost=st.integers(1, 15), at=st.integers(20, 300), amplitude=st.floats(-0.1, 0.1))
@MODERATE
def test_lost_commands_go_on_at_constant_acceleration(lost: int, at: int, amplitude: float):
    setpoint, motion = joint_motion()
    path = smooth_path(1, amplitude)
    run(path[:at], motion)
    q, dq, ddq = setpoint.q[1], setpoint.dq[1], setpoint.ddq[1]
    for _ in range(lost):
        assert motion.advance(None) is None
    t = lost * 1e-3
    assert setpoint.q[1] == pytest.approx(q + dq * t + ddq * t * (t + 1e-3) / 2, abs=1e-9)
    assert setpoint.ddq[1] == ddq


def test_without_strict_only_the_motion_itself_counts():
    setpoint, motion = joint_motion(strict=False)
    q = [v + 0.5 for v in HOME]
    assert motion.advance(command(q=q)) is None
    assert setpoint.q == q


@given(
    dq=st.lists(st.floats(-2.5, 2.5), min_size=7, max_size=7),
)
@MODERATE
def test_braking_keeps_the_acceleration_limit_and_ends_standing(dq: list[float]):
    setpoint = Setpoint(HOME)
    setpoint.hold(HOME, dq)
    for _ in range(300):
        before = setpoint.dq
        standing = setpoint.brake()
        change = np.abs(np.subtract(setpoint.dq, before))
        assert change.max() <= limits.DDQ_MAX * 1e-3 + 1e-12
        assert (np.array(limits.Q_LOWER) <= setpoint.q).all()
        assert (np.array(limits.Q_UPPER) >= setpoint.q).all()
        if standing:
            break
    assert standing
    assert setpoint.dq == [0.0] * 7


@given(joint=joints, change=st.floats(1.01, 80.0), sign=st.sampled_from((-1.0, 1.0)))
@MODERATE
def test_torque_checks(joint: int, change: float, sign: float):
    torques, before = [0.0] * 7, [0.0] * 7
    torques[joint] = sign * change
    over = change > limits.TAU_MAX[joint]
    expected = Error.TAU_J_RANGE_VIOLATION if over else Error.CONTROLLER_TORQUE_DISCONTINUITY
    assert limits.check_torques(torques, before) is expected
    before[joint] = torques[joint] - sign * 0.99
    assert (limits.check_torques(torques, before) is None) == (not over)


# Cartesian motions


def cartesian_motion(**arguments) -> tuple[Setpoint, CartesianMotion, KinematicPlant]:
    plant, setpoint = KinematicPlant(time_ns=0), Setpoint(HOME)
    motion = CartesianMotion(setpoint, plant, np.eye(4), **({"velocities": False, "strict": True} | arguments))
    return setpoint, motion, plant


@given(axis=st.integers(0, 2), amplitude=st.floats(-0.03, 0.03))
@settings(max_examples=10, deadline=None)
def test_a_smooth_pose_path_is_followed(axis: int, amplitude: float):
    setpoint, motion, plant = cartesian_motion()
    start = list(motion.pose)
    for s in np.linspace(0.0, 1.0, STEPS):
        pose = list(start)
        pose[12 + axis] += amplitude * (10 * s**3 - 15 * s**4 + 6 * s**5)
        assert motion.advance(command(pose=pose, elbow=(HOME[2], -1.0))) is None
    assert motion.check_finish() is None
    np.testing.assert_allclose(plant.flange_pose(np.array(setpoint.q)).T.ravel(), pose, atol=1e-6)
    assert setpoint.q[2] == pytest.approx(HOME[2], abs=1e-6)  # the elbow stayed


def test_twists_are_integrated_to_the_pose_that_the_arm_takes():
    setpoint, motion, plant = cartesian_motion(velocities=True)
    for s in np.linspace(0.0, 1.0, STEPS):
        speed = 0.2 * math.sin(math.pi * s) ** 2
        assert motion.advance(command(twist=(0.0, 0.0, -speed, speed, 0.0, 0.0), elbow=(HOME[2], -1.0))) is None
    pose = plant.flange_pose(np.array(setpoint.q))
    np.testing.assert_allclose(pose.T.ravel(), motion.pose, atol=1e-6)
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-9)
    assert plant.flange_pose(np.array(HOME))[2, 3] - pose[2, 3] == pytest.approx(0.04, rel=0.01)


@pytest.mark.parametrize(
    ("jump", "error"),
    [
        (0.004, Error.CARTESIAN_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION),
        (0.00002, Error.CARTESIAN_MOTION_GENERATOR_VELOCITY_DISCONTINUITY),
        (0.000006, Error.CARTESIAN_MOTION_GENERATOR_ACCELERATION_DISCONTINUITY),
        (0.02, Error.CARTESIAN_POSITION_MOTION_GENERATOR_START_POSE_INVALID),
    ],
)
def test_a_jump_of_the_pose_is_named_by_what_it_breaks(jump: float, error: Error):
    _, motion, _ = cartesian_motion()
    pose = list(motion.pose)
    pose[13] += jump
    assert motion.advance(command(pose=pose)) is error


def test_a_matrix_that_is_no_pose_is_refused():
    _, motion, _ = cartesian_motion()
    for index, value in ((0, 1.2), (3, 0.1), (15, 2.0), (5, math.nan)):
        pose = list(motion.pose)
        pose[index] = value
        assert motion.advance(command(pose=pose)) is Error.CARTESIAN_POSITION_MOTION_GENERATOR_INVALID_FRAME


def test_elbow_commands_are_checked():
    _, motion, _ = cartesian_motion()
    pose = list(motion.pose)
    sign = motion.advance(command(pose=pose, elbow=(HOME[2], 1.0)))
    assert sign is Error.CARTESIAN_MOTION_GENERATOR_ELBOW_SIGN_INCONSISTENT
    start = motion.advance(command(pose=pose, elbow=(HOME[2] + 0.1, -1.0)))
    assert start is Error.CARTESIAN_MOTION_GENERATOR_START_ELBOW_INVALID
    speed = motion.advance(command(pose=pose, elbow=(HOME[2] + 0.005, -1.0)))
    assert speed is Error.CARTESIAN_MOTION_GENERATOR_ELBOW_LIMIT_VIOLATION


@given(
    twist=st.lists(st.floats(-2.0, 2.0), min_size=6, max_size=6),
    q=st.lists(st.floats(-1.0, 1.0), min_size=7, max_size=7),
)
@MODERATE
def test_moving_and_measuring_the_displacement_are_inverse(twist: list[float], q: list[float]):
    pose = KinematicPlant(time_ns=0).flange_pose(np.array(q)).T.reshape(16).tolist()
    measured = np.array(displacement(pose, moved(pose, twist))) * 1e3
    np.testing.assert_allclose(measured, twist, atol=1e-4)


@given(q=st.lists(st.floats(-1.0, 1.0), min_size=7, max_size=7))
@MODERATE
def test_jacobian_is_the_derivative_of_the_pose(q: list[float]):
    plant = KinematicPlant(time_ns=0)
    jacobian = plant.flange_jacobian(np.array(q))
    for joint in range(7):
        step = np.zeros(7)
        step[joint] = 1e-6
        before, after = (plant.flange_pose(np.array(q) + s).T.ravel().tolist() for s in (-step, step))
        np.testing.assert_allclose(np.array(displacement(before, after)) / 2e-6, jacobian[:, joint], atol=1e-6)
