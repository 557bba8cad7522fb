"""What the spatial encoder learns in stage 0: the points of each pixel, and how the camera moved (arXiv 2501.12387)."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vipa_inference.model.spatial_encoder import SpatialOutput
from vipa_training.hand3d.geometry import inverse, transformed
from vipa_training.hand3d.pointmaps import values_at
from vipa_training.hand3d.stored_clips import StoredClip

Array = NDArray[np.float64]
CONFIDENCE_REWARD = 0.2  # as in DUSt3R; without one, no confidence would be the best


def pointmap_targets(clip: StoredClip, places: Sequence[int], size: int) -> tuple[Array, Array]:
    """What is to be learned of some frames.

    Args:
        clip: with depths; frames without one are unknown.
        places: of the frames.
        size: of the square picture that the encoder sees, px; the clip's is fitted into its middle.

    Returns:
        Points (F, size, size, 3) m in the frame of each camera, NaN where unknown, and poses (F, 4, 4) that lead from
        each camera to the first.
    """
    height, width = clip.size
    scale = size / max(height, width)
    fitted = np.array([max(1, round(width * scale)), max(1, round(height * scale))])
    border = (size - fitted) // 2
    columns, rows = np.meshgrid(np.arange(size), np.arange(size))
    pixels = (np.stack([columns, rows], axis=-1) - border + 0.5) * np.array([width, height]) / fitted - 0.5
    points = np.full((len(places), size, size, 3), np.nan)
    for number, place in enumerate(places):
        pointmap = clip.pointmap(place)
        if pointmap is not None:
            points[number] = values_at(pointmap, pixels.reshape(-1, 2), clip.size).reshape(size, size, 3)
    poses = clip.extrinsics[places[0]] @ inverse(clip.extrinsics[list(places)])
    return points, poses


def in_first_camera(points: Array, poses: Array) -> Array:
    """Points (F, size, size, 3) of each camera in the frame of the first, by poses (F, 4, 4)."""
    return transformed(poses[:, None], points)


def geometry_loss(output: SpatialOutput, points: Tensor, world: Tensor, poses: Tensor) -> Tensor:
    """Mean loss () of a batch; errors of points are weighed by the confidence, which is rewarded.

    Args:
        output: of the encoder, for (B, F) frames.
        points: (B, F, H, W, 3) m, in the frame of each camera; NaN where unknown.
        world: the same in the frame of the first camera.
        poses: (B, F, 4, 4) from each camera to the first.
    """
    own = _confident(output.pointmap, output.confidence, points)
    seen = _confident(output.world_pointmap, output.world_confidence, world)
    moved = (output.pose[..., :3] - poses[..., :3, 3]).norm(dim=-1).mean()
    turned = (_matrices(output.pose[..., 3:]) - poses[..., :3, :3]).square().mean()
    return own + seen + moved + turned


def _matrices(quaternions: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of unit quaternions (..., 4), w first."""
    w, x, y, z = quaternions.unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def _confident(found: Tensor, confidence: Tensor, wanted: Tensor) -> Tensor:
    known = torch.isfinite(wanted).all(dim=-1)
    if not bool(known.any()):
        return found.sum() * 0.0
    error = (found[known] - wanted[known]).norm(dim=-1)
    weight = confidence[known]
    return (weight * error - CONFIDENCE_REWARD * weight.log()).mean()
