"""Rotations as vectors, matrices, quaternions and the continuous 6-D form, for any leading batch shape."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def matrix_from_rotation_vector(vector: ArrayLike) -> Array:
    """Rotation matrices (..., 3, 3) of rotation vectors (..., 3) in rad (Rodrigues' formula)."""
    v = np.asarray(vector, dtype=np.float64)
    angle = np.linalg.norm(v, axis=-1)[..., None, None]
    safe = np.where(angle > 1e-8, angle, 1.0)
    k = skew(v)
    sine = np.where(angle > 1e-8, np.sin(safe) / safe, 1.0 - angle**2 / 6.0)
    half = np.where(angle > 1e-8, np.sin(safe / 2.0) / (safe / 2.0), 1.0)
    return np.eye(3) + sine * k + 0.5 * half**2 * (k @ k)


def rotation_vector_from_matrix(matrix: ArrayLike) -> Array:
    """Rotation vectors (..., 3) in rad, |v| <= pi, of rotation matrices (..., 3, 3).

    By way of the quaternion, so that it is well conditioned near pi, too.
    """
    q = quaternion_from_matrix(matrix)
    vector, scalar = q[..., :3], q[..., 3]
    sine = np.linalg.norm(vector, axis=-1)
    angle = 2.0 * np.arctan2(sine, scalar)
    scale = np.where(sine > 1e-10, angle / np.where(sine > 1e-10, sine, 1.0), 2.0)
    return vector * scale[..., None]


def skew(vector: ArrayLike) -> Array:
    """The matrices (..., 3, 3) with ``skew(a) @ b == a x b``."""
    v = np.asarray(vector, dtype=np.float64)
    out = np.zeros((*v.shape[:-1], 3, 3))
    out[..., 0, 1], out[..., 0, 2], out[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
    out[..., 1, 0], out[..., 2, 0], out[..., 2, 1] = v[..., 2], -v[..., 1], v[..., 0]
    return out


def quaternion_from_matrix(matrix: ArrayLike) -> Array:
    """Unit quaternions (..., 4) in ROS order x, y, z, w with w >= 0, of rotation matrices (..., 3, 3)."""
    m = np.asarray(matrix, dtype=np.float64)
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    # Four expressions for the same quaternion; the one with the largest diagonal term is well conditioned.
    candidates = np.stack(
        [
            np.stack(
                [
                    1 + xx - yy - zz,
                    m[..., 1, 0] + m[..., 0, 1],
                    m[..., 0, 2] + m[..., 2, 0],
                    m[..., 2, 1] - m[..., 1, 2],
                ],
                -1,
            ),
            np.stack(
                [
                    m[..., 1, 0] + m[..., 0, 1],
                    1 - xx + yy - zz,
                    m[..., 2, 1] + m[..., 1, 2],
                    m[..., 0, 2] - m[..., 2, 0],
                ],
                -1,
            ),
            np.stack(
                [
                    m[..., 0, 2] + m[..., 2, 0],
                    m[..., 2, 1] + m[..., 1, 2],
                    1 - xx - yy + zz,
                    m[..., 1, 0] - m[..., 0, 1],
                ],
                -1,
            ),
            np.stack(
                [
                    m[..., 2, 1] - m[..., 1, 2],
                    m[..., 0, 2] - m[..., 2, 0],
                    m[..., 1, 0] - m[..., 0, 1],
                    1 + xx + yy + zz,
                ],
                -1,
            ),
        ],
        axis=-2,
    )
    best = np.argmax(np.stack([xx - yy - zz, yy - xx - zz, zz - xx - yy, xx + yy + zz], -1), axis=-1)
    q = np.take_along_axis(candidates, best[..., None, None], axis=-2)[..., 0, :]
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    return np.where(q[..., 3:] < 0, -q, q)


def unit_quaternion(matrix: Array) -> tuple[float, float, float, float]:
    """The quaternion x, y, z, w with w >= 0 of one rotation matrix (3, 3).

    The same as ``quaternion_from_matrix``, in plain floats: for messages at 100 Hz it is twenty times as fast.
    """
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    trace = a + e + i
    if trace > 0.0:
        s = 2.0 * math.sqrt(1.0 + trace)
        q = ((h - f) / s, (c - g) / s, (d - b) / s, 0.25 * s)
    elif a >= e and a >= i:
        s = 2.0 * math.sqrt(max(1.0 + a - e - i, 1e-12))
        q = (0.25 * s, (b + d) / s, (c + g) / s, (h - f) / s)
    elif e >= i:
        s = 2.0 * math.sqrt(max(1.0 - a + e - i, 1e-12))
        q = ((b + d) / s, 0.25 * s, (f + h) / s, (c - g) / s)
    else:
        s = 2.0 * math.sqrt(max(1.0 - a - e + i, 1e-12))
        q = ((c + g) / s, (f + h) / s, 0.25 * s, (d - b) / s)
    return q if q[3] >= 0.0 else (-q[0], -q[1], -q[2], -q[3])


def matrix_from_quaternion(quaternion: ArrayLike) -> Array:
    """Rotation matrices (..., 3, 3) of quaternions (..., 4) in ROS order x, y, z, w, of any length but zero."""
    q = np.asarray(quaternion, dtype=np.float64)
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    k = skew(q[..., :3])
    return np.eye(3) + 2.0 * q[..., 3, None, None] * k + 2.0 * (k @ k)


def six_d_from_matrix(matrix: ArrayLike) -> Array:
    """The first two columns of rotation matrices (..., 3, 3), as (..., 6) (Zhou et al. 2019, arXiv 1812.07035)."""
    m = np.asarray(matrix, dtype=np.float64)
    return np.concatenate([m[..., :, 0], m[..., :, 1]], axis=-1)


def matrix_from_six_d(six_d: ArrayLike) -> Array:
    """Rotation matrices (..., 3, 3) of the 6-D form (..., 6) by Gram-Schmidt (Zhou et al. 2019, arXiv 1812.07035)."""
    s = np.asarray(six_d, dtype=np.float64)
    x = s[..., :3] / np.linalg.norm(s[..., :3], axis=-1, keepdims=True)
    y = s[..., 3:] - np.sum(x * s[..., 3:], axis=-1, keepdims=True) * x
    y = y / np.linalg.norm(y, axis=-1, keepdims=True)
    return np.stack([x, y, np.cross(x, y)], axis=-1)
