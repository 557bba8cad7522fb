"""The two ways in which the arm follows plans: positions, or compliant joint impedance."""

from typing import Any, Protocol

import numpy as np

from vipa.hardware.fr3.config import FR3Config
from vipa.hardware.fr3.limits import FloatArray, braking_distance
from vipa.hardware.fr3.robot import load_franky
from vipa.hardware.fr3.trajectory import Plan

_HANDOVER = 0.004  # s until the robot's control loop takes over a new motion
_STILL = 1e-4  # rad/s


class Motion(Protocol):
    """Makes the robot follow plans; every method is called in the thread that owns the robot."""

    def follow(self, plan: Plan) -> None:
        """Begin, or go over to, a new plan without stopping."""
        ...

    def update(self, robot_time: float) -> None:
        """Do what is due at the robot's time (s); called at the rate of the state."""
        ...

    def stop(self) -> None:
        """Come smoothly to a standstill and leave the motion."""
        ...


def motion_for(robot: Any, config: FR3Config) -> Motion:
    """The motion that the configuration asks for."""
    return WaypointMotion(robot, config) if config.mode == "waypoints" else ImpedanceMotion(robot, config)


class WaypointMotion:
    """Each plan is one waypoint motion, which takes over from the one before with its position and velocity."""

    def __init__(self, robot: Any, config: FR3Config) -> None:
        self._robot, self._config, self._franky = robot, config, load_franky()

    def follow(self, plan: Plan) -> None:
        """Begin, or go over to, a new plan without stopping."""
        franky = self._franky
        moments = np.maximum(np.rint(plan.times * 1e3).astype(int), 1)
        durations = np.maximum(np.diff(moments, prepend=0), 1).tolist()
        waypoints = [
            franky.JointWaypoint(franky.JointState(q, dq), minimum_time=franky.Duration(duration))
            for q, dq, duration in zip(plan.positions, plan.velocities, durations, strict=True)
        ]
        self._move(waypoints, self._config.relative_dynamics, hold=True)

    def update(self, robot_time: float) -> None:
        """The robot follows by itself."""

    def stop(self) -> None:
        """Brake along the present direction of every joint.

        The target is where braking ends. franky's own stop motion takes the position at the moment of the call as
        its target: the arm passes it and swings back.
        """
        if not self._robot.is_in_control:
            return
        state = self._robot.state
        q, dq = np.asarray(state.q_d), np.asarray(state.dq_d)
        share = self._config.stop_dynamics
        acceleration, jerk = (
            share * np.array(self._config.joint_acceleration),
            share * np.array(self._config.joint_jerk),
        )
        way = dq * _HANDOVER + np.sign(dq) * braking_distance(np.abs(dq), acceleration, jerk)
        target = np.where(np.abs(dq) > _STILL, q + way, q)
        self._move([self._franky.JointWaypoint(self._franky.JointState(target))], share, hold=False)

    def _move(self, waypoints: list[Any], share: float, *, hold: bool) -> None:
        motion = self._franky.JointWaypointMotion(
            waypoints, relative_dynamics_factor=share, return_when_finished=not hold
        )
        self._robot.move(motion, asynchronous=True)


class ImpedanceMotion:
    """Joint impedance around a reference that runs along the plan; plans are joined in position and velocity."""

    def __init__(self, robot: Any, config: FR3Config) -> None:
        self._robot, self._config, self._franky = robot, config, load_franky()
        self._tracker: Any = None
        self._begin = 0.0  # s, robot time of the plan's zero
        self._times: FloatArray = np.zeros(0)
        self._positions: FloatArray = np.zeros((0, 7))
        self._velocities: FloatArray = np.zeros((0, 7))

    def follow(self, plan: Plan) -> None:
        """Begin, or go over to, a new plan without stopping."""
        state = self._robot.state
        now = state.time.to_msec() * 1e-3
        if self._tracker is None or not self._robot.is_in_control:
            q, dq = np.asarray(state.q), np.zeros(7)
            self._tracker = self._franky.JointImpedanceTracker(
                self._robot, stiffness=np.array(self._config.impedance_stiffness)
            )
        else:
            q, dq = self._reference(now)
        self._begin, self._times = now, np.concatenate(([0.0], plan.times))
        self._positions, self._velocities = np.vstack((q, plan.positions)), np.vstack((dq, plan.velocities))

    def update(self, robot_time: float) -> None:
        """Move the reference on."""
        if self._tracker is not None and self._robot.is_in_control and len(self._times):
            self._tracker.set_target(*self._reference(robot_time))

    def stop(self) -> None:
        """Fade the stiffness out and damp the arm to a standstill."""
        if self._tracker is not None and self._robot.is_in_control:
            self._robot.move(self._franky.TorqueStopMotion(), asynchronous=True)
        self._tracker, self._times = None, np.zeros(0)

    def _reference(self, robot_time: float) -> tuple[FloatArray, FloatArray]:
        """Position and velocity (7,) of the cubic Hermite path through the plan; at rest after its end."""
        time = robot_time - self._begin
        if time >= self._times[-1]:
            return self._positions[-1], np.zeros(7)
        after = max(int(np.searchsorted(self._times, time, side="right")), 1)
        span = self._times[after] - self._times[after - 1]
        s = min(max((time - self._times[after - 1]) / span, 0.0), 1.0)
        q0, q1 = self._positions[after - 1], self._positions[after]
        m0, m1 = self._velocities[after - 1] * span, self._velocities[after] * span
        rise = q1 - q0
        q = q0 + s * (m0 + s * (3 * rise - 2 * m0 - m1 + s * (m0 + m1 - 2 * rise)))
        dq = (m0 + s * (2 * (3 * rise - 2 * m0 - m1) + 3 * s * (m0 + m1 - 2 * rise))) / span
        return q, dq
