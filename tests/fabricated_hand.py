"""A human hand with joints that can be bent, as WebXR would track it."""

import numpy as np
from numpy.typing import NDArray

from vipa_inference.rotations import matrix_from_rotation_vector

Array = NDArray[np.float64]

FINGERS = {  # x of the knuckle (m, right hand, palm down, fingers forward), length of the bones after it
    "index": (-0.03, (0.045, 0.025, 0.02)),
    "middle": (-0.01, (0.05, 0.03, 0.02)),
    "ring": (0.01, (0.045, 0.028, 0.02)),
    "little": (0.03, (0.035, 0.02, 0.018)),
}


def right_hand(bend: dict[str, float] | float = 0.0, thumb_bend: float = 0.0, opposition: float = 0.0) -> Array:
    """Joints (25, 3) m in the axes of WebXR: x right, y up, z backwards; wrist at the origin, palm down.

    Args:
        bend: rad of each of the three joints of the fingers, of all or by name.
        thumb_bend: rad of each of the two joints of the thumb.
        opposition: rad of the thumb's first bone out of the palm.
    """
    points = [np.zeros(3)]
    along = np.array([-0.8, 0.0, -0.6])
    direction = np.cos(opposition) * along + np.sin(opposition) * np.array([0.0, -1.0, 0.0])
    points.append(np.array([-0.02, 0.0, -0.02]))
    axis = np.cross(direction, [0.6, 0.0, -0.8])
    for length, angle in ((0.04, 0.0), (0.03, thumb_bend), (0.025, thumb_bend)):
        direction = matrix_from_rotation_vector(angle * axis / np.linalg.norm(axis)) @ direction
        points.append(points[-1] + length * direction)
    for name, (x, lengths) in FINGERS.items():
        angle = bend if isinstance(bend, float) else bend.get(name, 0.0)
        points.append(np.array([0.4 * x, 0.0, -0.03]))
        points.append(np.array([x, 0.0, -0.09]))
        direction = (points[-1] - points[-2]) / np.linalg.norm(points[-1] - points[-2])
        axis = np.cross(direction, [0.0, -1.0, 0.0])
        for length in lengths:
            direction = matrix_from_rotation_vector(angle * axis) @ direction
            points.append(points[-1] + length * direction)
    return np.array(points)


def mirrored(points: Array) -> Array:
    """The other hand."""
    return points * (-1.0, 1.0, 1.0)


def event_values(points: Array, wrist: Array | None = None) -> list[float]:
    """The 400 numbers of vuer's event, column by column, of the hand at a pose (4, 4) of its wrist."""
    wrist = np.eye(4) if wrist is None else wrist
    poses = np.tile(wrist, (25, 1, 1))
    poses[:, :3, 3] = points @ wrist[:3, :3].T + wrist[:3, 3]
    return poses.transpose(0, 2, 1).ravel().tolist()
