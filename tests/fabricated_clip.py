"""A hand over a table, seen by a moving camera: the planted geometry that readers and annotators have to find again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vipa_inference.rotations import matrix_from_rotation_vector
from vipa_training.hand3d.clip import Camera, Clip, Hand, Object
from vipa_training.hand3d.geometry import intrinsics_of, inverse, pose_of, transformed
from vipa_training.hand3d.joints import Side

Array = NDArray[np.float64]
SIZE = (480, 640)
K = intrinsics_of(500.0, 510.0, 321.0, 239.0)


@dataclass
class Pictures:
    """Grey pictures, or none."""

    count: int

    def __len__(self) -> int:
        """How many there are."""
        return self.count

    def picture(self, number: int) -> NDArray[np.uint8]:
        """A grey picture."""
        return np.full((*SIZE, 3), number, np.uint8)


def flat_hand(side: Side = "right") -> Array:
    """21 joints (21, 3) m of a flat hand, wrist at the origin, fingers along +y, in OpenPose's order."""
    joints = [np.zeros(3)]
    for finger, spread in enumerate((-0.5, -0.15, 0.0, 0.12, 0.25)):
        root = np.array([0.02 * (finger - 2), 0.04 if finger == 0 else 0.09, 0.0])
        along = np.array([np.sin(spread), np.cos(spread), -0.1])
        joints += [root + along * step for step in (0.0, 0.035, 0.06, 0.08)]
    out = np.array(joints)
    return out * np.array([-1.0, 1.0, 1.0]) if side == "left" else out


def camera_poses(count: int) -> Array:
    """World to camera (T, 4, 4): half a metre above the table, looking down, drifting and turning."""
    time = np.arange(count) / 10.0
    down = matrix_from_rotation_vector([np.pi, 0.0, 0.0])
    turns = matrix_from_rotation_vector(np.stack([0.05 * np.sin(time), 0.04 * time, 0.03 * np.cos(time)], axis=1))
    places = np.stack([0.05 * time, 0.02 * np.sin(time), np.full(count, 0.5)], axis=1)
    return inverse(pose_of(turns @ down, places))


def hand_path(count: int, side: Side = "right") -> Array:
    """Joints (T, 21, 3) m in the world: the hand wanders over the table and turns."""
    time = np.arange(count) / 10.0
    start = np.array([0.06 if side == "right" else -0.06, -0.05, 0.03])
    move = np.stack([0.06 * np.sin(0.7 * time), 0.05 * np.sin(0.5 * time), 0.02 * (1 - np.cos(time))], axis=1)
    turns = matrix_from_rotation_vector(np.stack([0.2 * np.sin(time), 0.1 * time, 0.3 * np.sin(0.5 * time)], axis=1))
    return transformed(pose_of(turns, start + move), np.broadcast_to(flat_hand(side), (count, 21, 3)))


def clip(count: int = 60, sides: Sequence[Side] = ("right",), text: str = "pick up the cup") -> Clip:
    """A clip at 10 frames a second with a cup on the table."""
    valid = np.ones(count, np.bool_)
    hands = {side: Hand(valid, hand_path(count, side)) for side in sides}
    cup = Object(
        "cup", valid, pose_of(np.broadcast_to(np.eye(3), (count, 3, 3)), np.full((count, 3), [0.12, 0.1, 0.04]))
    )
    camera = Camera(np.broadcast_to(K, (count, 3, 3)).copy(), camera_poses(count), SIZE)
    return Clip("0", "fabricated", "v0", Pictures(count), np.arange(count) / 10.0, camera, hands, (cup,), text)
