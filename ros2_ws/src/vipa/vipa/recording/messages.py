"""Messages of robot and policy in their wire format, for recordings that are made of datasets.

What a dataset does not tell (torques, currents, temperatures) is NaN.
"""

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vipa.recording.cdr import CdrWriter
from vipa_inference.description import HAND_NAMES
from vipa_inference.policy import ActionChunk
from vipa_inference.rotations import unit_quaternion

Array = NDArray[np.float64]
JOINT_NAMES = tuple(f"fr3_joint{i}" for i in range(1, 8))
FINGER_NAMES = tuple(name.removeprefix("hand_") for name in HAND_NAMES)
_NS = 1_000_000_000
_UNKNOWN = float("nan")


class MessageWriter(CdrWriter):
    """Adds what only these messages need."""

    def fixed(self, values: Sequence[float] | Array) -> "MessageWriter":
        """Add an array of float64 of fixed length."""
        numbers = [float(value) for value in values]
        self._aligned(struct.pack(f"<{len(numbers)}d", *numbers), 8)
        return self

    def long(self, value: int) -> "MessageWriter":
        """Add a uint64."""
        self._aligned(struct.pack("<Q", value), 8)
        return self

    def time(self, time_ns: int) -> "MessageWriter":
        """Add a builtin_interfaces/Time or Duration."""
        self._aligned(struct.pack("<iI", *divmod(time_ns, _NS)), 4)
        return self

    def texts(self, values: Sequence[str]) -> "MessageWriter":
        """Add a sequence of strings."""
        self.unsigned(len(values))
        for value in values:
            self.string(value)
        return self

    def pose(self, pose: Array) -> "MessageWriter":
        """Add a geometry_msgs/Pose of a pose (4, 4)."""
        return self.fixed([*pose[:3, 3], *unit_quaternion(pose[:3, :3])])


def text_payload(text: str) -> bytes:
    """A std_msgs/String."""
    return CdrWriter().string(text).payload


def joint_state_payload(time_ns: int, frame_id: str, positions: Array, velocities: Array) -> bytes:
    """A sensor_msgs/JointState of the arm: (7,) rad and (7,) rad/s."""
    writer = MessageWriter()
    writer.header(time_ns, frame_id)
    writer.texts(JOINT_NAMES)
    writer.doubles(tuple(positions.tolist())).doubles(tuple(velocities.tolist())).doubles(())
    return writer.payload


def arm_state_payload(time_ns: int, frame_id: str, positions: Array, velocities: Array, pose: Array) -> bytes:
    """A vipa_msgs/ArmState: (7,) rad, (7,) rad/s, end effector (4, 4)."""
    unknown = [_UNKNOWN] * 7
    writer = MessageWriter()
    writer.header(time_ns, frame_id).byte(1)  # streaming
    writer.fixed(positions).fixed(velocities).fixed(unknown).fixed(unknown).fixed(unknown)
    writer.pose(pose).fixed([_UNKNOWN] * 6).fixed([_UNKNOWN])
    writer.time(0).time(0).long(0).long(0).string("from a dataset")
    return writer.payload


def hand_state_payload(time_ns: int, positions: Array, targets: Array) -> bytes:
    """A vipa_msgs/HandState: (6,) and (6,), 0 closed to 1 open."""
    unknown = [_UNKNOWN] * 6
    writer = MessageWriter()
    writer.header(time_ns).byte(1)  # connected
    writer.fixed(positions).fixed(targets).fixed(unknown).fixed(unknown).fixed(unknown)
    for value in (*[0] * 6, *[255] * 6):  # errors; status: none
        writer.byte(value)
    writer.time(0).string("from a dataset")
    return writer.payload


def joint_trajectory_payload(
    start_ns: int, names: Sequence[str], times: Array, positions: Array, velocities: Array | None = None
) -> bytes:
    """A trajectory_msgs/JointTrajectory: ``times`` (N,) s, ``positions`` and ``velocities`` (N, joints)."""
    writer = MessageWriter()
    writer.header(start_ns)
    writer.texts(names)
    writer.unsigned(len(times))
    for i, seconds in enumerate(times.tolist()):
        writer.doubles(tuple(positions[i].tolist()))
        writer.doubles(() if velocities is None else tuple(velocities[i].tolist()))
        writer.doubles(()).doubles(())
        writer.time(round(seconds * _NS))
    return writer.payload


def action_chunk_payload(chunk: ActionChunk, time_ns: int, frame_id: str) -> bytes:
    """A vipa_msgs/ActionChunk that was published at ``time_ns``."""
    writer = MessageWriter()
    writer.header(time_ns, frame_id)
    writer.long(chunk.chunk_id).string(chunk.policy).string(chunk.policy_hash).string(chunk.instruction)
    writer.texts(list(chunk.exposures_ns))
    writer.unsigned(len(chunk.exposures_ns))
    for exposure in chunk.exposures_ns.values():
        writer.time(exposure)
    for moment in (chunk.observation_ns, chunk.received_ns, chunk.inference_start_ns, chunk.inference_end_ns):
        writer.time(moment)
    sources = chunk.sources
    for stamp in (sources.arm_state_ns, sources.hand_state_ns, sources.plan_ns, sources.committed_until_ns):
        writer.time(stamp)
    writer.unsigned(sources.since_reset)
    writer.pose(chunk.reference_pose).fixed([chunk.step_period])
    writer.unsigned(chunk.horizon).unsigned(int(chunk.actions.shape[1]))
    writer.doubles(tuple(chunk.actions.reshape(-1).tolist()))
    return writer.payload
