"""Joint trajectories and the checks that each passes before the robot sees it."""

from dataclasses import dataclass

import numpy as np

from vipa.hardware.fr3.config import FR3Config
from vipa.hardware.fr3.limits import (
    JOINT_LOWER,
    JOINT_UPPER,
    FloatArray,
    braking_distance,
    velocity_limits,
)
from vipa.hardware.fr3.state import ArmReading

MAXIMUM_WAYPOINTS = 1000
_TOLERANCE = 1e-6
_PACING = 0.6  # share of the acceleration for speeding up along the path
_BRAKING = 0.9  # share of it for slowing down to the rest at its end
_CYCLE = 1e-3  # s, in which the planner counts
_LONG_STEP = 0.04  # s; in it the planner makes up for a fraction of a cycle with little acceleration
_SLOWEST = 0.1  # pace below which no step is stretched further


@dataclass(frozen=True, eq=False)
class JointTrajectory:
    """Waypoints of the arm.

    Attributes:
        start_ns: the moment at which the trajectory's time is zero (ns, ROS epoch).
        times: (N,) s from the start, increasing.
        positions: (N, 7) rad; ``velocities`` (N, 7) rad/s.
    """

    start_ns: int
    times: FloatArray
    positions: FloatArray
    velocities: FloatArray


@dataclass(frozen=True, eq=False)
class Plan:
    """A checked trajectory that is still to come, and that ends at rest.

    Attributes:
        times: (M,) s from now, above zero, increasing.
        positions: (M, 7) rad; ``velocities`` (M, 7) rad/s, the last of them zero.
    """

    times: FloatArray
    positions: FloatArray
    velocities: FloatArray


@dataclass(frozen=True)
class Verdict:
    """Whether a trajectory was taken, and why not; true where it was."""

    accepted: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.accepted


