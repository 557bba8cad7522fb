"""Transformer blocks of the spatial encoder, with rotary positions (arXiv 2104.09864) along two axes."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from vipa_inference.model.attention import feed_forward

NORM_EPSILON = 1e-6

Rotation = tuple[Tensor, Tensor]
"""Cosine and sine (N, head width) of the angles by which each of N tokens turns its queries and keys."""


def grid_positions(rows: int, columns: int, device: torch.device | None = None) -> Tensor:
    """Row and column (rows * columns, 2) of the cells of a grid, in reading order."""
    index = torch.arange(rows * columns, device=device)
    return torch.stack([torch.div(index, columns, rounding_mode="floor"), index % columns], dim=-1)


def rotation_of(positions: Tensor, head_width: int, base: float) -> Rotation:
    """The rotation for tokens at integer positions (N, 2), which may be negative.

    The first half of a head turns with the row, the second with the column; within a half, channel k and channel
    k + head_width / 4 form the pair that turns by position / base^(4 k / head_width).
    """
    quarter = head_width // 4
    exponents = torch.arange(quarter, device=positions.device, dtype=torch.float32) / quarter
    angles = positions[..., None].float() * base**-exponents
    angles = torch.cat([angles, angles], dim=-1).flatten(-2)
    return angles.cos(), angles.sin()


def rotate(heads: Tensor, rotation: Rotation | None) -> Tensor:
    """Turn queries or keys (B, heads, N, head width); None leaves them."""
    if rotation is None:
        return heads
    cosine, sine = rotation
    first, second = heads.unflatten(-1, (2, 2, -1)).unbind(dim=-2)
    quarter_turn = torch.stack([-second, first], dim=-2).flatten(-3)
    return (heads * cosine + quarter_turn * sine).to(heads.dtype)


class SelfAttention(nn.Module):
    """Multi-head attention among the tokens of one stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, tokens: Tensor, rotation: Rotation | None) -> Tensor:
        """Tokens (B, N, width) to (B, N, width)."""
        query, key, value = _split(self.query_key_value(tokens), 3, self.heads)
        mixed = functional.scaled_dot_product_attention(rotate(query, rotation), rotate(key, rotation), value)
        return self.output(mixed.transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Multi-head attention from one stream to another of the same width."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)

    def forward(
        self, tokens: Tensor, context: Tensor, rotation: Rotation | None, context_rotation: Rotation | None
    ) -> Tensor:
        """Tokens (B, N, width) that read a context (B, M, width) to (B, N, width)."""
        (query,) = _split(self.query(tokens), 1, self.heads)
        key, value = _split(self.key_value(context), 2, self.heads)
        mixed = functional.scaled_dot_product_attention(rotate(query, rotation), rotate(key, context_rotation), value)
        return self.output(mixed.transpose(1, 2).flatten(2))


class EncoderBlock(nn.Module):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, width: int, heads: int, ratio: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.attention = SelfAttention(width, heads)
        self.feed_forward_norm = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.feed_forward = feed_forward(width, ratio, approximate="none")

    def forward(self, tokens: Tensor, rotation: Rotation | None) -> Tensor:
        """Tokens (B, N, width) to (B, N, width)."""
        tokens = tokens + self.attention(self.attention_norm(tokens), rotation)
        return tokens + self.feed_forward(self.feed_forward_norm(tokens))


class DecoderBlock(nn.Module):
    """Pre-norm self-attention, cross-attention to a normalised context, and feed-forward."""

    def __init__(self, width: int, heads: int, ratio: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.attention = SelfAttention(width, heads)
        self.cross_norm = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.context_norm = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.cross_attention = CrossAttention(width, heads)
        self.feed_forward_norm = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.feed_forward = feed_forward(width, ratio, approximate="none")

    def forward(
        self,
        tokens: Tensor,
        context: Tensor,
        rotation: Rotation | None = None,
        context_rotation: Rotation | None = None,
    ) -> Tensor:
        """Tokens (B, N, width) that read a context (B, M, width) to (B, N, width)."""
        tokens = tokens + self.attention(self.attention_norm(tokens), rotation)
        context = self.context_norm(context)
        tokens = tokens + self.cross_attention(self.cross_norm(tokens), context, rotation, context_rotation)
        return tokens + self.feed_forward(self.feed_forward_norm(tokens))


class ModulatedNorm(nn.Module):
    """Layer norm whose result is scaled and shifted by a condition (arXiv 2212.09748, Sec. 3.2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.modulation = nn.Linear(width, 2 * width)

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """Tokens (B, N, width) under a condition (B, width)."""
        shift, scale = self.modulation(functional.silu(condition))[:, None].chunk(2, dim=-1)
        return self.norm(tokens) * (1 + scale) + shift


class ModulatedBlock(nn.Module):
    """An encoder block whose norms are modulated by a condition."""

    def __init__(self, width: int, heads: int, ratio: float) -> None:
        super().__init__()
        self.attention_norm = ModulatedNorm(width)
        self.attention = SelfAttention(width, heads)
        self.feed_forward_norm = ModulatedNorm(width)
        self.feed_forward = feed_forward(width, ratio, approximate="none")

    def forward(self, tokens: Tensor, condition: Tensor, rotation: Rotation | None) -> Tensor:
        """Tokens (B, N, width) under a condition (B, width) to (B, N, width)."""
        tokens = tokens + self.attention(self.attention_norm(tokens, condition), rotation)
        return tokens + self.feed_forward(self.feed_forward_norm(tokens, condition))


def _split(tokens: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """Parts of (B, heads, N, head width) each, from their concatenation (B, N, parts * width)."""
    return tokens.unflatten(-1, (parts, heads, -1)).transpose(1, 3).unbind(dim=2)
