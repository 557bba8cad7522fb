"""What messages say, in the stack's own types: of messages that ROS delivers, and of those decoded from a recording.

Nothing here imports ROS: all that counts are the names of the fields.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vipa.errors import VipaError
from vipa.hardware.realsense import CameraIntrinsics
from vipa_inference.policy import HAND_DIMENSION, ActionChunk, ChunkSources, CommittedPlan
from vipa_inference.rotations import matrix_from_quaternion

Array = NDArray[np.float64]
IMAGE_TYPES: dict[str, tuple[type[np.generic], int]] = {
    "rgb8": (np.uint8, 3),
    "16UC1": (np.uint16, 1),
    "mono8": (np.uint8, 1),
}


def to_ns(stamp: Any) -> int:
    """Nanoseconds from a ROS time message."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def from_pose(pose: Any) -> Array:
    """A homogeneous matrix (4, 4) from a pose message; NaN where the quaternion is zero or not finite."""
    return from_poses([pose])[0]


def from_poses(poses: Sequence[Any]) -> Array:
    """Homogeneous matrices (N, 4, 4) from pose messages; NaN where a quaternion is zero or not finite."""
    quaternions = np.array([(p.orientation.x, p.orientation.y, p.orientation.z, p.orientation.w) for p in poses])
    norms = np.linalg.norm(quaternions, axis=1)
    known = np.isfinite(norms) & (norms > 1e-6)
    matrices = np.tile(np.eye(4), (len(poses), 1, 1))
    matrices[:, :3, 3] = [(p.position.x, p.position.y, p.position.z) for p in poses]
    matrices[known, :3, :3] = matrix_from_quaternion(quaternions[known])
    matrices[~known, :3, :3] = np.nan
    return matrices


def from_image(message: Any) -> NDArray[Any]:
    """The pixels (height, width[, channels]) of an image message, without a copy.

    Raises:
        VipaError: unknown encoding, or the size of the data does not agree with the header.
    """
    if message.encoding not in IMAGE_TYPES:
        raise VipaError(
            f"image {message.header.frame_id}: encoding {message.encoding} is none of {', '.join(IMAGE_TYPES)}"
        )
    dtype, channels = IMAGE_TYPES[message.encoding]
    pixels = np.frombuffer(message.data, dtype=dtype)
    if pixels.size != message.height * message.width * channels:
        raise VipaError(
            f"image {message.header.frame_id}: {pixels.size} values for {message.height} x {message.width} x {channels}"
        )
    shape = (message.height, message.width, channels) if channels > 1 else (message.height, message.width)
    return pixels.reshape(shape)


def from_camera_info(message: Any) -> CameraIntrinsics:
    """A camera's intrinsics from its camera info."""
    k1, k2, p1, p2, k3 = (float(c) for c in message.d)
    fx, _, cx, _, fy, cy = (float(v) for v in message.k[:6])
    return CameraIntrinsics(
        int(message.width), int(message.height), fx, fy, cx, cy, str(message.distortion_model), (k1, k2, p1, p2, k3)
    )


def from_chunk_message(message: Any) -> ActionChunk:
    """The action chunk of a message, unchecked but for the size of its table: judging it is the gate's work.

    Raises:
        VipaError: the number of actions does not agree with horizon and dimension.
    """
    actions = np.asarray(message.actions, dtype=np.float64)
    if message.horizon < 1 or message.dimension < 1 or actions.size != message.horizon * message.dimension:
        raise VipaError(
            f"action chunk {message.chunk_id}: {actions.size} values for {message.horizon} x {message.dimension}"
        )
    return ActionChunk(
        actions=actions.reshape(message.horizon, message.dimension),
        step_period=message.step_period,
        reference_pose=from_pose(message.reference_pose),
        observation_ns=to_ns(message.observation),
        policy=message.policy,
        policy_hash=message.policy_hash,
        chunk_id=message.chunk_id,
        exposures_ns={name: to_ns(t) for name, t in zip(message.cameras, message.exposures, strict=False)},
        received_ns=to_ns(message.received),
        inference_start_ns=to_ns(message.inference_start),
        inference_end_ns=to_ns(message.inference_end),
        instruction=message.instruction,
        sources=_sources(message),
    )


def from_plan_message(message: Any) -> CommittedPlan | None:
    """The controller's plan of a message; None where nothing is committed.

    Raises:
        VipaError: the numbers of offsets, poses and hand targets do not agree, or what they say is no plan.
    """
    count = len(message.poses)
    if len(message.offsets) != count or len(message.hand) != count * HAND_DIMENSION:
        raise VipaError(
            f"plan of chunk {message.chunk_id}: {len(message.offsets)} offsets and {len(message.hand)} hand targets "
            f"for {count} poses"
        )
    if count == 0:
        return None
    offsets, hand = np.asarray(message.offsets), np.asarray(message.hand).reshape(count, HAND_DIMENSION)
    poses = from_poses(message.poses)
    if not (np.isfinite(poses).all() and np.isfinite(hand).all()):
        raise VipaError(f"plan of chunk {message.chunk_id}: a pose or a hand target is not finite")
    if not (np.isfinite(offsets).all() and np.abs(offsets).max() < 1e6 and (np.diff(offsets) > 1e-6).all()):
        raise VipaError(f"plan of chunk {message.chunk_id}: the offsets do not increase")
    return CommittedPlan(to_ns(message.start) + np.rint(offsets * 1e9).astype(np.int64), poses, hand)


def _sources(message: Any) -> ChunkSources:
    if not hasattr(message, "since_reset"):  # recorded before chunks told it
        return ChunkSources()
    stamps = (message.arm_state, message.hand_state, message.plan, message.committed_until)
    return ChunkSources(*(to_ns(stamp) for stamp in stamps), since_reset=message.since_reset)
