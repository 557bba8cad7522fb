"""What the arm reports."""

import enum
import json
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vipa.hardware.fr3.limits import FloatArray


class ArmMode(enum.IntEnum):
    """What the arm can be asked to do."""

    IDLE = 0  # stands still, takes trajectories
    STREAMING = 1  # in a motion
    REFLEX = 2  # stopped for an error; waits for recovery
    USER_STOP = 3  # stopped or guided by a person; waits for release and recovery
    DISCONNECTED = 4


def _zeros(*shape: int) -> FloatArray:
    return np.zeros(shape)


@dataclass(frozen=True, eq=False)
class ArmReading:
    """One state of the arm.

    Attributes:
        mode: what the arm can be asked to do.
        errors: names of the robot's current errors.
        detail: one line for a person: why the arm does not move, or what went wrong last; empty where all is well.
        stamp_ns: this computer's clock when the state was read (ns, Unix epoch).
        robot_time: the robot's own clock (s).
        joint_positions, joint_velocities: measured (7,) rad, rad/s.
        desired_joint_positions, desired_joint_velocities: of the motion in progress (7,) rad, rad/s.
        joint_torques: measured (7,) N·m; ``external_torques`` the external share of them, filtered (7,) N·m.
        end_effector_pose: measured pose (4, 4) of the end effector in the base frame (m).
        external_wrench: estimated force and moment (6,) N, N·m at the end effector in the base frame, as the robot
            reports them: what the arm exerts on its surroundings is positive.
        control_command_success_rate: share of the last 100 commands that reached the robot in time; 0 outside a motion.
    """

    mode: ArmMode
    errors: tuple[str, ...] = ()
    detail: str = ""
    stamp_ns: int = 0
    robot_time: float = 0.0
    joint_positions: FloatArray = field(default_factory=lambda: _zeros(7))
    joint_velocities: FloatArray = field(default_factory=lambda: _zeros(7))
    desired_joint_positions: FloatArray = field(default_factory=lambda: _zeros(7))
    desired_joint_velocities: FloatArray = field(default_factory=lambda: _zeros(7))
    joint_torques: FloatArray = field(default_factory=lambda: _zeros(7))
    external_torques: FloatArray = field(default_factory=lambda: _zeros(7))
    end_effector_pose: FloatArray = field(default_factory=lambda: np.eye(4))
    external_wrench: FloatArray = field(default_factory=lambda: _zeros(6))
    control_command_success_rate: float = 0.0


_MODES = {
    "Idle": ArmMode.IDLE,
    "Move": ArmMode.STREAMING,
    "Reflex": ArmMode.REFLEX,
    "AutomaticErrorRecovery": ArmMode.REFLEX,
    "UserStopped": ArmMode.USER_STOP,
    "Guiding": ArmMode.USER_STOP,
    "Other": ArmMode.USER_STOP,
}

REFLEX_MODES = ("Reflex", "AutomaticErrorRecovery")

MODE_DETAILS = {
    "Reflex": "stopped by a reflex ({errors}): clear the cause, then recover",
    "AutomaticErrorRecovery": "recovering from an error",
    "UserStopped": "user stop is pressed: release it, then recover",
    "Guiding": "is being guided by hand: let go of the enabling buttons, then recover",
    "Other": "is not ready (brakes locked, or another task runs in Desk): unlock the joints and activate FCI in Desk",
}
"""What to do in the robot's own modes, by their names; the modes in which it works are missing."""


def mode_name(state: Any) -> str:
    """Name of the robot's own mode in a ``franky.RobotState``."""
    return str(state.robot_mode.name)


def error_names(state: Any) -> tuple[str, ...]:
    """Names of the current errors in a ``franky.RobotState``."""
    return tuple(json.loads(repr(state.current_errors)))


def mode_detail(state: Any) -> str:
    """What a person has to do in the robot's present mode; empty where nothing."""
    errors = ", ".join(error_names(state)) or "no error named"
    return MODE_DETAILS.get(mode_name(state), "").format(errors=errors)


def to_reading(state: Any, detail: str = "") -> ArmReading:
    """Convert a ``franky.RobotState``; ``detail`` stands where the robot's mode has none."""
    return ArmReading(
        mode=_MODES[mode_name(state)],
        errors=error_names(state),
        detail=mode_detail(state) or detail,
        stamp_ns=time.time_ns(),
        robot_time=state.time.to_msec() * 1e-3,
        joint_positions=np.asarray(state.q),
        joint_velocities=np.asarray(state.dq),
        desired_joint_positions=np.asarray(state.q_d),
        desired_joint_velocities=np.asarray(state.dq_d),
        joint_torques=np.asarray(state.tau_J),
        external_torques=np.asarray(state.tau_ext_hat_filtered),
        end_effector_pose=np.asarray(state.O_T_EE.matrix),
        external_wrench=np.asarray(state.O_F_ext_hat_K),
        control_command_success_rate=float(state.control_command_success_rate),
    )
