"""Where Panda's end effector is for given joints, in the frame of its base (modified Denavit-Hartenberg parameters)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vipa_inference.rotations import matrix_from_rotation_vector

Array = NDArray[np.float64]

# a (m), d (m), alpha (rad) of each joint: https://frankarobotics.github.io/docs/control_parameters.html
LINKS = (
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -np.pi / 2),
    (0.0, 0.316, np.pi / 2),
    (0.0825, 0.0, np.pi / 2),
    (-0.0825, 0.384, -np.pi / 2),
    (0.0, 0.0, np.pi / 2),
    (0.088, 0.0, np.pi / 2),
)
TOOL_M = 0.2035
"""From the last joint to robosuite's place between the fingertips, along z."""
TOOL_TURN = matrix_from_rotation_vector([0.0, 0.0, -np.pi / 4])
"""robosuite's hand is turned in the flange."""


def end_effector_in_base(joints: ArrayLike) -> Array:
    """The poses (N, 4, 4) of the end effector in the base frame, m, of joints (N, 7), rad."""
    angles = np.asarray(joints, dtype=np.float64)
    poses = np.tile(np.eye(4), (len(angles), 1, 1))
    for (a, d, alpha), angle in zip(LINKS, angles.T, strict=True):
        sine, cosine, sine_alpha, cosine_alpha = np.sin(angle), np.cos(angle), np.sin(alpha), np.cos(alpha)
        step = np.zeros((len(angles), 4, 4))
        step[:, 0, 0], step[:, 0, 1], step[:, 0, 3] = cosine, -sine, a
        step[:, 1, 0], step[:, 1, 1] = sine * cosine_alpha, cosine * cosine_alpha
        step[:, 2, 0], step[:, 2, 1] = sine * sine_alpha, cosine * sine_alpha
        step[:, 1, 2], step[:, 2, 2], step[:, 3, 3] = -sine_alpha, cosine_alpha, 1.0
        step[:, 1, 3], step[:, 2, 3] = -d * sine_alpha, d * cosine_alpha
        poses = poses @ step
    tool = np.eye(4)
    tool[:3, :3], tool[2, 3] = TOOL_TURN, TOOL_M
    return poses @ tool
