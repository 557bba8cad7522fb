"""The limits of a commanded motion that an FR3 enforces, and the errors it raises beyond them.

Figures: Franka Research 3 data sheet and the limits in libfranka's ``rate_limiting.h``. The velocity limit of a joint
falls towards the ends of its range as ``-offset + sqrt(2 * deceleration * distance)``.
"""

import math
from collections.abc import Sequence

from vipa_sim.fci.protocol import CYCLE_S, Error

Q_LOWER = (-2.9007, -1.8361, -2.9007, -3.0770, -2.8763, 0.4398, -3.0508)  # rad
Q_UPPER = (2.9007, 1.8361, 2.9007, -0.1169, 2.8763, 4.6216, 3.0508)
DQ_MAX = (2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26)  # rad/s
DQ_OFFSET = (0.652, 0.25, 0.2005, 0.3542, 0.5738, 0.4885, 0.4592)  # rad/s
DQ_DECELERATION = (6.0, 2.585, 3.5, 4.0, 17.0, 5.5, 17.0)  # rad/s²
DDQ_MAX = 10.0  # rad/s²
DDDQ_MAX = 5000.0  # rad/s³
TAU_MAX = (87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0)  # N·m
DTAU_MAX = 1000.0  # N·m/s

TRANSLATION_MAX = (3.0, 9.0, 4500.0)  # m/s, m/s², m/s³
ROTATION_MAX = (2.5, 17.0, 8500.0)  # rad/s, rad/s², rad/s³
ELBOW_MAX = (1.5, 10.0, 5000.0)  # rad/s, rad/s², rad/s³

START_TOLERANCE_RAD = 0.01
START_TOLERANCE_M = 0.01
# A client plans from the float32 of the state: near 3 rad one unit in the last place is 0.24 µrad, thus 0.24 mrad/s,
# 0.24 rad/s² and 480 rad/s³ in one cycle, and twice that jerk when the step reverses.
DQ_TOLERANCE = 1e-3
DDQ_TOLERANCE = 0.5
DDDQ_TOLERANCE = 1000.0

CARTESIAN_TOLERANCE = (1e-3, 0.3, 500.0)  # m/s or rad/s, and per second once and twice
ELBOW_TOLERANCE = (1e-3, 0.5, 1000.0)  # rad/s and per second once and twice
DTAU_TOLERANCE = 1e-3  # N·m in one cycle

_JOINTS = tuple(zip(Q_LOWER, Q_UPPER, DQ_MAX, DQ_OFFSET, DQ_DECELERATION, strict=True))
_DDQ_LIMIT = DDQ_MAX + DDQ_TOLERANCE
_DDDQ_STEP = (DDDQ_MAX + DDDQ_TOLERANCE) * CYCLE_S
_DTAU_STEP = DTAU_MAX * CYCLE_S + DTAU_TOLERANCE


def velocity_limits(joint: int, q: float) -> tuple[float, float]:
    """Lowest and highest velocity (rad/s) that joint ``joint`` may be commanded at position ``q`` (rad)."""
    lower, upper, dq_max, offset, deceleration = _JOINTS[joint]
    highest = min(dq_max, max(0.0, math.sqrt(max(0.0, 2.0 * deceleration * (upper - q))) - offset))
    lowest = max(-dq_max, min(0.0, offset - math.sqrt(max(0.0, 2.0 * deceleration * (q - lower)))))
    return lowest, highest


