"""Chunks of actions out of rows: what the model learns to answer.

Row k of a chunk is the target for ``time_ns + (k + 1) * step_period`` relative to the pose at ``time_ns``, as on the
robot. The targets of an episode are known at ``time_ns + 1 / fps`` of each row; between them they are interpolated. So
rows whose exposures are not evenly spaced, and step periods other than 1 / fps, give what they should.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vipa_inference.policy import CommittedPlan
from vipa_inference.processing import actions_from_poses
from vipa_inference.real_time_chunking import interpolate
from vipa_inference.rotations import matrix_from_quaternion, matrix_from_six_d, quaternion_from_matrix

Array = NDArray[np.float64]


def action_chunk(
    targets: CommittedPlan, time_ns: int, reference_pose: Array, horizon: int, step_period: float
) -> tuple[Array, NDArray[np.bool_]]:
    """The chunk (H, 12) of an observation, and (H,) whether each row lies within the episode.

    Rows beyond its end stay at the last target.

    Args:
        targets: what was commanded in the episode, see ``Dataset.targets``.
        time_ns: of the observation.
        reference_pose: (4, 4) of the observation.
        horizon: H.
        step_period: s.
    """
    times_ns = time_ns + np.round(np.arange(1, horizon + 1) * step_period * 1e9).astype(np.int64)
    wanted = interpolate(targets, times_ns)
    inside = times_ns <= targets.times_ns[-1] + round(0.5 * step_period * 1e9)
    return actions_from_poses(wanted.poses, wanted.hand, reference_pose), inside


def pose_vector(pose: Array) -> Array:
    """Position and quaternion x, y, z, w (..., 7) of poses (..., 4, 4)."""
    return np.concatenate([pose[..., :3, 3], quaternion_from_matrix(pose[..., :3, :3])], axis=-1)


def pose_matrix(vector: ArrayLike) -> Array:
    """Poses (..., 4, 4) of positions and quaternions (..., 7)."""
    values = np.asarray(vector, dtype=np.float64)
    poses = np.tile(np.eye(4), (*values.shape[:-1], 1, 1))
    poses[..., :3, 3] = values[..., :3]
    poses[..., :3, :3] = matrix_from_quaternion(values[..., 3:])
    return poses


def pose_of_state(state: ArrayLike) -> Array:
    """Poses (..., 4, 4) of the end effector in proprioception (..., 22)."""
    values = np.asarray(state, dtype=np.float64)
    poses = np.tile(np.eye(4), (*values.shape[:-1], 1, 1))
    poses[..., :3, 3] = values[..., :3]
    poses[..., :3, :3] = matrix_from_six_d(values[..., 3:9])
    return poses
