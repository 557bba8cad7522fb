"""Conversions between ROS messages and the stack's own types."""

import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from vipa_msgs.msg import ActionChunk as ActionChunkMessage
from vipa_msgs.msg import CommittedPlan as CommittedPlanMessage
from vipa_msgs.msg import TeleopCommand as TeleopCommandMessage

from vipa.errors import VipaError
from vipa.teleop.command import TeleopCommand
from vipa_inference.policy import HAND_DIMENSION, ActionChunk, CommittedPlan
from vipa_inference.rotations import matrix_from_quaternion, unit_quaternion

Array = NDArray[np.float64]
IMAGE_TYPES: dict[str, tuple[type[np.generic], int]] = {
    "rgb8": (np.uint8, 3),
    "16UC1": (np.uint16, 1),
    "mono8": (np.uint8, 1),
}


def to_time(stamp_ns: int) -> Time:
    """A ROS time message from nanoseconds."""
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def to_ns(stamp: Any) -> int:
    """Nanoseconds from a ROS time message."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def to_pose(matrix: Array) -> Pose:
    """A pose message from a homogeneous matrix (4, 4)."""
    pose = Pose()
    pose.position.x, pose.position.y, pose.position.z = matrix[:3, 3].tolist()
    q = pose.orientation
    q.x, q.y, q.z, q.w = unit_quaternion(matrix[:3, :3])
    return pose


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


def to_image(pixels: NDArray[Any], encoding: str, stamp: Time, frame_id: str) -> Image:
    """An image message; ``pixels`` is (height, width[, channels]) of the encoding's type."""
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.header.stamp, message.header.frame_id = stamp, frame_id
    message.step = pixels.strides[0]
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(pixels).data.cast("B"))
    message.data = data
    return message


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


def to_camera_info(intrinsics: Any, stamp: Time, frame_id: str) -> CameraInfo:
    """Camera info of a pinhole camera from the driver's ``CameraIntrinsics``."""
    message = CameraInfo(height=intrinsics.height, width=intrinsics.width, distortion_model=intrinsics.distortion_model)
    message.header.stamp, message.header.frame_id = stamp, frame_id
    message.d = [float(c) for c in intrinsics.coefficients]
    message.k = [intrinsics.fx, 0.0, intrinsics.cx, 0.0, intrinsics.fy, intrinsics.cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [intrinsics.fx, 0.0, intrinsics.cx, 0.0, 0.0, intrinsics.fy, intrinsics.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def to_joint_trajectory(
    start_ns: int, names: list[str], times: Array, positions: Array, velocities: Array | None = None
) -> JointTrajectory:
    """A joint trajectory message: ``times`` (N,) s from its stamp, ``positions`` and ``velocities`` (N, joints)."""
    points: list[JointTrajectoryPoint] = []
    for i, seconds in enumerate(times):
        point = JointTrajectoryPoint(positions=[float(v) for v in positions[i]])
        if velocities is not None:
            point.velocities = [float(v) for v in velocities[i]]
        nanoseconds = round(float(seconds) * 1e9)
        point.time_from_start.sec, point.time_from_start.nanosec = divmod(nanoseconds, 1_000_000_000)
        points.append(point)
    message = JointTrajectory(joint_names=names, points=points)
    message.header.stamp = to_time(start_ns)
    return message


def from_joint_trajectory(message: Any) -> tuple[int, Array, Array, Array]:
    """Start (ns), times (N,) s, positions (N, joints) and velocities (N, joints; zero where none are given).

    Raises:
        VipaError: the points differ in length.
    """
    points = message.points
    times = np.array([p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in points])
    try:
        positions = np.array([p.positions for p in points], dtype=np.float64)
        velocities = np.array(
            [p.velocities if len(p.velocities) else [0.0] * len(p.positions) for p in points], dtype=np.float64
        )
    except ValueError as error:
        raise VipaError(f"joint trajectory: its points differ in length ({error})") from None
    return to_ns(message.header.stamp), times, positions, velocities


def to_chunk_message(chunk: ActionChunk, now_ns: int, base_frame: str) -> ActionChunkMessage:
    """The message of an action chunk."""
    message = ActionChunkMessage(
        chunk_id=chunk.chunk_id,
        policy=chunk.policy,
        policy_hash=chunk.policy_hash,
        instruction=chunk.instruction,
        cameras=list(chunk.exposures_ns),
        exposures=[to_time(t) for t in chunk.exposures_ns.values()],
        observation=to_time(chunk.observation_ns),
        received=to_time(chunk.received_ns),
        inference_start=to_time(chunk.inference_start_ns),
        inference_end=to_time(chunk.inference_end_ns),
        reference_pose=to_pose(chunk.reference_pose),
        step_period=chunk.step_period,
        horizon=chunk.horizon,
        dimension=int(chunk.actions.shape[1]),
        actions=[float(v) for v in chunk.actions.ravel()],
    )
    message.header.stamp, message.header.frame_id = to_time(now_ns), base_frame
    return message


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
    )


def to_teleop_message(command: TeleopCommand, source: str, base_frame: str) -> TeleopCommandMessage:
    """The message of an operator's command, also of one that the session refuses."""
    message = TeleopCommandMessage(source=source, clutch=command.clutch)
    message.header.stamp = to_time(command.stamp_ns)
    message.header.frame_id = base_frame if command.frame == "base" else command.frame
    message.hand_positions = [float(v) for v in command.hand]
    if command.twist is not None:
        message.kind = TeleopCommandMessage.TWIST
        linear, angular = message.twist.linear, message.twist.angular
        linear.x, linear.y, linear.z, angular.x, angular.y, angular.z = (float(v) for v in command.twist)
    elif command.pose is not None:
        message.kind = TeleopCommandMessage.POSE
        message.pose = to_pose(command.pose)
    return message


def to_plan_message(plan: CommittedPlan | None, chunk_id: int, now_ns: int, base_frame: str) -> CommittedPlanMessage:
    """The message of the controller's plan; without rows where nothing is committed."""
    message = CommittedPlanMessage(chunk_id=chunk_id)
    message.header.stamp, message.header.frame_id = to_time(now_ns), base_frame
    if plan is not None:
        message.start = to_time(int(plan.times_ns[0]))
        message.offsets = array.array("d", (plan.times_ns - plan.times_ns[0]) * 1e-9)
        message.poses = [to_pose(pose) for pose in plan.poses]
        message.hand = array.array("d", plan.hand.ravel())
    return message


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
