"""Points between world, camera and picture. Camera: x right, y down, z forward."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vipa_training.hand3d.clip import Camera, Frame

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def transformed(pose: ArrayLike, points: ArrayLike) -> Array:
    """Points (..., N, 3) in the frame that a pose (..., 4, 4) leads to."""
    matrix = np.asarray(pose, np.float64)
    return np.asarray(points, np.float64) @ np.swapaxes(matrix[..., :3, :3], -1, -2) + matrix[..., None, :3, 3]


def inverse(pose: ArrayLike) -> Array:
    """The inverse of rigid poses (..., 4, 4)."""
    matrix = np.asarray(pose, np.float64)
    turned = np.swapaxes(matrix[..., :3, :3], -1, -2)
    out = np.zeros_like(matrix)
    out[..., :3, :3] = turned
    out[..., :3, 3] = -(turned @ matrix[..., :3, 3:])[..., 0]
    out[..., 3, 3] = 1.0
    return out


def pose_of(rotation: ArrayLike, translation: ArrayLike) -> Array:
    """Poses (..., 4, 4) of rotation matrices (..., 3, 3) and translations (..., 3) m."""
    turn, move = np.asarray(rotation, np.float64), np.asarray(translation, np.float64)
    out = np.zeros((*turn.shape[:-2], 4, 4))
    out[..., :3, :3], out[..., :3, 3], out[..., 3, 3] = turn, move, 1.0
    return out


def intrinsics_of(fx: float, fy: float, cx: float, cy: float) -> Array:
    """The matrix (3, 3) of focal lengths and principal point, px."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def in_camera(points: Array, frame: Frame, camera: Camera) -> Array:
    """Points (T, N, 3) of every frame, in the camera's frame at that time."""
    return points if frame == "camera" else transformed(camera.extrinsics, points)


def in_world(points: Array, frame: Frame, camera: Camera) -> Array:
    """Points (T, N, 3) of every frame, in the world."""
    return points if frame == "world" else transformed(inverse(camera.extrinsics), points)


def projected(points: ArrayLike, intrinsics: ArrayLike) -> Array:
    """Pixels (..., N, 2) of points (..., N, 3) m in the camera's frame; NaN for those not in front of it.

    Args:
        points: in the camera's frame.
        intrinsics: (..., 3, 3).
    """
    image = np.asarray(points, np.float64) @ np.swapaxes(np.asarray(intrinsics, np.float64), -1, -2)
    depth = image[..., 2:]
    return np.where(depth > 0.0, image[..., :2] / np.where(depth > 0.0, depth, 1.0), np.nan)


def unprojected(pixels: ArrayLike, depth: ArrayLike, intrinsics: ArrayLike) -> Array:
    """Points (..., N, 3) m in the camera's frame of pixels (..., N, 2) and depths (..., N) m."""
    uv = np.asarray(pixels, np.float64)
    homogeneous = np.concatenate([uv, np.ones_like(uv[..., :1])], -1)
    rays = homogeneous @ np.swapaxes(np.linalg.inv(np.asarray(intrinsics, np.float64)), -1, -2)
    return rays * np.asarray(depth, np.float64)[..., None]


def in_picture(pixels: Array, size: tuple[int, int]) -> Mask:
    """Which pixels (..., 2) lie in a picture of (height, width) px; NaN does not."""
    height, width = size
    u, v = pixels[..., 0], pixels[..., 1]
    return (u >= 0.0) & (u <= width - 1) & (v >= 0.0) & (v <= height - 1)


@dataclass(frozen=True)
class VisibilityConfig:
    """When a hand counts as seen."""

    joints: int = 12  # of 21 in the picture
    nearest: float = 0.05  # m, depth of the wrist
    farthest: float = 5.0  # m


def hand_in_view(joints: Array, intrinsics: Array, size: tuple[int, int], config: VisibilityConfig) -> Mask:
    """Whether the hand is seen in each frame (T,), of joints (T, 21, 3) m in the camera's frame.

    Joints behind the camera or outside the picture do not count, nor does a hand that is too near or too far.
    """
    seen = in_picture(projected(joints, intrinsics), size).sum(axis=-1) >= config.joints
    depth = joints[..., 0, 2]
    return seen & (depth >= config.nearest) & (depth <= config.farthest)
