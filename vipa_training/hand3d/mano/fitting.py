"""Parameters of MANO for 21 joints: a rigid start by Kabsch's method, then Adam on all frames at once.

One shape serves all frames: they show the same hand.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vipa_inference.rotations import rotation_vector_from_matrix
from vipa_training.hand3d.clip import ManoParameters
from vipa_training.hand3d.joints import COUNT, PALM
from vipa_training.hand3d.mano.layer import ManoLayer

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FitConfig:
    """How joints are fitted."""

    steps: int = 300
    rate: float = 0.1  # of Adam, for rotations (rad) and shape
    translation_rate: float = 0.01  # of Adam, m
    final_share: float = 0.02  # of the rates, after the last step
    pose_weight: float = 1e-3  # cm^2, pulls towards the mean pose
    shape_weight: float = 1e-3  # cm^2, pulls towards the mean shape
    motion_weight: float = 1e-2  # cm^2, pulls the poses of neighbouring frames together


@dataclass(frozen=True, eq=False)
class Fit:
    """What was found.

    Attributes:
        parameters: of T frames; rotation vectors relative to the mean pose.
        errors: (T,) m, mean distance of the joints in each frame.
    """

    parameters: ManoParameters
    errors: Array


def fit(joints: Array, layer: ManoLayer, config: FitConfig | None = None) -> Fit:
    """Fit one hand.

    Args:
        joints: (T, 21, 3) m, all finite, in any fixed frame; T at least 1.
        layer: of the hand's side.
        config: how.

    Raises:
        ValueError: the joints have another shape, or one is not finite.
    """
    if joints.shape[1:] != (COUNT, 3) or not len(joints) or not np.isfinite(joints).all():
        raise ValueError(f"joints of shape {joints.shape}: expected (T, {COUNT}, 3), all finite")
    settings = config or FitConfig()
    dtype = layer.template.dtype
    target = torch.tensor(joints, dtype=dtype)
    orientation, translation = _rigid_start(target, layer)
    pose, shape = torch.zeros(len(target), 45, dtype=dtype), torch.zeros(1, 10, dtype=dtype)
    free = [orientation, pose, shape, translation]
    for part in free:
        part.requires_grad_()
    groups = [{"params": free[:3], "lr": settings.rate}, {"params": free[3:], "lr": settings.translation_rate}]
    optimiser = torch.optim.Adam(groups)
    final = settings.final_share

    def share(step: int) -> float:
        return final + (1.0 - final) * 0.5 * (1.0 + np.cos(np.pi * min(1.0, step / settings.steps)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, share)
    for _ in range(settings.steps):
        optimiser.zero_grad()
        _loss(layer, target, orientation, pose, shape, translation, settings).backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        found = _posed(layer, orientation, pose, shape, translation)
        errors = (found - target).norm(dim=-1).mean(dim=-1)

    def array(part: Tensor) -> Array:
        return part.detach().numpy().astype(np.float64)

    shapes = np.repeat(array(shape), len(target), axis=0)
    parameters = ManoParameters(array(orientation), array(pose), shapes, array(translation), tips=layer.convention)
    return Fit(parameters, array(errors))


def _posed(layer: ManoLayer, orientation: Tensor, pose: Tensor, shape: Tensor, translation: Tensor) -> Tensor:
    turned = layer.pose_of(pose, is_pca=False, is_flat=False)
    return layer.joints(orientation, turned, shape.expand(len(pose), -1)) + translation[:, None]


def _loss(
    layer: ManoLayer,
    target: Tensor,
    orientation: Tensor,
    pose: Tensor,
    shape: Tensor,
    translation: Tensor,
    settings: FitConfig,
) -> Tensor:
    """Mean squared distance in cm^2 and the small pulls."""
    apart = (_posed(layer, orientation, pose, shape, translation) - target).square().sum(-1).mean() * 1e4
    loss = apart + settings.pose_weight * pose.square().mean() + settings.shape_weight * shape.square().mean()
    return loss + settings.motion_weight * (pose[1:] - pose[:-1]).square().mean() if len(pose) > 1 else loss


def _rigid_start(target: Tensor, layer: ManoLayer) -> tuple[Tensor, Tensor]:
    """Orientations (T, 3) rad and translations (T, 3) m that bring the palm of the mean hand onto the target's."""
    dtype = target.dtype
    nothing = torch.zeros(1, 3, dtype=dtype), torch.zeros(1, 45, dtype=dtype), torch.zeros(1, 10, dtype=dtype)
    with torch.no_grad():
        still = layer.joints(nothing[0], layer.pose_of(nothing[1], is_pca=False, is_flat=False), nothing[2])[0]
    palm, wanted = still[list(PALM)], target[:, list(PALM)]
    turns = kabsch(palm.expand(len(target), -1, -1), wanted)
    orientation = torch.tensor(rotation_vector_from_matrix(turns.numpy()), dtype=dtype)
    # MANO turns about the wrist, which is not its origin.
    arm = still[0] + (turns @ (palm - still[0]).mean(0)[:, None])[..., 0]
    return orientation, wanted.mean(1) - arm


def kabsch(points: Tensor, wanted: Tensor) -> Tensor:
    """The rotations (T, 3, 3) that bring points (T, N, 3) closest to others, centre on centre (Kabsch 1976)."""
    a, b = points - points.mean(1, keepdim=True), wanted - wanted.mean(1, keepdim=True)
    u, _, v = torch.linalg.svd(a.transpose(1, 2) @ b)
    sign = torch.ones(len(points), 3, dtype=points.dtype)
    sign[:, 2] = torch.linalg.det(u @ v).sign()
    return v.transpose(1, 2) @ (sign[..., None] * u.transpose(1, 2))
