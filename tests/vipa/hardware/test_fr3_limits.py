"""Joint limits of the FR3, and the checks that a trajectory passes before the robot sees it."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vipa.config import from_mapping
from vipa.errors import ConfigurationError
from vipa.hardware.fr3 import ArmMode, ArmReading, FR3Config, JointTrajectory
from vipa.hardware.fr3.limits import (
    JOINT_ACCELERATION,
    JOINT_JERK,
    JOINT_LOWER,
    JOINT_UPPER,
    JOINT_VELOCITY,
    PLANNER_ACCELERATION,
    PLANNER_JERK,
    PLANNER_VELOCITY,
    braking_distance,
    velocity_limits,
)
from vipa.hardware.fr3.robot import flange_pose
from vipa.hardware.fr3.trajectory import Checker, Plan, thinned

HOME = np.array([0.0, -math.pi / 4, 0.0, -3 * math.pi / 4, 0.0, math.pi / 2, math.pi / 4])
NOW = 1_700_000_000_000_000_000
CONFIG = FR3Config("127.0.0.1")
AT_HOME = ArmReading(ArmMode.IDLE, desired_joint_positions=HOME)

shares = arrays(np.float64, 7, elements=st.floats(0.0, 1.0))


def inside(share: np.ndarray) -> np.ndarray:
    """Joint positions at a share of each joint's range."""
    return JOINT_LOWER + share * (JOINT_UPPER - JOINT_LOWER)


# ------------------------------------------------------------------------------------------------------------- limits
@settings(max_examples=100, deadline=None)
@given(shares)
def test_velocity_limits_hold_zero_and_stay_below_the_rated_velocity(share: np.ndarray) -> None:
    lower, upper = velocity_limits(inside(share))
    assert (lower >= -JOINT_VELOCITY).all()
    assert (lower <= 0.0).all()
    assert (upper >= 0.0).all()
    assert (upper <= JOINT_VELOCITY).all()


@settings(max_examples=100, deadline=None)
@given(shares, shares)
def test_velocity_limits_shrink_towards_the_joint_limit(one: np.ndarray, other: np.ndarray) -> None:
    near, far = inside(np.maximum(one, other)), inside(np.minimum(one, other))
    assert (velocity_limits(near)[1] <= velocity_limits(far)[1] + 1e-12).all()
    assert (velocity_limits(near)[0] <= velocity_limits(far)[0] + 1e-12).all()


def test_no_velocity_is_permitted_into_a_joint_limit_nor_beyond_it() -> None:
    assert (velocity_limits(JOINT_UPPER)[1] == 0.0).all()
    assert (velocity_limits(JOINT_LOWER)[0] == 0.0).all()
    assert (velocity_limits(JOINT_UPPER + 1.0)[1] == 0.0).all()
    assert (velocity_limits(JOINT_UPPER)[0] < 0.0).all()


def test_velocity_limit_of_joint_four_half_a_radian_before_its_limit() -> None:
    q = HOME.copy()
    q[3] = JOINT_UPPER[3] - 0.5
    assert velocity_limits(q)[1][3] == pytest.approx(math.sqrt(2 * 4.0 * 0.5) - 0.3542)


def test_velocity_limits_take_trajectories() -> None:
    path = np.stack([HOME, JOINT_UPPER, JOINT_LOWER])
    lower, upper = velocity_limits(path)
    assert lower.shape == upper.shape == (3, 7)
    np.testing.assert_array_equal(upper[1], velocity_limits(JOINT_UPPER)[1])


def test_planner_limits_exceed_neither_robot() -> None:
    assert (PLANNER_VELOCITY <= JOINT_VELOCITY).all()
    assert (PLANNER_ACCELERATION <= JOINT_ACCELERATION).all()
    assert (PLANNER_JERK <= JOINT_JERK).all()
    assert PLANNER_ACCELERATION[1] == 7.5
    assert PLANNER_VELOCITY[6] == 2.61


