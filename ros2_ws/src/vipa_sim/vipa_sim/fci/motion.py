"""Motion generators: what the robot makes of one real-time command a cycle, with the limits it checks.

Each generator moves a shared ``Setpoint``. A lost command is replaced by motion at constant acceleration.
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from vipa_sim.fci import limits
from vipa_sim.fci.limits import check_cartesian_joint_motion, check_cartesian_motion, check_joint_motion
from vipa_sim.fci.plant import ArmPlant
from vipa_sim.fci.protocol import CYCLE_S, Error, FloatArray

RealtimeCommand = tuple[Any, ...]  # as REALTIME_COMMAND unpacks it
Q_C = slice(1, 8)
DQ_C = slice(8, 15)
O_T_EE_C = slice(15, 31)
O_DP_EE_C = slice(31, 37)
ELBOW_C = slice(37, 39)
VALID_ELBOW = 39
MOTION_FINISHED = 40
TAU_J_D = slice(41, 48)
TORQUE_FINISHED = 48

_RATE = 1.0 / CYCLE_S


class Setpoint:
    """What the joint controller follows: ``q`` rad, ``dq`` rad/s, ``ddq`` rad/s², each seven floats."""

    __slots__ = ("ddq", "dq", "q")

    def __init__(self, q: Sequence[float]) -> None:
        self.hold(q)

    def hold(self, q: Sequence[float], dq: Sequence[float] = (0.0,) * 7) -> None:
        """Take positions (and velocities), rounded as the float32 of the robot state that a client plans from."""
        self.q = [float(v) for v in np.asarray(q, dtype=np.float32)]
        self.dq = [float(v) for v in dq]
        self.ddq = [0.0] * 7

    def brake(self) -> bool:
        """One cycle of braking at the acceleration limit; True once standing."""
        step = limits.DDQ_MAX * CYCLE_S
        dq = [v - max(-step, min(step, v)) for v in self.dq]
        self.ddq = [(new - old) * _RATE for new, old in zip(dq, self.dq, strict=True)]
        self.q = [
            max(lower, min(upper, q + v * CYCLE_S))
            for q, v, lower, upper in zip(self.q, dq, limits.Q_LOWER, limits.Q_UPPER, strict=True)
        ]
        self.dq = dq
        if any(dq):
            return False
        self.hold(self.q)
        return True


class MotionGenerator(Protocol):
    """Turns real-time commands into a moving setpoint."""

    def advance(self, command: RealtimeCommand | None) -> Error | None:
        """Move the setpoint by one cycle; on an error it stays where it was. None stands for a lost command."""
        ...

    def check_finish(self) -> Error | None:
        """The error of ending the motion now: a limit that stopping at once would break."""
        ...


class JointMotion:
    """Joint positions or velocities.

    Args:
        setpoint: what to move.
        velocities: whether commands carry velocities.
        strict: whether to check limits.
    """

    def __init__(self, setpoint: Setpoint, *, velocities: bool, strict: bool) -> None:
        self._setpoint, self._velocities, self._strict = setpoint, velocities, strict
        self._started = False

    def advance(self, command: RealtimeCommand | None) -> Error | None:
        """See ``MotionGenerator.advance``."""
        setpoint = self._setpoint
        before_q, before_dq = setpoint.q, setpoint.dq
        if command is None:
            setpoint.dq = [v + a * CYCLE_S for v, a in zip(before_dq, setpoint.ddq, strict=True)]
            setpoint.q = [q + v * CYCLE_S for q, v in zip(before_q, setpoint.dq, strict=True)]
            return None
        if self._velocities:
            dq = list(command[DQ_C])
            q = [p + v * CYCLE_S for p, v in zip(before_q, dq, strict=True)]
        else:
            q = list(command[Q_C])
            dq = [(new - old) * _RATE for new, old in zip(q, before_q, strict=True)]
        ddq = [(new - old) * _RATE for new, old in zip(dq, before_dq, strict=True)]
        if self._strict:
            if not self._started:
                if any(abs(new - old) > limits.START_TOLERANCE_RAD for new, old in zip(q, before_q, strict=True)):
                    return Error.JOINT_POSITION_MOTION_GENERATOR_START_POSE_INVALID
                self._started = True
            error = check_joint_motion(q, dq, ddq, setpoint.ddq)
            if error is not None:
                return error
        setpoint.q, setpoint.dq, setpoint.ddq = q, dq, ddq
        return None

    def check_finish(self) -> Error | None:
        """See ``MotionGenerator.check_finish``."""
        if self._strict and max(map(abs, self._setpoint.dq)) > limits.DDQ_MAX * CYCLE_S:
            return Error.JOINT_MOTION_GENERATOR_VELOCITY_DISCONTINUITY
        return None


class CartesianMotion:
    """End-effector poses or twists, followed through inverse kinematics.

    Args:
        setpoint: what to move.
        plant: the arm whose kinematics hold.
        tool: pose (4, 4) of the end effector in the flange's frame.
        velocities: whether commands carry twists.
        strict: whether to check limits.

    Attributes:
        pose: commanded pose as 16 floats, column by column.
        twist: commanded linear m/s and angular rad/s velocity (6).
        acceleration: its change per second (6).
    """

    def __init__(
        self, setpoint: Setpoint, plant: ArmPlant, tool: FloatArray, *, velocities: bool, strict: bool
    ) -> None:
        self._setpoint, self._plant, self._tool = setpoint, plant, tool
        self._velocities, self._strict = velocities, strict
        self._started = False
        self._task = np.zeros((7, 7))
        self.pose: list[float] = _columns(plant.flange_pose(np.array(setpoint.q)) @ tool)
        self.twist = [0.0] * 6
        self.acceleration = [0.0] * 6
        self._elbow, self._elbow_velocity, self._elbow_acceleration = setpoint.q[2], 0.0, 0.0

    def advance(self, command: RealtimeCommand | None) -> Error | None:
        """See ``MotionGenerator.advance``."""
        if command is None:
            twist = [v + a * CYCLE_S for v, a in zip(self.twist, self.acceleration, strict=True)]
            pose = moved(self.pose, twist)
        elif self._velocities:
            twist = list(command[O_DP_EE_C])
            pose = moved(self.pose, twist)
        else:
            pose = list(command[O_T_EE_C])
            error = self._check_frame(pose)
            if error is not None:
                return error
            twist = [v * _RATE for v in displacement(self.pose, pose)]
        acceleration = [(new - old) * _RATE for new, old in zip(twist, self.twist, strict=True)]
        if self._strict and command is not None:
            error = check_cartesian_motion(twist, acceleration, self.acceleration) or self._check_elbow(command)
            if error is not None:
                return error
        valid_elbow = command is not None and bool(command[VALID_ELBOW])
        error = self._follow(pose, command[37] if command is not None and valid_elbow else None, command is not None)
        if error is not None:
            return error
        self.pose, self.twist, self.acceleration = pose, twist, acceleration
        self._started = True
        return None

    def check_finish(self) -> Error | None:
        """See ``MotionGenerator.check_finish``."""
        fastest = limits.TRANSLATION_MAX[1] * CYCLE_S, limits.ROTATION_MAX[1] * CYCLE_S
        if self._strict and (math.hypot(*self.twist[:3]) > fastest[0] or math.hypot(*self.twist[3:]) > fastest[1]):
            return Error.CARTESIAN_MOTION_GENERATOR_VELOCITY_DISCONTINUITY
        return None

    def _check_frame(self, pose: list[float]) -> Error | None:
        rotation = np.array(pose).reshape(4, 4)[:3, :3]
        if not np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-3 or pose[3::4] != [0.0, 0.0, 0.0, 1.0]:
            return Error.CARTESIAN_POSITION_MOTION_GENERATOR_INVALID_FRAME
        if self._strict and not self._started:
            offset = displacement(self.pose, pose)
            if (
                math.hypot(*offset[:3]) > limits.START_TOLERANCE_M
                or math.hypot(*offset[3:]) > limits.START_TOLERANCE_RAD
            ):
                return Error.CARTESIAN_POSITION_MOTION_GENERATOR_START_POSE_INVALID
        return None

    def _check_elbow(self, command: RealtimeCommand) -> Error | None:
        if not command[VALID_ELBOW]:
            return None
        elbow, sign = command[ELBOW_C]
        if sign != elbow_sign(self._setpoint.q):
            return Error.CARTESIAN_MOTION_GENERATOR_ELBOW_SIGN_INCONSISTENT
        if not self._started and not abs(elbow - self._elbow) <= limits.START_TOLERANCE_RAD:
            return Error.CARTESIAN_MOTION_GENERATOR_START_ELBOW_INVALID
        velocity = (elbow - self._elbow) * _RATE
        acceleration = (velocity - self._elbow_velocity) * _RATE
        jerk = (acceleration - self._elbow_acceleration) * _RATE
        for value, highest, tolerance in zip(
            (velocity, acceleration, jerk), limits.ELBOW_MAX, limits.ELBOW_TOLERANCE, strict=True
        ):
            if not abs(value) <= highest + tolerance:
                return Error.CARTESIAN_MOTION_GENERATOR_ELBOW_LIMIT_VIOLATION
        self._elbow, self._elbow_velocity, self._elbow_acceleration = elbow, velocity, acceleration
        return None

    def _follow(self, pose: list[float], elbow: float | None, check: bool) -> Error | None:
        """One Newton step of the joints towards ``pose``, the null space towards ``elbow`` (joint 3)."""
        setpoint, task = self._setpoint, self._task
        q = np.array(setpoint.q)
        flange = self._plant.flange_pose(q)
        current = flange @ self._tool
        jacobian = self._plant.flange_jacobian(q)
        x, y, z = (current[:3, 3] - flange[:3, 3]).tolist()
        task[:6] = jacobian
        task[:3] -= np.array(((0.0, -z, y), (z, 0.0, -x), (-y, x, 0.0))) @ jacobian[3:]
        error = np.zeros(7)
        error[:6] = displacement(_columns(current), pose)
        task[6, 2] = 0.0 if elbow is None else 1.0
        error[6] = 0.0 if elbow is None else elbow - setpoint.q[2]
        gram = task @ task.T
        gram.flat[::8] += 1e-9  # keeps the step finite at a singular pose
        dq = (task.T @ np.linalg.solve(gram, error) * _RATE).tolist()
        new_q = [p + v * CYCLE_S for p, v in zip(setpoint.q, dq, strict=True)]
        ddq = [(new - old) * _RATE for new, old in zip(dq, setpoint.dq, strict=True)]
        if self._strict and check:
            violation = check_cartesian_joint_motion(new_q, dq, ddq)
            if violation is not None:
                return violation
        setpoint.q, setpoint.dq, setpoint.ddq = new_q, dq, ddq
        return None


def elbow_sign(q: Sequence[float]) -> float:
    """The elbow's configuration, the sign of joint 4: +1 or -1."""
    return -1.0 if q[3] < 0.0 else 1.0


