"""The spatial encoder: CUT3R's recurrent model of a scene (arXiv 2501.12387), written anew.

Each frame is encoded into patch tokens; two decoders, one for the frame and one for a persistent state, read each
other, so that the frame is understood in the light of what was seen before, and the state takes up what is new.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vipa_inference.model.spatial_blocks import (
    NORM_EPSILON,
    DecoderBlock,
    EncoderBlock,
    Rotation,
    grid_positions,
    rotation_of,
)
from vipa_inference.model.spatial_heads import Geometry, SpatialHeads

if TYPE_CHECKING:
    from vipa_inference.config import SpatialEncoderConfig

POSE_POSITION = -1  # row and column of the pose token, outside the grid of patches


@dataclass(frozen=True)
class SpatialState:
    """What the encoder remembers of the frames so far."""

    tokens: Tensor  # (B, state tokens, decoder width)
    memory: Tensor | None  # of poses, (B, entries, 2 * decoder width); None before the first frame


@dataclass(frozen=True)
class SpatialOutput(Geometry):
    """Features and geometry of T frames; the fields of ``Geometry`` with T after B."""

    features: Tensor  # (B, T, 1 + N, decoder width): pose token, patch tokens


class SpatialEncoder(nn.Module):
    """Own implementation of CUT3R for square or rectangular images; the frames of a call are one sequence.

    Args:
        config: size; ``config.head="none"`` leaves out the heads, which only ``forward`` needs.
    """

    def __init__(self, config: "SpatialEncoderConfig") -> None:
        super().__init__()
        self.config = config
        width, ratio = config.decoder_width, config.feed_forward_ratio
        self.patch_embedding = nn.Conv2d(3, config.encoder_width, config.patch_size, stride=config.patch_size)
        self.encoder_blocks = nn.ModuleList(
            [EncoderBlock(config.encoder_width, config.encoder_heads, ratio) for _ in range(config.encoder_layers)]
        )
        self.encoder_norm = nn.LayerNorm(config.encoder_width, eps=NORM_EPSILON)
        self.pose_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.pose_memory = PoseMemory(config)
        self.state_embedding = nn.Parameter(torch.randn(config.state_tokens, config.encoder_width))
        self.image_projection = nn.Linear(config.encoder_width, width)
        self.state_projection = nn.Linear(config.encoder_width, width)
        self.image_blocks = _decoder(config, config.decoder_heads)
        self.state_blocks = _decoder(config, config.state_heads)
        self.image_norm = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.state_norm = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.heads = None if config.head == "none" else SpatialHeads(config)

    def features(self, frames: Tensor) -> Tensor:
        """Pose token and patch tokens of the decoder's last layer, which is all that a policy needs.

        Args:
            frames: (B, T, 3, H, W) in [-1, 1], RGB; consecutive images of one scene.

        Returns:
            (B, T, 1 + N, decoder width), N = H / patch * W / patch.
        """
        tokens = self.encode(frames)
        grid = self._grid(frames)
        state = self.initial_state(frames.shape[0])
        seen: list[Tensor] = []
        for i in range(frames.shape[1]):
            layers, state = self.step(tokens[:, i], state, grid, update=i + 1 < frames.shape[1])
            seen.append(layers[-1])
        return torch.stack(seen, dim=1)

    def forward(self, frames: Tensor) -> SpatialOutput:
        """Features and geometry of frames (B, T, 3, H, W) in [-1, 1], RGB.

        Raises:
            ValueError: the encoder was built without heads, or the size of the frames is no multiple of the patch.
        """
        if self.heads is None:
            raise ValueError("spatial encoder: built without heads (head='none'), so it has features only")
        tokens = self.encode(frames)
        grid = self._grid(frames)
        rotation = self._rotation(grid_positions(*grid, device=frames.device), self.config.decoder_heads)
        state = self.initial_state(frames.shape[0])
        half, three_quarters = self.config.decoder_layers // 2, self.config.decoder_layers * 3 // 4
        seen: list[Tensor] = []
        geometry: list[Geometry] = []
        for i in range(frames.shape[1]):
            layers, state = self.step(tokens[:, i], state, grid, update=i + 1 < frames.shape[1])
            chosen = [layers[0], layers[half][:, 1:], layers[three_quarters][:, 1:], layers[-1]]
            geometry.append(self.heads(chosen, rotation, grid))
            seen.append(layers[-1])
        stacked = {
            item.name: torch.stack([getattr(one, item.name) for one in geometry], dim=1) for item in fields(Geometry)
        }
        return SpatialOutput(features=torch.stack(seen, dim=1), **stacked)

    def encode(self, frames: Tensor) -> Tensor:
        """Patch tokens (B, T, N, encoder width) of frames (B, T, 3, H, W), each by itself.

        Raises:
            ValueError: the size of the frames is no multiple of the patch.
        """
        patches = self.patch_embedding(frames.flatten(0, 1)).flatten(2).transpose(1, 2)
        positions = grid_positions(*self._grid(frames), device=frames.device)
        rotation = self._rotation(positions, self.config.encoder_heads, self.config.encoder_width)
        for block in self.encoder_blocks:
            patches = block(patches, rotation)
        return self.encoder_norm(patches).unflatten(0, frames.shape[:2])

    def initial_state(self, batch: int) -> SpatialState:
        """The state before the first frame."""
        return SpatialState(self.state_projection(self.state_embedding).expand(batch, -1, -1), memory=None)

    def step(
        self, tokens: Tensor, state: SpatialState, grid: tuple[int, int], update: bool = True
    ) -> tuple[list[Tensor], SpatialState]:
        """Understand one frame and take it up.

        Args:
            tokens: (B, N, encoder width) of the frame, from ``encode``.
            state: after the frames before.
            grid: rows and columns of patches.
            update: compute the new state; not needed after the last frame.

        Returns:
            The patch tokens given, then pose token and patch tokens (B, 1 + N, decoder width) after each decoder layer,
            the last one normalised; and the new state, or the given one without ``update``.
        """
        summary = tokens.mean(dim=1, keepdim=True)
        if state.memory is None:
            pose = self.pose_token.expand(tokens.shape[0], -1, -1)
        else:
            pose = self.pose_memory.read(summary, state.memory)
        patch_positions = grid_positions(*grid, device=tokens.device)
        pose_position = torch.full_like(patch_positions[:1], POSE_POSITION)
        image_positions = torch.cat([pose_position, patch_positions])
        state_positions = self.state_positions(tokens.device)
        heads = self.config.decoder_heads
        image_reads = self._rotation(image_positions, heads), self._rotation(state_positions, heads)
        heads = self.config.state_heads
        state_reads = self._rotation(state_positions, heads), self._rotation(image_positions, heads)

        image, remembered = torch.cat([pose, self.image_projection(tokens)], dim=1), state.tokens
        layers = [tokens]
        last = len(self.image_blocks) - 1
        for i, (image_block, state_block) in enumerate(zip(self.image_blocks, self.state_blocks, strict=True)):
            previous = image
            image = image_block(previous, remembered, *image_reads)
            if update or i < last:
                remembered = state_block(remembered, previous, *state_reads)
            layers.append(image)
        layers[-1] = self.image_norm(image)
        if not update:
            return layers, state
        memory = self.pose_memory.write(state.memory, summary, layers[-1][:, :1])
        return layers, SpatialState(self.state_norm(remembered), memory)

    def _grid(self, frames: Tensor) -> tuple[int, int]:
        """Rows and columns of patches."""
        height, width, patch = frames.shape[-2], frames.shape[-1], self.config.patch_size
        if height % patch or width % patch:
            raise ValueError(f"frames: {width} x {height} px is no multiple of the patch size {patch}")
        return height // patch, width // patch

    def state_positions(self, device: torch.device | None = None) -> Tensor:
        """Positions (state tokens, 2) of the state on a nearly square grid with an even number of columns."""
        columns = int(self.config.state_tokens**0.5)
        columns += columns % 2
        index = torch.arange(self.config.state_tokens, device=device)
        return torch.stack([torch.div(index, columns, rounding_mode="floor"), index % columns], dim=-1)

    def _rotation(self, positions: Tensor, heads: int, width: int | None = None) -> Rotation:
        return rotation_of(positions, (width or self.config.decoder_width) // heads, self.config.rotary_base)


class PoseMemory(nn.Module):
    """Remembers which pose belonged to which image, to guess the pose token of the next frame from its image."""

    def __init__(self, config: "SpatialEncoderConfig") -> None:
        super().__init__()
        width = config.decoder_width
        self.width = width
        self.key = nn.Linear(config.encoder_width, width)
        self.unknown_pose = nn.Parameter(torch.randn(1, 1, width) * 0.2)
        self.entries = nn.Parameter(torch.randn(1, config.local_memory, 2 * width) * 0.2)
        self.write_blocks = _decoder(config, config.decoder_heads, config.memory_layers, widths=2)
        self.read_blocks = _decoder(config, config.decoder_heads, config.memory_layers, widths=2)

    def read(self, summary: Tensor, memory: Tensor) -> Tensor:
        """Pose token (B, 1, decoder width) for an image's mean token (B, 1, encoder width)."""
        key = self.key(summary)
        query = torch.cat([key, self.unknown_pose.expand_as(key)], dim=-1)
        for block in self.read_blocks:
            query = block(query, memory)
        return query[..., -self.width :]

    def write(self, memory: Tensor | None, summary: Tensor, pose: Tensor) -> Tensor:
        """The memory (B, entries, 2 * decoder width) with an image's mean token and the pose token found for it."""
        pair = torch.cat([self.key(summary), pose], dim=-1)
        updated = self.entries.expand(summary.shape[0], -1, -1) if memory is None else memory
        for block in self.write_blocks:
            updated = block(updated, pair)
        return updated


def _decoder(config: "SpatialEncoderConfig", heads: int, layers: int | None = None, widths: int = 1) -> nn.ModuleList:
    """Decoder blocks of a multiple of the decoder's width; as many as the decoder has, unless told."""
    width = config.decoder_width * widths
    count = config.decoder_layers if layers is None else layers
    return nn.ModuleList([DecoderBlock(width, heads, config.feed_forward_ratio) for _ in range(count)])