@pytest.mark.parametrize("speed", [0.03, 0.3, 1.5])
def test_braking_distance_covers_a_jerk_limited_stop(speed: float) -> None:
    acceleration, jerk, step = 3.0, 1500.0, 1e-5
    peak = min(acceleration, math.sqrt(speed * jerk))
    ramp, hold = peak / jerk, speed / peak - peak / jerk
    t = np.arange(0.0, 2 * ramp + hold, step)
    deceleration = np.minimum(np.minimum(jerk * t, peak), np.maximum(jerk * (2 * ramp + hold - t), 0.0))
    velocity = speed - np.cumsum(deceleration) * step
    travelled = float(velocity.sum() * step)
    one = np.ones(7)
    limit = braking_distance(speed * one, acceleration * one, jerk * one)[0]
    assert travelled <= limit + 1e-4
    assert limit < travelled + 0.5 * acceleration**2 / jerk


# ------------------------------------------------------------------------------------------------------------ checker
def reach(
    offset: float = 0.1, count: int = 8, period: float = 0.05, joint: int = 0, start_ns: int = NOW
) -> JointTrajectory:
    """A straight movement of one joint away from HOME."""
    times = np.arange(1, count + 1) * period
    positions = np.tile(HOME, (count, 1))
    positions[:, joint] += offset * times / times[-1]
    velocities = np.zeros((count, 7))
    velocities[:, joint] = offset / times[-1]
    return JointTrajectory(start_ns, times, positions, velocities)


def planned(trajectory: JointTrajectory, now_ns: int = NOW, config: FR3Config = CONFIG) -> Plan:
    plan = Checker(config).plan(trajectory, AT_HOME, now_ns)
    assert isinstance(plan, Plan), plan
    return plan


def with_value(name: str, index: Any, value: float) -> JointTrajectory:
    trajectory = reach()
    array = np.array(getattr(trajectory, name))
    array[index] = value
    return JointTrajectory(**{**trajectory.__dict__, name: array})


def shifted(offset: float) -> JointTrajectory:
    """A slow movement of joint 2 that begins away from HOME."""
    trajectory = reach(0.05, joint=1)
    return JointTrajectory(NOW, trajectory.times, trajectory.positions + offset * np.eye(7)[1], trajectory.velocities)


