"""Joint limits of the Franka Research 3 and the distances that braking takes.

Source: Franka Robotics, FCI documentation, "Robot and interface specifications": Franka Research 3 and, for the limits
with which the client library plans, Franka Emika Robot ("Panda").
"""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

JOINT_LOWER: FloatArray = np.array([-2.9007, -1.8361, -2.9007, -3.0770, -2.8763, 0.4398, -3.0508])  # rad
JOINT_UPPER: FloatArray = np.array([2.9007, 1.8361, 2.9007, -0.1169, 2.8763, 4.6216, 3.0508])  # rad
JOINT_VELOCITY: FloatArray = np.array([2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26])  # rad/s
JOINT_ACCELERATION = 10.0  # rad/s²
JOINT_JERK = 5000.0  # rad/s³

_PANDA_VELOCITY = np.array([2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61])
_PANDA_ACCELERATION = np.array([15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0])
_PANDA_JERK = np.array([7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0])

# The client library plans with the Panda's limits and takes no higher ones; the FR3 takes no higher ones than its own.
PLANNER_VELOCITY: FloatArray = np.minimum(_PANDA_VELOCITY, JOINT_VELOCITY)  # rad/s
PLANNER_ACCELERATION: FloatArray = np.minimum(_PANDA_ACCELERATION, JOINT_ACCELERATION)  # rad/s²
PLANNER_JERK: FloatArray = np.minimum(_PANDA_JERK, JOINT_JERK)  # rad/s³

_OFFSET = np.array([0.652, 0.25, 0.2005, 0.3542, 0.5738, 0.4885, 0.4592])  # rad/s
_DECELERATION = np.array([6.0, 2.585, 3.5, 4.0, 17.0, 5.5, 17.0])  # rad/s²

for _limits in (JOINT_LOWER, JOINT_UPPER, JOINT_VELOCITY, PLANNER_VELOCITY, PLANNER_ACCELERATION, PLANNER_JERK):
    _limits.flags.writeable = False


def velocity_limits(q: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest velocity (..., 7) rad/s that the robot permits at joint positions ``q`` (..., 7) rad.

    Towards a joint limit at distance ``d`` the robot permits ``sqrt(2 · deceleration · d) − offset``, with constants of
    that joint, but never less than zero.
    """
    upper = np.sqrt(2.0 * _DECELERATION * np.maximum(JOINT_UPPER - q, 0.0)) - _OFFSET
    lower = _OFFSET - np.sqrt(2.0 * _DECELERATION * np.maximum(q - JOINT_LOWER, 0.0))
    return np.clip(lower, -JOINT_VELOCITY, 0.0), np.clip(upper, 0.0, JOINT_VELOCITY)


def braking_distance(speed: FloatArray, acceleration: FloatArray, jerk: FloatArray) -> FloatArray:
    """Distance (..., 7) rad to a standstill from ``speed`` (..., 7) ≥ 0 rad/s without acceleration.

    ``v²/2a + v·a/2j``: constant deceleration with jerk-limited ends. Where ``v`` is below ``a²/j`` the deceleration
    never reaches ``a``, and the true distance ``v·sqrt(v/j)`` is shorter.
    """
    return speed * speed / (2.0 * acceleration) + speed * acceleration / (2.0 * jerk)
