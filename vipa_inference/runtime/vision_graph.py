"""The vision encoder as a graph: both encoders, fusion, pixel shuffle and projector."""

from typing import Any

import torch
from torch import Tensor, nn

from vipa_inference.config import SpatialEncoderConfig
from vipa_inference.model.fusion import Fusion
from vipa_inference.model.spatial_blocks import DecoderBlock, EncoderBlock, SelfAttention, grid_positions, rotation_of
from vipa_inference.model.spatial_encoder import SpatialEncoder
from vipa_inference.model.vipa_vla import VipaVla
from vipa_inference.runtime.folding import (
    FixedRotation,
    FoldedCrossAttention,
    FoldedFeedForward,
    FoldedSelfAttention,
    FoldedSingleAttention,
    after_norm,
    normalise,
    rows,
    scaled,
)


class VisionEncoderGraph(nn.Module):
    """Image tokens of semantic and, with a spatial encoder, spatial pixels; ``VipaVla.encode_images`` for one batch."""

    def __init__(self, model: VipaVla) -> None:
        super().__init__()
        self.config = model.config
        self.semantic = _SemanticGraph(model.internvl.model.vision_tower)
        self.spatial: _SpatialGraph | None = None
        self.fusion: _FusionGraph | None = None
        if model.spatial_encoder is not None and model.fusion is not None:
            self.spatial, self.fusion = _SpatialGraph(model.spatial_encoder), _FusionGraph(model.fusion)
        self.pixel_shuffle: Any = model.internvl.model.pixel_shuffle
        projector: Any = model.internvl.model.multi_modal_projector
        self.epsilon = projector.layer_norm.eps
        self.first = after_norm(projector.linear_1, projector.layer_norm)
        self.activation, self.second = projector.act, projector.linear_2

    def forward(self, semantic_pixels: Tensor, spatial_pixels: Tensor | None = None) -> Tensor:
        """Image tokens (1, F, N, D) of pixels (1, F, 3, S, S) and (1, F, 3, R, R)."""
        features = self.semantic(semantic_pixels.flatten(0, 1))
        if self.spatial is not None and self.fusion is not None and spatial_pixels is not None:
            features = self.fusion(features, self.spatial(spatial_pixels[0]))
        side = self.config.semantic.image_size // self.config.semantic.patch_size
        grid = features.unflatten(1, (side, side))
        shuffled = self.pixel_shuffle(grid, scale_factor=self.config.semantic.downsample_ratio).flatten(1, 2)
        return self.second(self.activation(self.first(normalise(shuffled, self.epsilon))))[None]


