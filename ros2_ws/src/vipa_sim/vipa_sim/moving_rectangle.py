"""Where in a camera's picture something may move: the rectangle around all geoms that are not fixed to the world."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vipa_sim.engine import Data, Model

Array = NDArray[np.float64]

MARGIN_PX = 2
NEAREST_M = 0.05
"""A corner nearer than this to the camera's plane, or behind it, cannot be projected: then the whole picture counts."""


@dataclass(frozen=True)
class Rectangle:
    """A part of a picture: pixels ``left`` to ``right - 1`` of the rows ``top`` to ``bottom - 1``."""

    left: int
    top: int
    right: int
    bottom: int


class MovingRectangle:
    """Projects the bounding boxes of the geoms that can move.

    Args:
        model: the world's model.
        groups: (6,) which groups of geoms are drawn.
    """

    def __init__(self, model: Model, groups: NDArray[np.uint8]) -> None:
        fixed = model.body_weldid[model.geom_bodyid] == 0
        self._geoms = np.flatnonzero(~fixed & (groups[model.geom_group] > 0))
        signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8).T
        centre, half = model.geom_aabb[self._geoms, :3], model.geom_aabb[self._geoms, 3:]
        self._corners = centre[:, None] + signs * half[:, None]  # (N, 8, 3) m, in the frames of the geoms

    def seen_from(
        self, data: Data, position: Array, rotation: Array, intrinsics: Array, width: int, height: int
    ) -> Rectangle | None:
        """The rectangle, or None where nothing that moves is in the picture.

        Args:
            data: the world's state, with the poses of its geoms.
            position: (3,) m of the camera.
            rotation: (3, 3) of the camera's frame: x right, y up, z backward.
            intrinsics: (3, 3) pixels.
            width: of the picture, pixels.
            height: of the picture, pixels.
        """
        if not self._geoms.size:
            return None
        frames = data.geom_xmat[self._geoms].reshape(-1, 3, 3)
        corners = self._corners @ frames.transpose(0, 2, 1) + data.geom_xpos[self._geoms, None]
        seen = ((corners - position) @ rotation).reshape(-1, 3) * (1.0, -1.0, -1.0)
        if seen[:, 2].min() < NEAREST_M:
            return Rectangle(0, 0, width, height)
        pixels = seen @ intrinsics.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        left, top = np.clip(np.floor(pixels.min(axis=0)) - MARGIN_PX, 0, (width, height)).astype(int)
        right, bottom = np.clip(np.ceil(pixels.max(axis=0)) + MARGIN_PX + 1, 0, (width, height)).astype(int)
        if left >= right or top >= bottom:
            return None
        return Rectangle(int(left), int(top), int(right), int(bottom))