class Checker:
    """Turns trajectories into plans that the arm can follow.

    Args:
        config: the limits.
    """

    def __init__(self, config: FR3Config) -> None:
        self._config = config
        self._speed = config.relative_dynamics * np.array(config.joint_velocity)
        self._reachable_speed = np.array(config.joint_velocity)
        self._acceleration = config.relative_dynamics * np.array(config.joint_acceleration)
        self._jerk = config.relative_dynamics * np.array(config.joint_jerk)
        self._lower, self._upper = JOINT_LOWER + config.joint_margin, JOINT_UPPER - config.joint_margin

    def plan(self, trajectory: JointTrajectory, reading: ArmReading, now_ns: int) -> Plan | str:
        """Check a trajectory against the limits and the arm's state; overdue waypoints are dropped.

        Args:
            trajectory: what is asked for; anything may be wrong with it.
            reading: the arm's present state.
            now_ns: present time on the trajectory's clock (ns).

        Returns:
            The plan, or why the arm must not follow the trajectory.
        """
        try:
            times = np.asarray(trajectory.times, dtype=np.float64)
            positions = np.asarray(trajectory.positions, dtype=np.float64)
            velocities = np.asarray(trajectory.velocities, dtype=np.float64)
        except (TypeError, ValueError) as error:
            return f"times, positions or velocities are no arrays of numbers ({error})"
        count = len(times) if times.ndim == 1 else 0
        if not 0 < count <= MAXIMUM_WAYPOINTS or positions.shape != (count, 7) or velocities.shape != (count, 7):
            return (
                f"expected times (N,), positions (N, 7) and velocities (N, 7) with N from 1 to {MAXIMUM_WAYPOINTS}, "
                f"found {times.shape}, {positions.shape} and {velocities.shape}"
            )
        if not (np.isfinite(times).all() and np.isfinite(positions).all() and np.isfinite(velocities).all()):
            return "a time, position or velocity is not finite"
        if (np.diff(times) <= 0.0).any():
            return "the times do not increase"
        due = times + (trajectory.start_ns - now_ns) * 1e-9
        coming = due > 1e-3  # the robot's cycle: what is due within it is past
        if not coming.any():
            return f"stale: the last waypoint was due {-due[-1] * 1e3:.0f} ms ago"
        due, positions, velocities = due[coming], positions[coming], velocities[coming]
        if due[0] > self._config.maximum_lead:
            return f"the first waypoint is due in {due[0]:.1f} s, more than {self._config.maximum_lead} s ahead"
        if reason := self._excess(due, positions, velocities, reading):
            return reason
        plan = self._paced(due, positions, velocities, reading)
        return self._cannot_stop(plan) or plan

    def _origin(self, reading: ArmReading) -> FloatArray:
        """Where a new motion begins (7,): at the measured position where the arm is compliant."""
        compliant = self._config.mode == "impedance"
        return reading.joint_positions if compliant else reading.desired_joint_positions

    def _paced(self, due: FloatArray, positions: FloatArray, velocities: FloatArray, reading: ArmReading) -> Plan:
        """Slow the trajectory down where the arm cannot be that fast yet, and to a rest at its last waypoint.

        The planner in the robot's client meets each waypoint with exactly its velocity: for one that is too high it
        backs off for a run-up, or passes the waypoint and returns. So the pace (the share of the planned speed, the
        same for all joints, which keeps the path) grows from what the arm has now and falls to zero, each along
        ``pace² = 2 · acceleration · time / velocity`` of the joint that needs longest.
        """
        acceleration = _PACING * self._acceleration
        speed = np.maximum(np.abs(velocities), 1e-9)
        steps = np.diff(due)
        gain = 2.0 * steps * (acceleration / np.maximum(speed[:-1], speed[1:])).min(axis=1)  # of pace² per step
        forward = reading.desired_joint_velocities * np.sign(velocities[0])
        distance = np.abs(positions[0] - self._origin(reading))
        ready = np.sqrt(np.maximum(forward, 0.0) ** 2 + 2.0 * acceleration * distance)
        ready = np.maximum(ready, forward + acceleration * due[0])
        first = float(np.clip((ready / speed[0]).min(), 0.0, 1.0))
        rising = first**2 + np.concatenate(([0.0], np.cumsum(gain)))
        falling = np.concatenate((np.cumsum(gain[::-1])[::-1], [0.0])) * (_BRAKING / _PACING)
        pace = np.sqrt(np.minimum(1.0, np.minimum(rising, falling)))
        mean = np.maximum(0.5 * (pace[1:] + pace[:-1]), _SLOWEST)
        times = due[0] + np.concatenate(([0.0], np.cumsum(steps / mean)))
        kept = thinned(times)
        return Plan(times[kept], positions[kept], (velocities * pace[:, None])[kept])

    def _cannot_stop(self, plan: Plan) -> str:
        """Why braking along the plan could pass a joint limit; empty where it could not."""
        way = np.sign(plan.velocities) * braking_distance(np.abs(plan.velocities), self._acceleration, self._jerk)
        rest = plan.positions + way
        if (worst := _worst(np.maximum(JOINT_LOWER - rest, rest - JOINT_UPPER))) is not None:
            step, joint = worst
            return (
                f"joint {joint + 1} could not stop before its limit from {plan.velocities[step, joint]:.2f} rad/s at "
                f"{plan.positions[step, joint]:.3f} rad"
            )
        return ""

    def _excess(self, due: FloatArray, positions: FloatArray, velocities: FloatArray, reading: ArmReading) -> str:
        """Which limit the waypoints would break; empty where none."""
        outside = np.maximum(self._lower - positions, positions - self._upper)
        if (worst := _worst(outside)) is not None:
            joint = worst[1]
            return (
                f"joint {joint + 1} would go to {positions[worst]:.3f} rad, permitted are {self._lower[joint]:.3f} to "
                f"{self._upper[joint]:.3f} rad"
            )
        lower, upper = velocity_limits(positions)
        outside = np.maximum(np.maximum(lower, -self._speed) - velocities, velocities - np.minimum(upper, self._speed))
        if (worst := _worst(outside)) is not None:
            return self._too_fast(worst[1], velocities[worst], positions[worst])
        steps = np.diff(positions, axis=0) / np.diff(due)[:, None]
        if (worst := _worst(np.abs(steps) - 1.05 * self._speed)) is not None:
            return self._too_fast(worst[1], steps[worst], positions[worst])
        jump = np.abs(positions[0] - self._origin(reading))
        reach = self._config.start_tolerance + self._reachable_speed * due[0]
        if (worst := _worst((jump - reach)[None])) is not None:
            joint = worst[1]
            return (
                f"joint {joint + 1} is {jump[joint]:.3f} rad from the first waypoint, due in {due[0] * 1e3:.0f} ms; "
                f"within reach are {reach[joint]:.3f} rad"
            )
        return ""

    def _too_fast(self, joint: int, velocity: float, position: float) -> str:
        return (
            f"joint {joint + 1} would move at {velocity:.2f} rad/s at {position:.2f} rad; permitted are "
            f"{self._speed[joint]:.2f} rad/s, less near the joint's limits"
        )


def thinned(times: FloatArray) -> list[int]:
    """The waypoints of (N,) s that the planner can meet in time and with their velocities; first and last among them.

    It counts whole cycles. A short step whose duration is none would need much acceleration to make up for the
    fraction: the arm would back off for a run-up, waypoint for waypoint. So such steps are joined to longer ones.
    """
    cycles = np.diff(times) / _CYCLE
    whole = np.abs(cycles - np.rint(cycles)) < 1e-3
    kept = [0]
    for k in range(1, len(times) - 1):
        long = min(times[k] - times[kept[-1]], times[-1] - times[k]) >= _LONG_STEP
        if long or (whole[k - 1] and whole[k] and kept[-1] == k - 1):
            kept.append(k)
    return kept + [len(times) - 1] * (len(times) > 1)


def _worst(excess: FloatArray) -> tuple[int, int] | None:
    """Index of the largest excess of (N, 7); None where nothing exceeds."""
    if excess.size == 0 or excess.max() <= _TOLERANCE:
        return None
    step, joint = divmod(int(excess.argmax()), excess.shape[1])
    return step, joint
