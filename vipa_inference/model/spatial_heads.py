"""What the spatial encoder sees, as numbers: pointmaps, confidences and the camera's pose."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from vipa_inference.model.attention import feed_forward
from vipa_inference.model.spatial_blocks import ModulatedBlock, Rotation

if TYPE_CHECKING:
    from vipa_inference.config import SpatialEncoderConfig

WORLD_BLOCKS = 2
MAP_CHANNELS = 4  # x, y, z, confidence


@dataclass(frozen=True)
class Geometry:
    """Geometry of one frame; metric where the training data were."""

    pointmap: Tensor  # (B, H, W, 3) m, of each pixel, in the camera's own frame (x right, y down, z forward)
    confidence: Tensor  # (B, H, W), above 1
    world_pointmap: Tensor  # (B, H, W, 3) m, in the frame of the first camera
    world_confidence: Tensor  # (B, H, W), above 1
    pose: Tensor  # (B, 7): translation (3) m and unit quaternion (w, x, y, z), w >= 0, camera to first camera


class SpatialHeads(nn.Module):
    """Two pointmaps and a pose from the layers of the decoder (CUT3R, arXiv 2501.12387, Sec. 3.2).

    The pose is read from the pose token; the same token modulates the patch tokens for the pointmap in the world frame.
    """

    def __init__(self, config: "SpatialEncoderConfig") -> None:
        super().__init__()
        width, ratio = config.decoder_width, config.feed_forward_ratio
        # The linear head turns points behind the camera round; so was it trained.
        self.in_front = config.head == "linear"
        regressor = LinearRegressor if config.head == "linear" else DenseRegressor
        self.camera = regressor(config)
        self.world = regressor(config)
        self.world_blocks = nn.ModuleList(
            [ModulatedBlock(width, config.decoder_heads, ratio) for _ in range(WORLD_BLOCKS)]
        )
        self.pose = feed_forward(width, ratio, approximate="none", outputs=7)

    def forward(self, layers: Sequence[Tensor], rotation: Rotation, grid: tuple[int, int]) -> Geometry:
        """Geometry of one frame.

        Args:
            layers: the encoder's patch tokens (B, N, encoder width), the decoder's after one half and after three
                quarters of its layers (B, N, decoder width), and its last tokens, pose token first (B, 1 + N, …).
            rotation: of the patch tokens.
            grid: rows and columns of patches.
        """
        pose_token, tokens = layers[-1][:, 0], layers[-1][:, 1:]
        world_tokens = tokens
        for block in self.world_blocks:
            world_tokens = block(world_tokens, pose_token, rotation)
        camera = self.camera([*layers[:-1], tokens], grid)
        world = self.world([*layers[:-1], world_tokens], grid)
        return Geometry(
            pointmap=_points(camera[..., :3], self.in_front),
            confidence=1 + camera[..., 3].exp(),
            world_pointmap=_points(world[..., :3], in_front=False),
            world_confidence=1 + world[..., 3].exp(),
            pose=_pose(self.pose(pose_token)),
        )


class LinearRegressor(nn.Module):
    """Each patch token gives all its pixels."""

    def __init__(self, config: "SpatialEncoderConfig") -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.pixels = feed_forward(
            config.decoder_width,
            config.feed_forward_ratio,
            approximate="none",
            outputs=MAP_CHANNELS * config.patch_size**2,
        )

    def forward(self, layers: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """Map (B, H, W, 4) from the last of the layers (B, N, decoder width)."""
        patches = self.pixels(layers[-1]).transpose(1, 2).unflatten(2, grid)
        return functional.pixel_shuffle(patches, self.patch_size).movedim(1, -1)


class DenseRegressor(nn.Module):
    """Dense prediction transformer (arXiv 2103.13413, Sec. 3): four layers, as ever smaller images, fused upwards."""

    def __init__(self, config: "SpatialEncoderConfig") -> None:
        super().__init__()
        if config.patch_size != 16:
            raise ValueError(f"patch_size: the dense head needs 16, not {config.patch_size}")
        width, levels = config.dense_width, config.dense_levels
        inputs = (config.encoder_width, *(config.decoder_width,) * 3)
        resize = [
            [nn.ConvTranspose2d(levels[0], levels[0], 4, stride=4)],
            [nn.ConvTranspose2d(levels[1], levels[1], 2, stride=2)],
            [],
            [nn.Conv2d(levels[3], levels[3], 3, stride=2, padding=1)],
        ]
        self.reassemble = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(source, level, 1), *layers)
                for source, level, layers in zip(inputs, levels, resize, strict=True)
            ]
        )
        self.project = nn.ModuleList([nn.Conv2d(level, width, 3, padding=1, bias=False) for level in levels])
        self.fuse = nn.ModuleList([FusionStage(width, skip=i < len(levels) - 1) for i in range(len(levels))])
        self.output = nn.Sequential(
            nn.Conv2d(width, width // 2, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(width // 2, width // 2, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width // 2, MAP_CHANNELS, 1),
        )

    def forward(self, layers: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """Map (B, H, W, 4) from four layers of patch tokens (B, N, width)."""
        images = [
            project(reassemble(layer.transpose(1, 2).unflatten(2, grid)))
            for layer, reassemble, project in zip(layers, self.reassemble, self.project, strict=True)
        ]
        # An odd grid is halved upwards, so that the coarsest image may come back one row or column too large.
        path = self.fuse[3](images[3], None)[:, :, : grid[0], : grid[1]]
        for level in (2, 1, 0):
            path = self.fuse[level](path, images[level])
        return self.output(path).movedim(1, -1)


class FusionStage(nn.Module):
    """Adds a finer image to the path from the coarser ones and doubles its size."""

    def __init__(self, width: int, skip: bool) -> None:
        super().__init__()
        self.skip = ResidualConvolution(width) if skip else None
        self.refine = ResidualConvolution(width)
        self.output = nn.Conv2d(width, width, 1)

    def forward(self, path: Tensor, image: Tensor | None) -> Tensor:
        """(B, width, h, w) and an image of the same shape to (B, width, 2 h, 2 w)."""
        if self.skip is not None and image is not None:
            path = path + self.skip(image)
        larger = functional.interpolate(self.refine(path), scale_factor=2, mode="bilinear", align_corners=True)
        return self.output(larger)


class ResidualConvolution(nn.Module):
    """Two 3 x 3 convolutions, each after a rectifier, and the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, width, h, w) to the same shape."""
        return image + self.second(functional.relu(self.first(functional.relu(image))))


def _points(raw: Tensor, in_front: bool) -> Tensor:
    """Points (..., 3) m in the direction of the raw vector (..., 3), at the distance exp(its length) - 1."""
    if in_front:
        raw = torch.where(raw[..., 2:] < 0, -raw, raw)
    length = raw.norm(dim=-1, keepdim=True)
    return raw / length.clamp(min=1e-8) * torch.expm1(length)


def _pose(raw: Tensor) -> Tensor:
    """Pose (B, 7) of the raw output (B, 7): translation as a point, quaternion of unit length with w >= 0."""
    quaternion = functional.normalize(raw[..., 3:], dim=-1)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    return torch.cat([_points(raw[..., :3], in_front=False), quaternion], dim=-1)
