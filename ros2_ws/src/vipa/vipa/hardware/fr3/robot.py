"""Opening the connection to the robot: start-up checks and settings, each failing with one clear line."""

import math
import re
from typing import Any

import numpy as np

from vipa.errors import HardwareError
from vipa.hardware.fr3.config import FR3Config
from vipa.hardware.fr3.limits import JOINT_LOWER, JOINT_UPPER, FloatArray
from vipa.hardware.fr3.state import REFLEX_MODES, mode_detail, mode_name

# Interface version of the robot: libfranka that speaks it. Version 10 came with robot system 5.9.0.
_LIBRARIES = {10: "0.18 to 0.21", 9: "0.17", 8: "0.14.2", 7: "0.13.3"}


_SETTLING_STATES = 200


def load_franky() -> Any:
    """Import the vendor's client.

    Raises:
        HardwareError: it is not installed.
    """
    try:
        import franky
    except ImportError as error:
        raise HardwareError(
            f"arm: franky cannot be imported ({error}). Run: pip install franky-control==2.0.0"
        ) from None
    return franky


def open_robot(config: FR3Config) -> tuple[Any, bool]:
    """Connect and check; returns a ``franky.Robot``, still to be configured, and whether it is idle.

    One that is not idle was stopped by a reflex, and can be recovered over this connection.

    Where the system permits it the calling thread gets real-time scheduling, which the threads that control the robot
    inherit from it: call this in a thread of its own that makes every call to the robot.

    Raises:
        HardwareError: the robot cannot be reached, or is in no state to be moved.
    """
    franky = load_franky()
    realtime = franky.RealtimeConfig.Enforce if config.realtime == "enforce" else franky.RealtimeConfig.Ignore
    try:
        robot = franky.Robot(config.address, realtime_config=realtime)
    except franky.IncompatibleVersionException as error:
        raise HardwareError(_version_message(config.address, str(error))) from None
    except franky.RealtimeException as error:
        raise HardwareError(
            f"arm {config.address}: {_line(error)} Install a kernel with PREEMPT_RT or set arm.realtime: ignore"
        ) from None
    except (franky.Exception, RuntimeError) as error:
        raise HardwareError(
            f"arm {config.address}: cannot connect: {_line(error)} Check power, cable and arm.address, and "
            "activate FCI in Desk"
        ) from None
    try:
        state = robot.state
        _check(state, config.address)
    except (franky.Exception, RuntimeError) as error:
        raise HardwareError(f"arm {config.address}: start-up failed: {_line(error)} Restart the arm in Desk") from None
    return robot, mode_name(state) == "Idle"


def flange_pose(translation: tuple[float, ...], rpy: tuple[float, ...]) -> FloatArray:
    """Pose (4, 4) from a translation (m) and roll, pitch, yaw about fixed axes (rad)."""
    (cr, cp, cy), (sr, sp, sy) = map(math.cos, rpy), map(math.sin, rpy)
    pose = np.eye(4)
    pose[:3, :3] = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    pose[:3, 3] = translation
    return pose


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).removeprefix("libfranka: ").rstrip(".") + "."


def _version_message(address: str, text: str) -> str:
    versions = [int(number) for number in re.findall(r"version:? (\d+)", text)]
    server, library = versions[0], versions[1] if len(versions) > 1 else 10
    return (
        f"arm {address}: the robot speaks interface version {server}, this driver's libfranka version {library} "
        f"(robot system 5.9.0 or newer). Update the robot in Desk, or install a franky-control wheel built with "
        f"libfranka {_LIBRARIES.get(server, 'for that version')}"
    )


def _check(state: Any, address: str) -> None:
    mode = mode_name(state)
    if mode == "Move":
        raise HardwareError(f"arm {address}: is already in a motion. End the other program that controls it")
    if mode not in ("Idle", *REFLEX_MODES):
        raise HardwareError(f"arm {address}: {mode_detail(state)}")
    q = np.asarray(state.q)
    for joint in np.flatnonzero((q < JOINT_LOWER) | (q > JOINT_UPPER)):
        raise HardwareError(
            f"arm {address}: joint {joint + 1} stands at {q[joint]:.3f} rad, outside {JOINT_LOWER[joint]} to "
            f"{JOINT_UPPER[joint]} rad. Guide it back by hand"
        )


def configure_robot(robot: Any, config: FR3Config) -> None:
    """Set limits, thresholds, end effector and load of an idle robot.

    Raises:
        HardwareError: the robot did not take them.
    """
    franky = load_franky()
    try:
        _configure(robot, config)
    except (franky.Exception, RuntimeError) as error:
        raise HardwareError(f"arm {config.address}: settings refused: {_line(error)} Restart the arm in Desk") from None


def _configure(robot: Any, config: FR3Config) -> None:
    robot.joint_velocity_limit.set(np.array(config.joint_velocity))
    robot.joint_acceleration_limit.set(np.array(config.joint_acceleration))
    robot.joint_jerk_limit.set(np.array(config.joint_jerk))
    robot.relative_dynamics_factor = 1.0  # each motion brings its own
    robot.set_collision_behavior(np.array(config.collision_torque), np.array(config.collision_force))
    wanted = flange_pose(config.end_effector_translation, config.end_effector_rpy)
    nominal = np.asarray(robot.state.F_T_NE.matrix)
    robot.set_ee((np.linalg.inv(nominal) @ wanted).ravel(order="F").tolist())
    xx, yy, zz, xy, xz, yz = config.load_inertia
    robot.set_load(config.load_mass, list(config.load_centre), [xx, xy, xz, xy, yy, yz, xz, yz, zz])
    end_effector_taken = False
    for _ in range(_SETTLING_STATES):  # settings show in the state a few cycles later
        state = robot.state
        end_effector_taken = np.allclose(np.asarray(state.F_T_EE.matrix), wanted, atol=1e-4)
        load_taken = abs(float(state.m_load) - config.load_mass) < 1e-4
        if end_effector_taken and load_taken:
            return
    key = "load_mass" if end_effector_taken else "end_effector_translation and _rpy"
    raise HardwareError(
        f"arm {config.address}: the robot answers with another arm.{key} than was set. Check it in Desk"
    )