class _SemanticGraph(nn.Module):
    """InternVL's vision tower; each layer scale is in the linear layer before it."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        positions = tower.embeddings.position_embeddings
        self.patches = tower.embeddings.patch_embeddings.projection
        self.positions = nn.Parameter(positions[:, 1:].detach(), requires_grad=False)
        self.class_token = nn.Parameter((tower.embeddings.cls_token + positions[:, :1]).detach(), requires_grad=False)
        self.layers = nn.Sequential()
        for layer in tower.encoder.layer:
            attention, mlp = layer.attention, layer.mlp
            self.layers.append(
                FoldedSelfAttention(
                    layer.layernorm_before,
                    attention.q_proj,
                    attention.k_proj,
                    attention.v_proj,
                    scaled(attention.projection_layer, layer.lambda_1),
                    attention.num_heads,
                )
            )
            self.layers.append(FoldedFeedForward(layer.layernorm_after, mlp.fc1, scaled(mlp.fc2, layer.lambda_2)))
        self.norm = tower.layernorm

    def forward(self, pixels: Tensor) -> Tensor:
        """Patch tokens (F, N, width) of pixels (F, 3, S, S)."""
        patches = self.patches(pixels).flatten(2).transpose(1, 2) + self.positions
        tokens = torch.cat([self.class_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        return self.norm(self.layers(tokens)[:, 1:])


class _SpatialGraph(nn.Module):
    """The features of the spatial encoder for one sequence of frames of the configured size."""

    def __init__(self, encoder: SpatialEncoder) -> None:
        super().__init__()
        config = encoder.config
        side = config.image_size // config.patch_size
        patches = grid_positions(side, side)
        image = torch.cat([torch.full_like(patches[:1], -1), patches])
        state = encoder.state_positions()
        self.patches = encoder.patch_embedding
        rotation = _rotation(config, patches, config.encoder_width // config.encoder_heads)
        blocks = [block for block in encoder.encoder_blocks if isinstance(block, EncoderBlock)]
        self.encoder = nn.Sequential(*[layer for block in blocks for layer in _encoder_layers(block, rotation)])
        self.epsilon = encoder.encoder_norm.eps
        self.pose_token = encoder.pose_token
        self.image_projection = after_norm(encoder.image_projection, encoder.encoder_norm)
        heads = config.decoder_width // config.decoder_heads
        image_blocks = _decoder(encoder.image_blocks, _rotation(config, image, heads), _rotation(config, state, heads))
        self.image_blocks = nn.ModuleList(image_blocks)
        heads = config.decoder_width // config.state_heads
        state_blocks = _decoder(encoder.state_blocks, _rotation(config, state, heads), _rotation(config, image, heads))
        self.state_blocks = nn.ModuleList(state_blocks)
        self.image_norm, self.state_norm = encoder.image_norm, encoder.state_norm
        self.memory = _MemoryGraph(encoder)
        state_tokens = encoder.state_projection(encoder.state_embedding)[None]
        self.initial_state = _constant(state_tokens)
        self.attended_state = _constant(state_blocks[0].attention(state_tokens))

    def forward(self, pixels: Tensor) -> Tensor:
        """Pose token and patch tokens (F, 1 + N, width) of pixels (F, 3, R, R)."""
        encoded = normalise(self.encoder(self.patches(pixels).flatten(2).transpose(1, 2)), self.epsilon)
        projected = self.image_projection(encoded)
        frames = pixels.shape[0]
        keys = self.memory.key(encoded.mean(dim=1, keepdim=True))
        state, memory, pose = self.initial_state, None, self.pose_token
        features: list[Tensor] = []
        for i in range(frames):
            is_last = i + 1 == frames
            if memory is not None:
                pose = self.memory.read(keys[i : i + 1], memory)
            image = torch.cat([pose, projected[i : i + 1]], dim=1)
            for j, (image_block, state_block) in enumerate(zip(self.image_blocks, self.state_blocks, strict=True)):
                previous = image
                image = image_block(previous, state)
                if not is_last or j + 1 < len(self.image_blocks):
                    state = state_block(state, previous, self.attended_state if i == j == 0 else None)
            image = self.image_norm(image)
            features.append(image)
            if not is_last:
                memory = self.memory.write(memory, keys[i : i + 1], image[:, :1])
                state = self.state_norm(state)
        return torch.cat(features)


class _MemoryGraph(nn.Module):
    """The memory of poses: what is written is one token, and what asks is one token."""

    def __init__(self, encoder: SpatialEncoder) -> None:
        super().__init__()
        memory = encoder.pose_memory
        self.key = after_norm(memory.key, encoder.encoder_norm)
        self.unknown_pose, self.width = memory.unknown_pose, memory.width
        writers = [_WriteGraph(block) for block in _known(memory.write_blocks)]
        self.writers = nn.ModuleList(writers)
        self.readers = nn.ModuleList([_ReadGraph(block) for block in _known(memory.read_blocks)])
        self.attended_entries = _constant(writers[0].attention(memory.entries))

    def write(self, memory: Tensor | None, key: Tensor, pose: Tensor) -> Tensor:
        """The memory (1, entries, 2 * width), None before the first image, with the key and the pose of an image.

        Both are tokens (1, 1, width).
        """
        pair = torch.cat([key, pose], dim=-1)
        attended = self.attended_entries if memory is None else None
        written = self.attended_entries if memory is None else memory
        for i, block in enumerate(self.writers):
            written = block(written, pair, attended if i == 0 else None)
        return written

    def read(self, key: Tensor, memory: Tensor) -> Tensor:
        """The pose token (1, 1, width) to expect for an image's key (1, 1, width)."""
        query = torch.cat([key, self.unknown_pose], dim=-1)
        for block in self.readers:
            query = block(query, memory)
        return query[..., -self.width :]


class _WriteGraph(nn.Module):
    """One block that writes the memory; its context is a single token."""

    def __init__(self, block: DecoderBlock) -> None:
        super().__init__()
        cross = block.cross_attention
        value = rows(cross.key_value, slice(cross.output.out_features, None))
        self.attention = _self_attention(block.attention_norm, block.attention, None)
        self.cross_attention = FoldedSingleAttention(block.context_norm, value, cross.output)
        self.feed_forward = _feed_forward(block)

    def forward(self, memory: Tensor, pair: Tensor, attended: Tensor | None = None) -> Tensor:
        """The memory (1, entries, 2 * width), or what its self-attention gave, that reads a pair (1, 1, 2 * width)."""
        attended = self.attention(memory) if attended is None else attended
        return self.feed_forward(self.cross_attention(attended, pair))