def displacement(start: Sequence[float], end: Sequence[float]) -> list[float]:
    """Translation and small rotation vector (6) in the base frame from one pose (16, column by column) to another.

    The rotation is half the sum of the cross products of the axes before and after, ``sin(angle) * axis``.
    """
    rotation = [0.0, 0.0, 0.0]
    for i in (0, 4, 8):
        ax, ay, az = start[i : i + 3]
        bx, by, bz = end[i : i + 3]
        rotation[0] += 0.5 * (ay * bz - az * by)
        rotation[1] += 0.5 * (az * bx - ax * bz)
        rotation[2] += 0.5 * (ax * by - ay * bx)
    return [end[12] - start[12], end[13] - start[13], end[14] - start[14], *rotation]


def moved(pose: Sequence[float], twist: Sequence[float]) -> list[float]:
    """The pose (16, column by column) after one cycle under ``twist`` (6), by Rodrigues' formula."""
    x, y, z = (v * CYCLE_S for v in twist[3:])
    angle = math.sqrt(x * x + y * y + z * z)
    result = list(pose)
    if angle > 0.0:
        cross = np.array(((0.0, -z, y), (z, 0.0, -x), (-y, x, 0.0))) / angle
        rotation = np.eye(3) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * (cross @ cross)
        columns = (rotation @ np.array(pose).reshape(4, 4).T[:3, :3]).T.tolist()
        for index, column in enumerate(columns):
            result[4 * index : 4 * index + 3] = column
    for axis in range(3):
        result[12 + axis] += twist[axis] * CYCLE_S
    return result


def _columns(pose: FloatArray) -> list[float]:
    return pose.T.reshape(16).tolist()
