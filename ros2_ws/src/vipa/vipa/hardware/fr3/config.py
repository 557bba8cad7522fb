"""Configuration of the FR3 driver."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vipa.hardware.fr3.limits import PLANNER_ACCELERATION, PLANNER_JERK, PLANNER_VELOCITY

Joints = tuple[float, float, float, float, float, float, float]
Vector3 = tuple[float, float, float]

RECOVERABLE_ERRORS = (
    "communication_constraints_violation",
    "joint_motion_generator_velocity_discontinuity",
    "joint_motion_generator_acceleration_discontinuity",
    "controller_torque_discontinuity",
)
"""Errors of the data link or of a command, after which the arm stands still and nothing was touched.

The driver recovers from them where it finds them when it connects, left by a client that ended in a motion.
"""


def _joints(values: Any) -> Joints:
    return tuple(np.broadcast_to(values, 7).tolist())


_VELOCITY, _ACCELERATION, _JERK = map(_joints, (PLANNER_VELOCITY, PLANNER_ACCELERATION, PLANNER_JERK))


@dataclass(frozen=True)
class FR3Config:
    """Where the arm is, what it carries, and how far the driver may go with it.

    Attributes:
        address: host name or IP address of the robot's control unit.
        end_effector_translation: pinch point of the hand in the flange frame (m).
        end_effector_rpy: its roll, pitch and yaw in the flange frame (rad; rotations about fixed x, y, z).
        load_mass: mass (kg) on the flange in addition to the end effector that is set in the robot's Desk;
            ``load_centre`` its centre of mass in the flange frame (m), ``load_inertia`` about it (kg·m²: xx, yy, zz,
            xy, xz, yz).
        collision_torque: torque thresholds of the joints (N·m) above which the robot stops with a reflex.
        collision_force: the same for force (N) and moment (N·m) at the end effector.
        joint_velocity, joint_acceleration, joint_jerk: limits set in the robot (rad/s, rad/s², rad/s³).
        relative_dynamics: share of those limits that streamed motions use.
        stop_dynamics: share of those limits that ``stop`` uses.
        joint_margin: distance (rad) that streamed waypoints keep from the joint limits.
        start_tolerance: a first waypoint may be so far (rad) beyond what ``joint_velocity`` reaches in time.
        maximum_lead: a trajectory that begins later than this (s) is refused.
        idle_after: an arm that has stood at the end of its last trajectory for so long (s) leaves the motion.
        stale_after: with a state older than this (s) no trajectory is accepted.
        state_rate: rate (Hz) at which the state is read.
        mode: "waypoints" follows positions; "impedance" is compliant, for tasks with contact.
        impedance_stiffness: joint stiffness in mode "impedance" (N·m/rad); the damping is critical.
        recoverable_errors: errors from which the driver recovers by itself while it runs, so that the next trajectory
            moves the arm; all others wait for the operator.
        recovery_attempts: how often it may do so within ``recovery_window`` seconds.
        connect_time_out: how long to wait for the robot to answer (s).
        realtime: "enforce" refuses a kernel without real-time scheduling.
    """

    address: str
    end_effector_translation: Vector3 = (0.0, 0.0, 0.0)
    end_effector_rpy: Vector3 = (0.0, 0.0, 0.0)
    load_mass: float = 0.0
    load_centre: Vector3 = (0.0, 0.0, 0.0)
    load_inertia: tuple[float, float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    collision_torque: Joints = (40.0, 40.0, 40.0, 40.0, 40.0, 40.0, 40.0)
    collision_force: tuple[float, float, float, float, float, float] = (40.0, 40.0, 40.0, 40.0, 40.0, 40.0)
    joint_velocity: Joints = _VELOCITY
    joint_acceleration: Joints = _ACCELERATION
    joint_jerk: Joints = _JERK
    relative_dynamics: float = 0.3
    stop_dynamics: float = 0.6
    joint_margin: float = 0.1
    start_tolerance: float = 0.05
    maximum_lead: float = 1.0
    idle_after: float = 2.0
    stale_after: float = 0.5
    state_rate: float = 200.0
    mode: Literal["waypoints", "impedance"] = "waypoints"
    impedance_stiffness: Joints = (600.0, 600.0, 600.0, 600.0, 250.0, 150.0, 50.0)
    recoverable_errors: tuple[str, ...] = ()
    recovery_attempts: int = 3
    recovery_window: float = 60.0
    connect_time_out: float = 5.0
    realtime: Literal["enforce", "ignore"] = "enforce"

    def __post_init__(self) -> None:
        if not self.address:
            raise ValueError("address: must name the robot's control unit")
        for key in ("relative_dynamics", "stop_dynamics"):
            if not 0.0 < getattr(self, key) <= 1.0:
                raise ValueError(f"{key}: must be above 0 and at most 1, is {getattr(self, key)}")
        for key in ("collision_torque", "collision_force", "impedance_stiffness"):
            if not all(0.0 < value < math.inf for value in getattr(self, key)):
                raise ValueError(f"{key}: every value must be above 0, is {getattr(self, key)}")
        for key in (
            "start_tolerance",
            "maximum_lead",
            "idle_after",
            "stale_after",
            "recovery_window",
            "connect_time_out",
        ):
            if not 0.0 < getattr(self, key) < math.inf:
                raise ValueError(f"{key}: must be above 0, is {getattr(self, key)}")
        for key, highest in (
            ("joint_velocity", PLANNER_VELOCITY),
            ("joint_acceleration", PLANNER_ACCELERATION),
            ("joint_jerk", PLANNER_JERK),
        ):
            if not all(0.0 < value <= top for value, top in zip(getattr(self, key), highest.tolist(), strict=True)):
                raise ValueError(f"{key}: must be above 0 and at most {highest.tolist()}, is {getattr(self, key)}")
        for key in ("end_effector_translation", "end_effector_rpy", "load_centre", "load_inertia"):
            if not all(map(math.isfinite, getattr(self, key))):
                raise ValueError(f"{key}: every value must be finite, is {getattr(self, key)}")
        if not 0.0 <= self.joint_margin <= 0.5:
            raise ValueError(f"joint_margin: must be between 0 and 0.5 rad, is {self.joint_margin}")
        if not 0.0 <= self.load_mass <= 3.0:
            raise ValueError(f"load_mass: must be between 0 and 3 kg, the robot's payload, is {self.load_mass}")
        if not 10.0 <= self.state_rate <= 1000.0:
            raise ValueError(f"state_rate: must be between 10 and 1000 Hz, is {self.state_rate}")
        if self.recovery_attempts < 0:
            raise ValueError(f"recovery_attempts: must not be negative, is {self.recovery_attempts}")
        for name in self.recoverable_errors:
            if "reflex" in name or "collision" in name or "contact" in name:
                raise ValueError(f"recoverable_errors: {name} follows a contact and always waits for the operator")