def check_joint_motion(
    q: Sequence[float], dq: Sequence[float], ddq: Sequence[float], previous_ddq: Sequence[float]
) -> Error | None:
    """The first limit that one cycle of a joint motion breaks, or None.

    Args:
        q: commanded positions (7,) rad.
        dq: velocities (7,) rad/s, the difference to the previous cycle's positions over 1 ms.
        ddq: accelerations (7,) rad/s², the difference to the previous cycle's velocities over 1 ms.
        previous_ddq: the previous cycle's accelerations (7,) rad/s².
    """
    for position, velocity, (lower, upper, dq_max, offset, deceleration) in zip(q, dq, _JOINTS, strict=True):
        # A value that is not a number fails every comparison, so each test asks for what is allowed.
        if not lower <= position <= upper:
            return Error.JOINT_MOTION_GENERATOR_POSITION_LIMITS_VIOLATION
        if velocity > 0.0:
            speed, distance = velocity, upper - position
        else:
            speed, distance = -velocity, position - lower
        # Beyond the limit that velocity_limits gives, squared: v + offset > sqrt(x) where (v + offset)² > x.
        margin = speed - DQ_TOLERANCE
        if margin > 0.0 and (margin > dq_max or (margin + offset) ** 2 > 2.0 * deceleration * distance):
            return Error.JOINT_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION
    for acceleration in ddq:
        if not -_DDQ_LIMIT <= acceleration <= _DDQ_LIMIT:
            return Error.JOINT_MOTION_GENERATOR_VELOCITY_DISCONTINUITY
    for acceleration, previous in zip(ddq, previous_ddq, strict=True):
        if not -_DDDQ_STEP <= acceleration - previous <= _DDDQ_STEP:
            return Error.JOINT_MOTION_GENERATOR_ACCELERATION_DISCONTINUITY
    return None


_CARTESIAN_ERRORS = {
    Error.JOINT_MOTION_GENERATOR_POSITION_LIMITS_VIOLATION: (
        Error.CARTESIAN_MOTION_GENERATOR_JOINT_POSITION_LIMITS_VIOLATION
    ),
    Error.JOINT_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION: (
        Error.CARTESIAN_MOTION_GENERATOR_JOINT_VELOCITY_LIMITS_VIOLATION
    ),
    Error.JOINT_MOTION_GENERATOR_VELOCITY_DISCONTINUITY: Error.CARTESIAN_MOTION_GENERATOR_JOINT_VELOCITY_DISCONTINUITY,
}


def check_cartesian_joint_motion(q: Sequence[float], dq: Sequence[float], ddq: Sequence[float]) -> Error | None:
    """As ``check_joint_motion``, for the joint motion that inverse kinematics made of a Cartesian one.

    Its jerk is free: the FCI documentation's conditions on Cartesian motions end at the joints' acceleration.
    """
    error = check_joint_motion(q, dq, ddq, ddq)
    return None if error is None else _CARTESIAN_ERRORS[error]


def check_cartesian_motion(
    twist: Sequence[float], acceleration: Sequence[float], previous_acceleration: Sequence[float]
) -> Error | None:
    """The first limit that one cycle of an end effector's motion breaks, or None.

    Args:
        twist: linear m/s and angular rad/s velocity (6,) in the base frame.
        acceleration: the change of the twist over 1 ms, per second (6,).
        previous_acceleration: the previous cycle's acceleration (6,).
    """
    jerk = [(new - old) / CYCLE_S for new, old in zip(acceleration, previous_acceleration, strict=True)]
    for values, order, error in (
        (twist, 0, Error.CARTESIAN_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION),
        (acceleration, 1, Error.CARTESIAN_MOTION_GENERATOR_VELOCITY_DISCONTINUITY),
        (jerk, 2, Error.CARTESIAN_MOTION_GENERATOR_ACCELERATION_DISCONTINUITY),
    ):
        tolerance = CARTESIAN_TOLERANCE[order]
        if not math.hypot(*values[:3]) <= TRANSLATION_MAX[order] + tolerance:
            return error
        if not math.hypot(*values[3:]) <= ROTATION_MAX[order] + tolerance:
            return error
    return None


def check_torques(torques: Sequence[float], previous: Sequence[float]) -> Error | None:
    """The first limit that commanded joint torques (7,) N·m break, given those of the previous cycle, or None."""
    for torque, before, highest in zip(torques, previous, TAU_MAX, strict=True):
        if not -highest <= torque <= highest:
            return Error.TAU_J_RANGE_VIOLATION
        if not abs(torque - before) <= _DTAU_STEP:
            return Error.CONTROLLER_TORQUE_DISCONTINUITY
    return None