REFUSED = {
    "NaN position": (with_value("positions", (3, 2), math.nan), "not finite"),
    "infinite velocity": (with_value("velocities", (0, 0), math.inf), "not finite"),
    "NaN time": (with_value("times", 4, math.nan), "not finite"),
    "time twice": (with_value("times", 4, 0.2), "do not increase"),
    "times fall": (with_value("times", 7, 0.01), "do not increase"),
    "beyond a limit": (with_value("positions", (7, 3), 0.0), "joint 4 would go to 0.000 rad"),
    "in the margin": (with_value("positions", (7, 3), JOINT_UPPER[3] - 0.09), "joint 4 would go to"),
    "velocity too high": (with_value("velocities", (2, 1), 0.7), "joint 2 would move at 0.70 rad/s"),
    "velocity too low": (with_value("velocities", (2, 1), -0.7), "joint 2 would move at -0.70 rad/s"),
    "last velocity too high": (with_value("velocities", (7, 5), 9.0), "joint 6 would move at 9.00 rad/s"),
    "steps too long": (with_value("positions", (5, 4), 0.2), "joint 5 would move at"),
    "too far away": (shifted(0.2), "joint 2 is 0.206 rad from the first waypoint"),
    "stale": (reach(start_ns=NOW - 10_000_000_000), "stale: the last waypoint was due 9600 ms ago"),
    "far ahead": (reach(start_ns=NOW + 10_000_000_000), "more than 1.0 s ahead"),
    "empty": (JointTrajectory(NOW, np.zeros(0), np.zeros((0, 7)), np.zeros((0, 7))), "expected times"),
    "six joints": (JointTrajectory(NOW, np.ones(1), np.zeros((1, 6)), np.zeros((1, 6))), "expected times"),
    "no velocities": (JointTrajectory(NOW, np.ones(1), HOME[None], np.zeros((0, 7))), "expected times"),
    "flat": (JointTrajectory(NOW, np.ones(1), HOME, np.zeros(7)), "expected times"),
    "scalar": (JointTrajectory(NOW, np.array(1.0), HOME, np.zeros(7)), "expected times"),
    "text": (JointTrajectory(NOW, ["soon"], HOME[None], np.zeros((1, 7))), "no arrays of numbers"),  # type: ignore[arg-type]
    "ragged": (JointTrajectory(NOW, np.ones(2), [[1.0], [1.0, 2.0]], np.zeros((2, 7))), "no arrays of numbers"),  # type: ignore[arg-type]
    "too many": (reach(count=1001, period=1e-3), "N from 1 to 1000"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_trajectories_are_refused_with_the_reason(name: str) -> None:
    trajectory, reason = REFUSED[name]
    answer = Checker(CONFIG).plan(trajectory, AT_HOME, NOW)
    assert isinstance(answer, str)
    assert reason in answer


def test_a_trajectory_that_could_not_stop_before_a_limit_is_refused() -> None:
    config = FR3Config("127.0.0.1", joint_margin=0.0, relative_dynamics=0.05, joint_acceleration=(1.0,) * 7)
    q = HOME.copy()
    q[6] = JOINT_UPPER[6] - 0.05
    positions = np.stack([q, q, q])
    positions[1, 6] += 0.006
    positions[2, 6] += 0.012
    velocities = np.zeros((3, 7))
    velocities[:, 6] = 0.12
    there = ArmReading(ArmMode.STREAMING, desired_joint_positions=q, desired_joint_velocities=0.12 * np.eye(7)[6])
    # The way back at the end would allow the speed; only the joint limit forbids it.
    back = np.vstack((positions, positions[0] - 0.3 * np.eye(7)[6], positions[0] - 0.6 * np.eye(7)[6]))
    trajectory = JointTrajectory(
        NOW, np.array([0.05, 0.1, 0.15, 3.0, 6.0]), back, np.vstack((velocities, np.zeros((2, 7))))
    )
    answer = Checker(config).plan(trajectory, there, NOW)
    assert isinstance(answer, str)
    assert "joint 7 could not stop before its limit" in answer


def test_overdue_waypoints_are_dropped() -> None:
    plan = planned(reach(0.01), NOW + 120_000_000)
    np.testing.assert_allclose(plan.times[:-1], np.arange(3, 8) * 0.05 - 0.12)
    np.testing.assert_allclose(plan.positions, reach(0.01).positions[2:])


def test_plan_gathers_speed_from_rest_and_ends_at_rest() -> None:
    plan = planned(reach(0.4, 20, 0.05))
    speed, left = plan.velocities[:, 0], plan.positions[-1, 0] - plan.positions[:, 0]
    gone = plan.positions[:, 0] - HOME[0]
    assert speed[10] == pytest.approx(0.4)
    assert (speed**2 / (2 * 3.0) <= gone + 1e-9).all()
    assert (
        braking_distance(plan.velocities, 0.3 * PLANNER_ACCELERATION, 0.3 * PLANNER_JERK)[:, 0] <= left + 1e-9
    ).all()
    assert speed[-1] == 0.0
    assert 1.0 < plan.times[-1] < 1.5


def test_plan_keeps_its_time_where_the_arm_has_the_speed_already() -> None:
    moving = ArmReading(ArmMode.STREAMING, desired_joint_positions=HOME, desired_joint_velocities=0.2 * np.eye(7)[0])
    plan = Checker(CONFIG).plan(reach(0.2, 20, 0.05), moving, NOW)
    assert isinstance(plan, Plan)
    np.testing.assert_allclose(plan.times[:15], np.arange(1, 16) * 0.05)
    np.testing.assert_allclose(plan.velocities[:15, 0], 0.2)


def test_pace_is_the_same_for_all_joints() -> None:
    trajectory = reach(0.4, 20, 0.05)
    trajectory.positions[:, 5] += 0.1 * trajectory.times
    trajectory.velocities[:, 5] = 0.1
    plan = planned(trajectory)
    np.testing.assert_allclose(plan.velocities[:, 5], 0.25 * plan.velocities[:, 0], atol=1e-12)


@given(st.lists(st.floats(0.001, 0.1), min_size=1, max_size=12), st.integers(1, 100))
def test_short_steps_take_whole_cycles(steps: list[float], first_ms: int) -> None:
    """But for the last one; the time of each waypoint that is left, first and last among them, stays its own."""
    times = first_ms * 1e-3 + np.cumsum(steps) - steps[0]
    kept = thinned(times)
    assert (kept[0], kept[-1]) == (0, len(times) - 1)
    assert sorted(set(kept)) == kept
    cycles = np.diff(times[kept]) * 1e3
    assert (np.abs(cycles - np.rint(cycles))[cycles < 40.0 - 1e-6][:-1] < 2e-3).all()


@given(st.lists(st.integers(1, 100), min_size=1, max_size=12))
def test_no_waypoint_of_whole_cycles_is_left_out(steps_ms: list[int]) -> None:
    assert thinned(np.cumsum(steps_ms) * 1e-3) == list(range(len(steps_ms)))


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.float64, (6, 7), elements=st.floats(-0.3, 0.3)),
    arrays(np.float64, (6, 7), elements=st.floats(-1.0, 1.0)),
    st.floats(0.01, 1.0),
    st.integers(-500_000_000, 500_000_000),
)
def test_whatever_is_accepted_stays_inside_the_limits(
    offsets: np.ndarray, velocities: np.ndarray, period: float, shift_ns: int
) -> None:
    trajectory = JointTrajectory(NOW + shift_ns, np.arange(1, 7) * period, HOME + offsets, velocities)
    plan = Checker(CONFIG).plan(trajectory, AT_HOME, NOW)
    if isinstance(plan, str):
        return
    assert (plan.times > 0.0).all()
    assert (np.diff(plan.times) > 0.0).all()
    assert (plan.positions >= JOINT_LOWER + CONFIG.joint_margin).all()
    assert (plan.positions <= JOINT_UPPER - CONFIG.joint_margin).all()
    assert (np.abs(plan.velocities) <= 0.3 * PLANNER_VELOCITY + 1e-6).all()
    assert (plan.velocities[-1] == 0.0).all()


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.float64, st.tuples(st.integers(0, 3)), elements=st.floats()),
    arrays(np.float64, st.tuples(st.integers(0, 3), st.sampled_from([6, 7])), elements=st.floats()),
    arrays(np.float64, st.tuples(st.integers(0, 3), st.just(7)), elements=st.floats()),
    st.integers(0, 2**63 - 1),
)
def test_the_checker_never_raises(times: np.ndarray, positions: np.ndarray, velocities: np.ndarray, start: int) -> None:
    with np.errstate(all="ignore"):
        answer = Checker(CONFIG).plan(JointTrajectory(start, times, positions, velocities), AT_HOME, NOW)
    assert isinstance(answer, (str, Plan))


