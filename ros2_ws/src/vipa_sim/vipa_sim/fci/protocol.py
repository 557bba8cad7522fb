"""Wire format of the Franka Control Interface (FCI), robot server version 10.

Commands travel over TCP port 1337, packed little-endian: a header (command, id, size with header, each uint32), then
the payload; a response repeats the header's command and id and begins with a status byte. The robot state (1377 bytes)
and the real-time command (371 bytes) travel over UDP at 1 kHz. Layouts follow the interface description that libfranka
publishes (libfranka-common: ``service_types.h``, ``rbk_types.h``, ``error.h``).
"""

import enum
import struct
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]

SERVER_VERSION = 10
COMMAND_PORT = 1337
CYCLE_S = 1e-3  # the robot's control period
CYCLE_NS = 1_000_000

HEADER = struct.Struct("<III")  # command, command id, size of the whole message
CONNECT_REQUEST = struct.Struct("<HH")  # library version, the client's UDP port
MOVE_MODES = struct.Struct("<II")  # controller mode, motion generator mode
MOVE_ASYNCHRONOUS_OFFSET = 56  # of the flag for low-rate commands in a Move request
# message_id, q_c 7, dq_c 7, O_T_EE_c 16, O_dP_EE_c 6, elbow_c 2, valid_elbow, motion_generation_finished, tau_J_d 7,
# torque_command_finished
REALTIME_COMMAND = struct.Struct("<Q7d7d16d6d2dBB7dB")


class Command(enum.IntEnum):
    """Commands over TCP."""

    CONNECT = 0
    MOVE = 1
    STOP_MOVE = 2
    SET_COLLISION_BEHAVIOR = 3
    SET_JOINT_IMPEDANCE = 4
    SET_CARTESIAN_IMPEDANCE = 5
    SET_GUIDING_MODE = 6
    SET_EE_TO_K = 7
    SET_NE_TO_EE = 8
    SET_LOAD = 9
    AUTOMATIC_ERROR_RECOVERY = 10
    GET_ROBOT_MODEL = 11


# Bytes of each command's payload. Move: two modes, two deviations of three doubles, a flag, seven maximum velocities.
PAYLOAD_SIZE = {
    Command.CONNECT: 4,
    Command.MOVE: 8 + 48 + 1 + 56,
    Command.STOP_MOVE: 0,
    Command.SET_COLLISION_BEHAVIOR: 52 * 8,
    Command.SET_JOINT_IMPEDANCE: 7 * 8,
    Command.SET_CARTESIAN_IMPEDANCE: 6 * 8,
    Command.SET_GUIDING_MODE: 7,
    Command.SET_EE_TO_K: 16 * 8,
    Command.SET_NE_TO_EE: 16 * 8,
    Command.SET_LOAD: 13 * 8,
    Command.AUTOMATIC_ERROR_RECOVERY: 0,
    Command.GET_ROBOT_MODEL: 0,
}


class MoveStatus(enum.IntEnum):
    """Status of a response to Move."""

    SUCCESS = 0
    MOTION_STARTED = 1
    PREEMPTED = 2
    PREEMPTED_BY_SAFETY = 3
    REJECTED_BY_SAFETY = 4
    NOT_POSSIBLE = 5
    SINGULAR_START = 6
    INVALID_ARGUMENT = 7
    REFLEX_ABORTED = 8
    EMERGENCY_ABORTED = 9
    INPUT_ERROR_ABORTED = 10
    ABORTED = 11


class SetterStatus(enum.IntEnum):
    """Status of a response to Connect, StopMove, GetRobotModel and the commands that set a parameter."""

    SUCCESS = 0
    NOT_POSSIBLE = 1  # for Connect: incompatible library version
    INVALID_ARGUMENT = 2


class RecoveryStatus(enum.IntEnum):
    """Status of a response to AutomaticErrorRecovery."""

    SUCCESS = 0
    NOT_POSSIBLE = 1
    REJECTED_BY_SAFETY = 2
    MANUAL_RECOVERY_REQUIRED = 3
    REFLEX_ABORTED = 4
    EMERGENCY_ABORTED = 5
    ABORTED = 6


class RobotMode(enum.IntEnum):
    """``robot_mode`` of the robot state."""

    OTHER = 0
    IDLE = 1
    MOVE = 2
    GUIDING = 3
    REFLEX = 4
    USER_STOPPED = 5
    AUTOMATIC_ERROR_RECOVERY = 6


class Generator(enum.IntEnum):
    """``motion_generator_mode`` of the robot state; a Move request carries this value minus one."""

    IDLE = 0
    JOINT_POSITION = 1
    JOINT_VELOCITY = 2
    CARTESIAN_POSITION = 3
    CARTESIAN_VELOCITY = 4
    NONE = 5


class Controller(enum.IntEnum):
    """``controller_mode`` of the robot state and of a Move request."""

    JOINT_IMPEDANCE = 0
    CARTESIAN_IMPEDANCE = 1
    EXTERNAL = 2
    OTHER = 3


