"""Positions of coloured balls in two or more calibrated views: segmentation by hue, intersection of viewing rays."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vipa_inference.policy import CameraView

Array = NDArray[np.float64]
Mask = NDArray[np.uint8]

HUES: dict[str, tuple[tuple[int, int], ...]] = {
    "red": ((0, 8), (169, 179)),
    "green": ((42, 85),),
    "blue": ((98, 130),),
}
"""Ranges of hue of each colour in OpenCV's units (0-179); wood lies between red and green."""
BALL_RADIUS_M = 0.025

_STRIDE = 2  # every second pixel in both directions is enough for a ball of 12 pixels' radius
_SATURATION, _VALUE = 110, 40  # of 255; robot, hand and posts are grey, the dark side of a ball is still saturated
_SMALLEST_CONTOUR = 10  # points
_CANDIDATES = 3  # the largest round blobs of one colour in one view
_ROUNDNESS = 0.10  # root mean square deviation from a circle, relative to its radius
_DEEPEST_DENT = (
    0.25  # largest deviation from a circle, relative to its radius: a flat side is the edge of something in front
)
_RADIUS_RATIO = (0.8, 1.25)  # seen radius relative to that expected at the ball's distance
_RAY_DISTANCE_M = 0.006  # the ball's centre may lie this far from each viewing ray


@dataclass(frozen=True)
class _Disc:
    """A round blob: where its ray starts (camera), where it points, and how large the blob looks."""

    origin: Array  # (3,) base frame, m
    direction: Array  # (3,) base frame, unit length
    angular_radius: float  # rad


def find_markers(views: Mapping[str, CameraView], ball_radius_m: float = BALL_RADIUS_M) -> dict[str, Array]:
    """Centres of the red, green and blue balls that at least two views see whole.

    A ball that is cut by the edge of an image or partly hidden in one of two views, whose rays do not meet, or whose
    size does not fit its distance, is left out rather than returned with an error.

    Args:
        views: camera views by name, RGB.
        ball_radius_m: radius of the balls, m.

    Returns:
        Colour → (3,) centre in the base frame, m.
    """
    found: dict[str, Array] = {}
    segmented = {name: _segment(view.image) for name, view in views.items()}
    for colour in HUES:
        per_view = [_discs(segmented[name][colour], view) for name, view in views.items()]
        per_view = [discs for discs in per_view if discs]
        best = np.inf
        for discs in itertools.product(*per_view) if len(per_view) > 1 else ():
            centre, distance = intersect_rays(
                np.array([d.origin for d in discs]), np.array([d.direction for d in discs])
            )
            if distance < min(best, _RAY_DISTANCE_M) and _sizes_fit(discs, centre, ball_radius_m):
                best, found[colour] = distance, centre
    return found


def intersect_rays(origins: Array, directions: Array) -> tuple[Array, float]:
    """The point nearest to several lines in the least-squares sense.

    Args:
        origins: (N, 3) m, a point on each line.
        directions: (N, 3) unit vectors.

    Returns:
        The point (3,) m and its largest distance from a line, m; the distance is infinite where the lines are parallel.
    """
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]  # (N, 3, 3) projections across each line
    normal = across.sum(axis=0)
    if np.linalg.cond(normal) > 1e4:
        return np.full(3, np.nan), float("inf")
    point = np.linalg.solve(normal, np.einsum("nij,nj->i", across, origins))
    distances = np.linalg.norm(np.einsum("nij,nj->ni", across, point - origins), axis=1)
    return point, float(distances.max())


def _segment(image: NDArray[np.uint8]) -> dict[str, Mask]:
    """One mask a colour, at reduced resolution."""
    height, width = image.shape[0] // _STRIDE, image.shape[1] // _STRIDE
    whole = image[: height * _STRIDE, : width * _STRIDE]
    small = cv2.resize(whole, (width, height), interpolation=cv2.INTER_NEAREST)  # every _STRIDE-th pixel
    hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
    masks: dict[str, Mask] = {}
    for colour, ranges in HUES.items():
        parts = [cv2.inRange(hsv, (low, _SATURATION, _VALUE), (high, 255, 255)) for low, high in ranges]
        mask = functools.reduce(cv2.bitwise_or, parts)
        masks[colour] = cv2.medianBlur(mask, 3).astype(np.uint8, copy=False)  # single pixels are noise
    return masks


def _discs(mask: Mask, view: CameraView) -> list[_Disc]:
    """The largest round blobs of a mask that do not touch its edge."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    discs: list[_Disc] = []
    for contour in sorted(contours, key=len, reverse=True)[: 2 * _CANDIDATES]:
        points = contour[:, 0, :]
        inside = points.min() > 0 and bool(np.all(points.max(axis=0) < np.array(mask.shape)[::-1] - 1))
        disc = _disc(points.astype(np.float64), view) if inside and len(points) >= _SMALLEST_CONTOUR else None
        if disc is not None:
            discs.append(disc)
    return discs[:_CANDIDATES]


def _disc(outline: Array, view: CameraView) -> _Disc | None:
    """The disc whose outline (N, 2) a blob shows, or None where it is no circle.

    The rays that graze a ball form a cone, ray · axis = cos(angular radius), which is linear in the unknown vector
    axis / cos(angular radius); the outline in the image is an ellipse.
    """
    pixels = np.column_stack([outline * _STRIDE, np.ones(len(outline))])
    rays = pixels @ np.linalg.inv(view.intrinsics).T
    rays /= np.sqrt(np.einsum("ni,ni->n", rays, rays))[:, None]
    scatter = rays.T @ rays
    if np.linalg.cond(scatter) > 1e10:
        return None  # a line of pixels
    axis = np.linalg.solve(scatter, rays.sum(axis=0))
    length = float(np.linalg.norm(axis))
    if length <= 1.0:
        return None
    axis, radius = axis / length, float(np.arccos(1.0 / length))
    deviation = np.arccos(np.clip(rays @ axis, -1.0, 1.0)) / radius - 1.0
    if np.sqrt(np.mean(deviation**2)) > _ROUNDNESS or np.abs(deviation).max() > _DEEPEST_DENT:
        return None
    return _Disc(
        origin=view.camera_to_base[:3, 3],
        direction=view.camera_to_base[:3, :3] @ axis,
        # The outline runs through the centres of the outermost pixels: half a pixel inside the edge.
        angular_radius=radius + 0.5 * _STRIDE / float(view.intrinsics[0, 0]),
    )


def _sizes_fit(discs: Sequence[_Disc], centre: Array, ball_radius_m: float) -> bool:
    for disc in discs:
        offset = centre - disc.origin
        distance = float(np.linalg.norm(offset))
        if offset @ disc.direction <= 0 or distance <= ball_radius_m:
            return False
        ratio = disc.angular_radius / np.arcsin(ball_radius_m / distance)
        if not _RADIUS_RATIO[0] <= ratio <= _RADIUS_RATIO[1]:
            return False
    return True
