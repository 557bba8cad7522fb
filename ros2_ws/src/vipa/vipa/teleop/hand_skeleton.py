"""From the joints of a tracked human hand to the six values of the Inspire hand.

The joints are the 25 of WebXR (W3C, "WebXR Hand Input Module"): wrist; thumb metacarpal, proximal, distal, tip; then of
index, middle, ring and little finger metacarpal, proximal, intermediate, distal, tip.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Side = Literal["left", "right"]

JOINTS = 25
WRIST, THUMB, INDEX, MIDDLE, RING, LITTLE = 0, 1, 5, 10, 15, 20  # the first joint of each
THUMB_TIP, INDEX_TIP = 4, 9
_LONGEST = 0.4  # m from the wrist to any joint of a hand
_SHORTEST = 1e-3  # m of a bone


@dataclass(frozen=True)
class SkeletonConfig:
    """The angles, rad, of an open and of a closed human hand: (open, closed).

    Attributes:
        finger: sum of the bends of the three joints of a finger.
        thumb_bend: sum of the bends of the two joints of the thumb.
        thumb_rotate: of the thumb's first bone out of the plane of the palm.
    """

    finger: tuple[float, float] = (0.35, 3.6)
    thumb_bend: tuple[float, float] = (0.25, 1.5)
    thumb_rotate: tuple[float, float] = (0.2, 0.9)

    def __post_init__(self) -> None:
        for name, (opened, closed) in vars(self).items():
            if not 0.0 <= opened < closed:
                raise ValueError(f"{name}: the angle of the open hand must be less than that of the closed one")


def is_hand(points: Array) -> bool:
    """Whether points (25, 3) m can be the joints of one hand: finite, near one another, none in another's place."""
    if points.shape != (JOINTS, 3) or not np.isfinite(points).all():
        return False
    bones = np.concatenate([np.diff(points[first : first + n], axis=0) for first, n in _CHAINS])
    far = float(np.linalg.norm(points - points[WRIST], axis=1).max())
    return far < _LONGEST and float(np.linalg.norm(bones, axis=1).min()) > _SHORTEST


def hand_values(points: Array, side: Side, config: SkeletonConfig | None = None) -> Array:
    """The values (6,) of the Inspire hand, 0 closed - 1 open, for joints (25, 3) m that ``is_hand``, in any frame."""
    config = config or SkeletonConfig()
    values = [_open(_bend(points[first : first + 5]), config.finger) for first in (LITTLE, RING, MIDDLE, INDEX)]
    values.append(_open(_bend(points[THUMB : THUMB + 4]), config.thumb_bend))
    values.append(_open(_opposition(points, side), config.thumb_rotate))
    return np.array(values)


def pinch_distance(points: Array) -> float:
    """Between the tips of thumb and index finger, m."""
    return float(np.linalg.norm(points[THUMB_TIP] - points[INDEX_TIP]))


_CHAINS = ((THUMB, 4), (INDEX, 5), (MIDDLE, 5), (RING, 5), (LITTLE, 5))


def _bend(chain: Array) -> float:
    """The sum of the angles between the bones of a chain of joints (N, 3), rad."""
    bones = np.diff(chain, axis=0)
    bones /= np.linalg.norm(bones, axis=1, keepdims=True)
    return float(np.arccos(np.clip((bones[1:] * bones[:-1]).sum(axis=1), -1.0, 1.0)).sum())


def _opposition(points: Array, side: Side) -> float:
    """The angle of the thumb's first bone to the plane of the palm, rad, positive in front of it."""
    to_index, to_little = points[INDEX + 1] - points[WRIST], points[LITTLE + 1] - points[WRIST]
    front = np.cross(to_index, to_little) * (1.0 if side == "right" else -1.0)
    bone = points[THUMB + 1] - points[THUMB]
    size = float(np.linalg.norm(front) * np.linalg.norm(bone))
    return float(np.arcsin(np.clip(bone @ front / max(size, 1e-12), -1.0, 1.0)))


def _open(angle: float, ends: tuple[float, float]) -> float:
    """1 at the first of two angles, 0 at the second."""
    return float(np.clip((ends[1] - angle) / (ends[1] - ends[0]), 0.0, 1.0))
