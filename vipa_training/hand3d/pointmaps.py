"""Reading positions out of pointmaps, such as those of the spatial encoder.

A pointmap holds for each pixel a point in the camera's frame (x right, y down, z forward). It may have another
resolution than the picture; pixels are always those of the picture.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vipa_training.hand3d.errors import Rejection
from vipa_training.hand3d.geometry import in_picture

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ObjectConfig:
    """How an object is found within its box."""

    middle: float = 0.6  # of the box's width and height that is looked at; its rim shows what is behind
    fewest: int = 12  # pixels with a depth
    reach: float = 0.15  # m, depths in front of and behind the middle one that may belong to the object
    most: int = 256  # points that are kept of its surface


@dataclass(frozen=True, eq=False)
class Surface:
    """What is seen of an object.

    Attributes:
        position: (3,) m, the middle of what is seen.
        points: (N, 3) m, some of its points.
    """

    position: Array
    points: Array


def values_at(pointmap: ArrayLike, pixels: Array, size: tuple[int, int]) -> Array:
    """The points (N, 3) at pixels (N, 2) of a picture of (height, width); NaN outside it.

    Args:
        pointmap: (h, w, 3).
        pixels: u, v; the nearest point of the map is taken.
        size: of the picture.
    """
    points = np.asarray(pointmap, np.float64)
    seen = in_picture(pixels, size)
    step = np.array([points.shape[1] / size[1], points.shape[0] / size[0]])
    # Pixels have their centre at whole numbers, hence the halves.
    column, row = np.floor((np.where(seen[:, None], pixels, 0.0) + 0.5) * step).astype(np.int64).T
    return np.where(seen[:, None], points[row, column], np.nan)


def object_surface(
    pointmap: ArrayLike, box: ArrayLike, size: tuple[int, int], config: ObjectConfig | None = None
) -> Surface:
    """Where the object in a box is.

    The median depth in the middle of the box says how far it is; of what is seen there, points much nearer (a hand
    before it) or farther (the table behind it) are left out.

    Args:
        pointmap: (h, w, 3) m, calibrated; pixels without a depth are NaN, or have z <= 0.
        box: left, top, right, bottom, px of the picture.
        size: height and width of the picture.
        config: how.

    Raises:
        Rejection: the box is empty or outside the picture, or too few of its pixels have a depth.
    """
    settings = config or ObjectConfig()
    points = np.asarray(pointmap, np.float64)
    left, top, right, bottom = (float(edge) for edge in np.asarray(box, np.float64))
    if not (np.isfinite([left, top, right, bottom]).all() and right > left and bottom > top):
        raise Rejection("object: a box without area")
    middle, half = np.array([left + right, top + bottom]) / 2.0, np.array([right - left, bottom - top]) / 2.0
    step = np.array([points.shape[1] / size[1], points.shape[0] / size[0]])
    low = np.maximum(np.floor((middle - settings.middle * half) * step), 0).astype(np.int64)
    high = np.minimum(np.ceil((middle + settings.middle * half) * step), points.shape[1::-1]).astype(np.int64)
    inside = points[low[1] : high[1], low[0] : high[0]].reshape(-1, 3)
    inside = inside[np.isfinite(inside).all(axis=1) & (inside[:, 2] > 0.0)]
    if len(inside) < settings.fewest:
        raise Rejection(f"object: {len(inside)} pixels of its box have a depth, {settings.fewest} are needed")
    depth = np.median(inside[:, 2])
    near = inside[np.abs(inside[:, 2] - depth) <= settings.reach]
    spread = 1.4826 * np.median(np.abs(near[:, 2] - np.median(near[:, 2])))
    kept = near[np.abs(near[:, 2] - np.median(near[:, 2])) <= max(3.0 * spread, 0.01)]
    return Surface(np.median(kept, axis=0), kept[:: max(1, -(-len(kept) // settings.most))])