# ------------------------------------------------------------------------------------------------------ configuration
@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"address": ""}, "address"),
        ({"relative_dynamics": 0.0}, "relative_dynamics"),
        ({"relative_dynamics": 1.5}, "relative_dynamics"),
        ({"stop_dynamics": math.nan}, "stop_dynamics"),
        ({"joint_velocity": [3.0] * 7}, "joint_velocity"),
        ({"joint_acceleration": [0.0] * 7}, "joint_acceleration"),
        ({"collision_torque": [-1.0] * 7}, "collision_torque"),
        ({"collision_force": [40.0] * 5}, "collision_force"),
        ({"load_mass": 5.0}, "load_mass"),
        ({"load_inertia": [math.nan] * 6}, "load_inertia"),
        ({"joint_margin": -0.1}, "joint_margin"),
        ({"state_rate": 1e6}, "state_rate"),
        ({"recovery_attempts": -1}, "recovery_attempts"),
        ({"connect_time_out": math.inf}, "connect_time_out"),
        ({"mode": "torque"}, "mode"),
        ({"recoverable_errors": ["cartesian_reflex"]}, "cartesian_reflex"),
        ({"speed": 1.0}, "speed"),
    ],
)
def test_configuration_errors_name_the_key(values: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigurationError, match=key):
        from_mapping(FR3Config, {"address": "10.0.0.2", **values}, "arm")


def test_rpy_turns_about_fixed_axes_in_the_order_roll_pitch_yaw() -> None:
    pose = flange_pose((0.1, 0.2, 0.3), (math.pi / 2, 0.0, math.pi / 2))
    np.testing.assert_allclose(pose[:3, 3], [0.1, 0.2, 0.3])
    np.testing.assert_allclose(pose[:3, :3] @ [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(pose[:3, :3] @ [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], atol=1e-12)