class Error(enum.IntEnum):
    """Index of each error in the state's ``errors`` and ``reflex_reason``; the name in lower case is libfranka's."""

    JOINT_POSITION_LIMITS_VIOLATION = 0
    CARTESIAN_POSITION_LIMITS_VIOLATION = 1
    SELF_COLLISION_AVOIDANCE_VIOLATION = 2
    JOINT_VELOCITY_VIOLATION = 3
    CARTESIAN_VELOCITY_VIOLATION = 4
    FORCE_CONTROL_SAFETY_VIOLATION = 5
    JOINT_REFLEX = 6
    CARTESIAN_REFLEX = 7
    MAX_GOAL_POSE_DEVIATION_VIOLATION = 8
    MAX_PATH_POSE_DEVIATION_VIOLATION = 9
    CARTESIAN_VELOCITY_PROFILE_SAFETY_VIOLATION = 10
    JOINT_POSITION_MOTION_GENERATOR_START_POSE_INVALID = 11
    JOINT_MOTION_GENERATOR_POSITION_LIMITS_VIOLATION = 12
    JOINT_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION = 13
    JOINT_MOTION_GENERATOR_VELOCITY_DISCONTINUITY = 14
    JOINT_MOTION_GENERATOR_ACCELERATION_DISCONTINUITY = 15
    CARTESIAN_POSITION_MOTION_GENERATOR_START_POSE_INVALID = 16
    CARTESIAN_MOTION_GENERATOR_ELBOW_LIMIT_VIOLATION = 17
    CARTESIAN_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION = 18
    CARTESIAN_MOTION_GENERATOR_VELOCITY_DISCONTINUITY = 19
    CARTESIAN_MOTION_GENERATOR_ACCELERATION_DISCONTINUITY = 20
    CARTESIAN_MOTION_GENERATOR_ELBOW_SIGN_INCONSISTENT = 21
    CARTESIAN_MOTION_GENERATOR_START_ELBOW_INVALID = 22
    FORCE_CONTROLLER_DESIRED_FORCE_TOLERANCE_VIOLATION = 23
    START_ELBOW_SIGN_INCONSISTENT = 24
    COMMUNICATION_CONSTRAINTS_VIOLATION = 25
    POWER_LIMIT_VIOLATION = 26
    CARTESIAN_MOTION_GENERATOR_JOINT_POSITION_LIMITS_VIOLATION = 27
    CARTESIAN_MOTION_GENERATOR_JOINT_VELOCITY_LIMITS_VIOLATION = 28
    CARTESIAN_MOTION_GENERATOR_JOINT_VELOCITY_DISCONTINUITY = 29
    CARTESIAN_MOTION_GENERATOR_JOINT_ACCELERATION_DISCONTINUITY = 30
    CARTESIAN_POSITION_MOTION_GENERATOR_INVALID_FRAME = 31
    CONTROLLER_TORQUE_DISCONTINUITY = 32
    JOINT_P2P_INSUFFICIENT_TORQUE_FOR_PLANNING = 33
    TAU_J_RANGE_VIOLATION = 34
    INSTABILITY_DETECTED = 35
    JOINT_MOVE_IN_WRONG_DIRECTION = 36
    CARTESIAN_SPLINE_MOTION_GENERATOR_VIOLATION = 37
    JOINT_VIA_MOTION_GENERATOR_PLANNING_JOINT_LIMIT_VIOLATION = 38
    BASE_ACCELERATION_INITIALIZATION_TIMEOUT = 39
    BASE_ACCELERATION_INVALID_READING = 40


_F = "<f4"
STATE_DTYPE = np.dtype(
    [
        ("message_id", "<u8"),
        ("O_T_EE", _F, 16),
        ("O_T_EE_d", _F, 16),
        ("F_T_EE", _F, 16),
        ("EE_T_K", _F, 16),
        ("F_T_NE", _F, 16),
        ("NE_T_EE", _F, 16),
        ("m_ee", _F),
        ("I_ee", _F, 9),
        ("F_x_Cee", _F, 3),
        ("m_load", _F),
        ("I_load", _F, 9),
        ("F_x_Cload", _F, 3),
        ("elbow", _F, 2),
        ("elbow_d", _F, 2),
        ("tau_J", _F, 7),
        ("tau_J_d", _F, 7),
        ("dtau_J", _F, 7),
        ("q", _F, 7),
        ("q_d", _F, 7),
        ("dq", _F, 7),
        ("dq_d", _F, 7),
        ("ddq_d", _F, 7),
        ("joint_contact", _F, 7),
        ("cartesian_contact", _F, 6),
        ("joint_collision", _F, 7),
        ("cartesian_collision", _F, 6),
        ("tau_ext_hat_filtered", _F, 7),
        ("O_F_ext_hat_K", _F, 6),
        ("K_F_ext_hat_K", _F, 6),
        ("O_dP_EE_d", _F, 6),
        ("O_ddP_O", _F, 3),
        ("elbow_c", _F, 2),
        ("delbow_c", _F, 2),
        ("ddelbow_c", _F, 2),
        ("O_T_EE_c", _F, 16),
        ("O_dP_EE_c", _F, 6),
        ("O_ddP_EE_c", _F, 6),
        ("theta", _F, 7),
        ("dtheta", _F, 7),
        ("accelerometer_top", _F, 18),
        ("accelerometer_bottom", _F, 18),
        ("motion_generator_mode", "u1"),
        ("controller_mode", "u1"),
        ("errors", "u1", 41),
        ("reflex_reason", "u1", 41),
        ("robot_mode", "u1"),
        ("control_command_success_rate", _F),
    ]
)
assert STATE_DTYPE.itemsize == 1377
assert REALTIME_COMMAND.size == 371
assert len(Error) == 41


class StateBuffer:
    """One robot state datagram, written in place.

    Attributes:
        datagram: the 1377 bytes as they are sent.
        field: a writable view of every field of the state by name, shape ``(n,)``.
    """

    def __init__(self) -> None:
        record: NDArray[Any] = np.zeros(1, STATE_DTYPE)
        self.datagram = record.data.cast("B")
        names = STATE_DTYPE.names or ()
        self.field: dict[str, NDArray[Any]] = {name: record[name].reshape(-1) for name in names}


def encode_response(command: int, command_id: int, status: int, payload: bytes = b"") -> bytes:
    """Bytes of a response over TCP."""
    return HEADER.pack(command, command_id, HEADER.size + 1 + len(payload)) + bytes((status,)) + payload
