"""MANO's hand as a differentiable function of pose and shape (Romero et al. 2017, Sec. 4), written anew.

Joints need only the five vertices at the finger tips, so they cost a hundredth of the whole surface.
"""

import torch
from torch import Tensor, nn

from vipa_training.hand3d.clip import Tips
from vipa_training.hand3d.joints import FROM_MANO
from vipa_training.hand3d.mano.model_file import JOINTS, ManoModel

TIP_VERTICES: dict[Tips, tuple[int, int, int, int, int]] = {
    "smplx": (744, 320, 443, 554, 671),
    "manopth": (745, 317, 444, 556, 673),
}
"""Thumb, index, middle, ring, little; manopth has another one for the left middle finger."""
_LEFT_MIDDLE_OF_MANOPTH = 445
_FINGERS, _PHALANGES = 5, 3


class ManoLayer(nn.Module):
    """The hand of one side.

    Args:
        model: of that side.
        tips: which vertices are the finger tips.
        dtype: of all numbers.
    """

    template: Tensor
    shapes: Tensor
    corrections: Tensor
    weights: Tensor
    joint_template: Tensor
    joint_shapes: Tensor
    mean: Tensor
    components: Tensor
    tip_template: Tensor
    tip_shapes: Tensor
    tip_corrections: Tensor
    tip_weights: Tensor

    def __init__(self, model: ManoModel, tips: Tips = "smplx", dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        vertices = list(TIP_VERTICES[tips])
        if tips == "manopth" and model.side == "left":
            vertices[2] = _LEFT_MIDDLE_OF_MANOPTH
        self.convention: Tips = tips
        regressor = torch.tensor(model.regressor)
        template, shapes = torch.tensor(model.template), torch.tensor(model.shapes)
        parts = {
            "template": template,
            "shapes": shapes,
            "corrections": torch.tensor(model.pose_corrections),
            "weights": torch.tensor(model.weights),
            "joint_template": regressor @ template,
            "joint_shapes": torch.einsum("jv,vds->jds", regressor, shapes),
            "mean": torch.tensor(model.mean),
            "components": torch.tensor(model.components),
        }
        for name, part in parts.items():
            self.register_buffer(name, part.to(dtype))
        for name in ("template", "shapes", "corrections", "weights"):
            self.register_buffer(f"tip_{name}", getattr(self, name)[vertices])

    def pose_of(self, coefficients: Tensor, is_pca: bool, is_flat: bool) -> Tensor:
        """Rotation vectors (B, 15, 3) rad of a pose (B, 45), or of N principal components (B, N).

        Args:
            coefficients: as the data set stores them.
            is_pca: whether they belong to principal components.
            is_flat: whether zeros are the flat hand; else they are the mean pose.
        """
        pose = coefficients @ self.components[: coefficients.shape[-1]] if is_pca else coefficients
        return (pose if is_flat else pose + self.mean).unflatten(-1, (JOINTS - 1, 3))

    def joints(self, orientation: Tensor, pose: Tensor, shape: Tensor) -> Tensor:
        """The 21 joints (B, 21, 3) m in the order of ``joints.JOINTS``, before any translation.

        Args:
            orientation: (B, 3) rad, of the wrist.
            pose: (B, 15, 3) rad, of the other joints in MANO's order.
            shape: (B, 10).
        """
        turned, placed, rest, change = self._skeleton(orientation, pose, shape)
        part = (self.tip_template, self.tip_shapes, self.tip_corrections, self.tip_weights)
        tips = _skin(*part, turned, placed, rest, change, shape)
        return torch.cat([placed, tips], dim=1)[:, FROM_MANO]

    def vertices(self, orientation: Tensor, pose: Tensor, shape: Tensor) -> Tensor:
        """The surface (B, V, 3) m, before any translation; arguments as for ``joints``."""
        turned, placed, rest, change = self._skeleton(orientation, pose, shape)
        part = (self.template, self.shapes, self.corrections, self.weights)
        return _skin(*part, turned, placed, rest, change, shape)

    def _skeleton(self, orientation: Tensor, pose: Tensor, shape: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Rotations (B, 16, 3, 3), places (B, 16, 3), places at rest, and change of the 15 rotations (B, 135)."""
        rest = self.joint_template + torch.einsum("jds,bs->bjd", self.joint_shapes, shape)
        root, local = rotation_matrix(torch.cat([orientation[:, None], pose], dim=1)).split([1, JOINTS - 1], dim=1)
        change = (local - torch.eye(3, dtype=local.dtype, device=local.device)).flatten(1)
        fingers = local.unflatten(1, (_FINGERS, _PHALANGES))
        at_rest = rest[:, 1:].unflatten(1, (_FINGERS, _PHALANGES))
        turn, place, before = root, rest[:, :1], rest[:, :1]
        turns: list[Tensor] = []
        places: list[Tensor] = []
        for phalanx in range(_PHALANGES):
            place = place + (turn @ (at_rest[:, :, phalanx] - before)[..., None])[..., 0]
            turn = turn @ fingers[:, :, phalanx]
            before = at_rest[:, :, phalanx]
            turns.append(turn)
            places.append(place)
        turned = torch.cat([root, torch.stack(turns, dim=2).flatten(1, 2)], dim=1)
        placed = torch.cat([rest[:, :1], torch.stack(places, dim=2).flatten(1, 2)], dim=1)
        return turned, placed, rest, change


def _skin(
    template: Tensor,
    shapes: Tensor,
    corrections: Tensor,
    weights: Tensor,
    turned: Tensor,
    placed: Tensor,
    rest: Tensor,
    change: Tensor,
    shape: Tensor,
) -> Tensor:
    """Vertices (B, V, 3) that follow the joints by their weights."""
    shaped = template + torch.einsum("vds,bs->bvd", shapes, shape) + torch.einsum("vdc,bc->bvd", corrections, change)
    turn = torch.einsum("vj,bjmn->bvmn", weights, turned)
    move = torch.einsum("vj,bjm->bvm", weights, placed - (turned @ rest[..., None])[..., 0])
    return (turn @ shaped[..., None])[..., 0] + move


def rotation_matrix(vector: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of rotation vectors (..., 3) rad (Rodrigues' formula), smooth at zero."""
    angle = vector.square().sum(-1).clamp_min(1e-24).sqrt()[..., None, None]
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    sine, half = torch.sinc(angle / torch.pi), torch.sinc(angle / (2.0 * torch.pi))
    return torch.eye(3, dtype=vector.dtype, device=vector.device) + sine * skew + 0.5 * half.square() * (skew @ skew)
