"""Conversions between ROS messages and the stack's own types; what ``vipa.reading`` reads needs no ROS."""

import array
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
from vipa.reading import from_camera_info, from_chunk_message, from_image, from_plan_message, from_pose, to_ns
from vipa.teleop.command import TeleopCommand
from vipa_inference.policy import ActionChunk, CommittedPlan
from vipa_inference.rotations import unit_quaternion

__all__ = [
    "from_camera_info", "from_chunk_message", "from_image", "from_joint_trajectory", "from_plan_message", "from_pose",
    "to_camera_info", "to_chunk_message", "to_image", "to_joint_trajectory", "to_ns", "to_plan_message", "to_pose",
    "to_teleop_message", "to_time",
]  # fmt: skip
Array = NDArray[np.float64]


def to_time(stamp_ns: int) -> Time:
    """A ROS time message from nanoseconds."""
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def to_pose(matrix: Array) -> Pose:
    """A pose message from a homogeneous matrix (4, 4)."""
    pose = Pose()
    pose.position.x, pose.position.y, pose.position.z = matrix[:3, 3].tolist()
    q = pose.orientation
    q.x, q.y, q.z, q.w = unit_quaternion(matrix[:3, :3])
    return pose


def to_image(pixels: NDArray[Any], encoding: str, stamp: Time, frame_id: str) -> Image:
    """An image message; ``pixels`` is (height, width[, channels]) of the encoding's type."""
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.header.stamp, message.header.frame_id = stamp, frame_id
    message.step = pixels.strides[0]
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(pixels).data.cast("B"))
    message.data = data
    return message


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
        arm_state=to_time(chunk.sources.arm_state_ns),
        hand_state=to_time(chunk.sources.hand_state_ns),
        plan=to_time(chunk.sources.plan_ns),
        committed_until=to_time(chunk.sources.committed_until_ns),
        since_reset=chunk.sources.since_reset,
        reference_pose=to_pose(chunk.reference_pose),
        step_period=chunk.step_period,
        horizon=chunk.horizon,
        dimension=int(chunk.actions.shape[1]),
        actions=[float(v) for v in chunk.actions.ravel()],
    )
    message.header.stamp, message.header.frame_id = to_time(now_ns), base_frame
    return message


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
