"""Rigid poses, homogeneous matrices (4, 4) in m, and small displacements, twists (6,): rotation (rad), translation (m).

A name such as ``camera_to_base`` is the pose of the camera in the base frame: it takes points there.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vipa.errors import ConfigurationError
from vipa_inference.rotations import (
    matrix_from_quaternion,
    matrix_from_rotation_vector,
    rotation_vector_from_matrix,
    skew,
    unit_quaternion,
)

Array = NDArray[np.float64]
FARTHEST_M = 3.0  # nothing that one arm and its cameras see is farther away


def pose_of(rotation: ArrayLike, translation: ArrayLike) -> Array:
    """The pose (4, 4) of a rotation matrix (3, 3) and a translation (3,), m."""
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = np.ravel(translation)
    return pose


def pose_from_quaternion(translation: ArrayLike, quaternion: ArrayLike, where: str) -> Array:
    """The pose (4, 4) of a translation (3,), m, and a quaternion x, y, z, w.

    Raises:
        ConfigurationError: the quaternion is not of unit length, a value is not finite, or the translation must be in
            millimetres; the message begins with ``where``.
    """
    t, q = np.asarray(translation, dtype=np.float64), np.asarray(quaternion, dtype=np.float64)
    if not (np.isfinite(t).all() and np.isfinite(q).all()):
        raise ConfigurationError(f"{where}: a value is not finite")
    if abs(float(np.linalg.norm(q)) - 1.0) > 1e-3:
        raise ConfigurationError(f"{where}.quaternion: {q.tolist()} is not of unit length (order x, y, z, w)")
    check_metres(t, f"{where}.translation")
    return pose_of(matrix_from_quaternion(q), t)


def check_metres(translation: Array, where: str) -> None:
    """See that a translation (3,) can be one in metres.

    Raises:
        ConfigurationError: it is farther away than ``FARTHEST_M``; the message begins with ``where``.
    """
    distance = float(np.linalg.norm(translation))
    if distance > FARTHEST_M:
        hint = "millimetres? write metres" if distance > 30.0 else "correct it"
        raise ConfigurationError(f"{where}: {distance:g} m away, which no camera of the cell is; {hint}")


def quaternion_of(pose: Array) -> tuple[float, float, float, float]:
    """The quaternion x, y, z, w of a pose (4, 4)."""
    return unit_quaternion(pose[:3, :3])


def inverse(poses: ArrayLike) -> Array:
    """The inverse of poses (..., 4, 4)."""
    given = np.asarray(poses, dtype=np.float64)
    out = np.zeros_like(given)
    turned = np.swapaxes(given[..., :3, :3], -1, -2)
    out[..., :3, :3] = turned
    out[..., :3, 3] = -(turned @ given[..., :3, 3, None])[..., 0]
    out[..., 3, 3] = 1.0
    return out


def displaced(poses: ArrayLike, twists: ArrayLike) -> Array:
    """Poses (..., 4, 4), moved by twists (..., 6) in their own frames: turned about, and shifted along, their axes."""
    twist = np.asarray(twists, dtype=np.float64)
    step = np.zeros((*twist.shape[:-1], 4, 4))
    step[..., :3, :3] = matrix_from_rotation_vector(twist[..., :3])
    step[..., :3, 3] = twist[..., 3:]
    step[..., 3, 3] = 1.0
    return np.asarray(poses, dtype=np.float64) @ step


def twist_of(poses: ArrayLike) -> Array:
    """Twists (..., 6) of displacements (..., 4, 4): rotation vector and translation."""
    given = np.asarray(poses, dtype=np.float64)
    return np.concatenate([rotation_vector_from_matrix(given[..., :3, :3]), given[..., :3, 3]], axis=-1)


def adjoint(poses: ArrayLike) -> Array:
    """Matrices (..., 6, 6) that express a small twist in the frame in which the poses (..., 4, 4) are given."""
    given = np.asarray(poses, dtype=np.float64)
    rotation = given[..., :3, :3]
    out = np.zeros((*given.shape[:-2], 6, 6))
    out[..., :3, :3] = out[..., 3:, 3:] = rotation
    out[..., 3:, :3] = skew(given[..., :3, 3]) @ rotation
    return out


def distance(a: Array, b: Array) -> tuple[float, float]:
    """How far two poses (4, 4) are apart: mm and degrees."""
    rotation = rotation_vector_from_matrix(a[:3, :3].T @ b[:3, :3])
    return 1e3 * float(np.linalg.norm(a[:3, 3] - b[:3, 3])), float(np.degrees(np.linalg.norm(rotation)))


def middle(poses: Array) -> Array:
    """The middle (4, 4) of poses (N, 4, 4) by the median of each coordinate, which outliers do not move."""
    found = poses[0]
    for _ in range(5):
        found = displaced(found, np.median(twist_of(inverse(found) @ poses), axis=0))
    return found