class _ReadGraph(nn.Module):
    """One block that reads the memory for a single token."""

    def __init__(self, block: DecoderBlock) -> None:
        super().__init__()
        own = block.attention
        value = rows(own.query_key_value, slice(2 * own.output.out_features, None))
        self.attention = FoldedSingleAttention(block.attention_norm, value, own.output)
        self.cross_attention = _cross_attention(block, None, None)
        self.feed_forward = _feed_forward(block)

    def forward(self, query: Tensor, memory: Tensor) -> Tensor:
        """The query (1, 1, 2 * width) that reads the memory (1, entries, 2 * width)."""
        return self.feed_forward(self.cross_attention(self.attention(query, query), memory))


class _FusionGraph(nn.Module):
    """The fusion; alpha is in the linear layer before it."""

    def __init__(self, fusion: Fusion) -> None:
        super().__init__()
        attention = fusion.attention
        self.attention = FoldedCrossAttention(
            fusion.semantic_norm,
            fusion.spatial_norm,
            attention.query,
            attention.key_value,
            scaled(attention.output, fusion.alpha),
            attention.heads,
        )
        self.norm = fusion.norm

    def forward(self, semantic: Tensor, spatial: Tensor) -> Tensor:
        """Fused tokens (F, N_v, d_v)."""
        return self.norm(self.attention(semantic, spatial))


class _DecoderGraph(nn.Module):
    """One block of a decoder."""

    def __init__(self, block: DecoderBlock, rotation: FixedRotation, context_rotation: FixedRotation) -> None:
        super().__init__()
        self.attention = _self_attention(block.attention_norm, block.attention, rotation)
        self.cross_attention = _cross_attention(block, rotation, context_rotation)
        self.feed_forward = _feed_forward(block)

    def forward(self, tokens: Tensor, context: Tensor, attended: Tensor | None = None) -> Tensor:
        """Tokens (1, N, width), or what their self-attention gave, that read a context (1, M, width)."""
        attended = self.attention(tokens) if attended is None else attended
        return self.feed_forward(self.cross_attention(attended, context))


def _decoder(blocks: nn.ModuleList, rotation: FixedRotation, context_rotation: FixedRotation) -> list[_DecoderGraph]:
    return [_DecoderGraph(block, rotation, context_rotation) for block in _known(blocks)]


def _known(blocks: nn.ModuleList) -> list[DecoderBlock]:
    return [block for block in blocks if isinstance(block, DecoderBlock)]


def _constant(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach(), requires_grad=False)


def _encoder_layers(block: EncoderBlock, rotation: FixedRotation) -> tuple[nn.Module, nn.Module]:
    return _self_attention(block.attention_norm, block.attention, rotation), _feed_forward(block)


def _self_attention(
    norm: nn.LayerNorm, attention: SelfAttention, rotation: FixedRotation | None
) -> FoldedSelfAttention:
    width, joint = attention.output.out_features, attention.query_key_value
    query, key, value = (rows(joint, slice(i * width, (i + 1) * width)) for i in range(3))
    return FoldedSelfAttention(norm, query, key, value, attention.output, attention.heads, rotation)


def _cross_attention(
    block: DecoderBlock, rotation: FixedRotation | None, context_rotation: FixedRotation | None
) -> FoldedCrossAttention:
    attention = block.cross_attention
    return FoldedCrossAttention(
        block.cross_norm,
        block.context_norm,
        attention.query,
        attention.key_value,
        attention.output,
        attention.heads,
        rotation,
        context_rotation,
    )


def _feed_forward(block: EncoderBlock | DecoderBlock) -> FoldedFeedForward:
    first, _, second = block.feed_forward
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    return FoldedFeedForward(block.feed_forward_norm, first, second)


def _rotation(config: SpatialEncoderConfig, positions: Tensor, head_width: int) -> FixedRotation:
    """The rotation for positions (N, 2); a head is made of row, row's partner, column, column's partner."""
    row, row_partner, column, column_partner = torch.arange(head_width).chunk(4)
    order = torch.cat([row, column, row_partner, column_partner])
    cosine, sine = rotation_of(positions, head_width, config.rotary_base)
    return FixedRotation(cosine[:, order], sine[:, order], order)
