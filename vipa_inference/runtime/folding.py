"""Transformer parts as graphs want them: whatever is constant is worked out once, in the weights.

A norm's scale and shift, the scale of the attention, a layer scale and the order of rotary channels move into the
linear layers beside them; queries, keys and values of a stream come from one linear layer. The functions stay the same,
to rounding.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer of given weights (outputs, inputs) and bias (outputs,)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return layer


def bias_of(layer: nn.Linear) -> Tensor | None:
    """The bias (outputs,) of a layer, which torch declares to be always there."""
    return cast(Tensor | None, layer.bias)


def after_norm(layer: nn.Linear, norm: Any) -> nn.Linear:
    """The layer with the scale and, where it has one, the shift of the norm before it."""
    weight, bias, shift = layer.weight, bias_of(layer), getattr(norm, "bias", None)
    if shift is not None:
        bias = weight @ shift if bias is None else bias + weight @ shift
    return linear(weight * norm.weight, bias)


def scaled(layer: nn.Linear, factor: Tensor | float) -> nn.Linear:
    """The layer with its outputs multiplied by a factor, one for all or one for each (outputs,)."""
    factors = torch.as_tensor(factor, dtype=layer.weight.dtype).expand(layer.out_features)
    bias = bias_of(layer)
    return linear(layer.weight * factors[:, None], None if bias is None else bias * factors)


def rows(layer: nn.Linear, index: Tensor | slice) -> nn.Linear:
    """The layer with some of its outputs, in another order."""
    bias = bias_of(layer)
    return linear(layer.weight[index], None if bias is None else bias[index])


def stacked(layers: Sequence[nn.Linear]) -> nn.Linear:
    """One layer whose outputs are those of several layers, one after the other."""
    biases = [bias for bias in map(bias_of, layers) if bias is not None]
    has_bias = len(biases) == len(layers)
    return linear(torch.cat([layer.weight for layer in layers]), torch.cat(biases) if has_bias else None)


def composed(first: nn.Linear, second: nn.Linear) -> nn.Linear:
    """One layer that does what ``second`` after ``first`` does."""
    inner = bias_of(first)
    bias = second.bias if inner is None else second.bias + second.weight @ inner
    return linear(second.weight @ first.weight, bias)


def normalise(tokens: Tensor, epsilon: float) -> Tensor:
    """Layer norm over the last axis, without scale and shift."""
    return functional.layer_norm(tokens, tokens.shape[-1:], eps=epsilon)


def rms_normalise(tokens: Tensor, epsilon: float) -> Tensor:
    """Root-mean-square norm over the last axis, without scale."""
    return tokens * torch.rsqrt(tokens.float().square().mean(-1, keepdim=True) + epsilon).to(tokens.dtype)


def equal_parts(tokens: Tensor, count: int) -> list[Tensor]:
    """Parts of the last axis, as slices: a chunk would become a sequence in ONNX, which runtimes copy twice."""
    width = tokens.shape[-1] // count
    return [tokens[..., i * width : (i + 1) * width] for i in range(count)]


def rotate(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn heads (…, N, d) by angles (N, d) whose halves are equal; channel k pairs with channel k + d / 2."""
    first, second = equal_parts(heads, 2)
    return heads * cosine + torch.cat([-second, first], dim=-1) * sine


class FixedRotation(nn.Module):
    """The rotation of a stream whose positions never change.

    Args:
        cosine, sine: (N, d) of the angles, channels in the order in which they come out of ``order``.
        order: (d,) channels of a head such that those that turn together lie half a head apart.
    """

    def __init__(self, cosine: Tensor, sine: Tensor, order: Tensor) -> None:
        super().__init__()
        self.cosine, self.sine, self.order = nn.Buffer(cosine), nn.Buffer(sine), order

    def forward(self, heads: Tensor) -> Tensor:
        """Turn heads (…, N, d)."""
        return rotate(heads, self.cosine, self.sine)


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """(B, N, heads * d) to (B, heads, N, d)."""
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention of scaled queries (B, heads, N, d) as tokens (B, N, heads * d); the mask is added to the scores."""
    scores = query @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores + mask
    return (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)


class FoldedSelfAttention(nn.Module):
    """Pre-norm self-attention with its residual.

    Args:
        norm: layer norm before it.
        query, key, value, output: linear layers of one width.
        heads: number of heads.
        rotation: of the tokens; None: they have no rotary positions.
    """

    def __init__(
        self,
        norm: nn.LayerNorm,
        query: nn.Linear,
        key: nn.Linear,
        value: nn.Linear,
        output: nn.Linear,
        heads: int,
        rotation: FixedRotation | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.epsilon = heads, norm.eps
        query, key = prepared(query, key, heads, rotation)
        self.projection = after_norm(stacked([query, key, value]), norm)
        self.output = output
        self.rotation = rotation

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, width) to (B, N, width)."""
        parts = equal_parts(self.projection(normalise(tokens, self.epsilon)), 3)
        query, key, value = (split_heads(part, self.heads) for part in parts)
        if self.rotation is not None:
            query, key = self.rotation(query), self.rotation(key)
        return tokens + self.output(attend(query, key, value))


class FoldedCrossAttention(nn.Module):
    """Pre-norm cross-attention with its residual; arguments as those of ``FoldedSelfAttention``."""

    def __init__(
        self,
        norm: nn.LayerNorm,
        context_norm: nn.LayerNorm,
        query: nn.Linear,
        key_value: nn.Linear,
        output: nn.Linear,
        heads: int,
        rotation: FixedRotation | None = None,
        context_rotation: FixedRotation | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.epsilon, self.context_epsilon = heads, norm.eps, context_norm.eps
        width = query.out_features
        query, key = prepared(query, rows(key_value, slice(width)), heads, rotation)
        self.query = after_norm(query, norm)
        self.key_value = after_norm(stacked([key, rows(key_value, slice(width, None))]), context_norm)
        self.output = output
        self.rotation, self.context_rotation = rotation, context_rotation

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """Tokens (B, N, width) that read a context (B, M, context width)."""
        query = split_heads(self.query(normalise(tokens, self.epsilon)), self.heads)
        parts = equal_parts(self.key_value(normalise(context, self.context_epsilon)), 2)
        key, value = (split_heads(part, self.heads) for part in parts)
        if self.rotation is not None:
            query = self.rotation(query)
        if self.context_rotation is not None:
            key = self.context_rotation(key)
        return tokens + self.output(attend(query, key, value))


class FoldedSingleAttention(nn.Module):
    """Attention to a single token, whose weight is 1 whatever the query: value and output of that token."""

    def __init__(self, norm: nn.LayerNorm, value: nn.Linear, output: nn.Linear) -> None:
        super().__init__()
        self.epsilon = norm.eps
        self.projection = composed(after_norm(value, norm), output)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """Tokens (B, N, width) that read a context (B, 1, context width)."""
        return tokens + self.projection(normalise(context, self.epsilon))


class FoldedFeedForward(nn.Module):
    """Pre-norm feed-forward with its residual and the exact GELU, x / 2 (1 + erf(x / sqrt 2)).

    The constants are in the linear layers, so that u (1 + erf u) remains; as ``Gelu`` runtimes merge it into a slower
    matrix product.
    """

    def __init__(self, norm: nn.LayerNorm, first: nn.Linear, second: nn.Linear) -> None:
        super().__init__()
        self.epsilon = norm.eps
        self.first = scaled(after_norm(first, norm), 0.5**0.5)
        self.second = linear(second.weight * 0.5**0.5, second.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, width) to (B, N, width)."""
        hidden = self.first(normalise(tokens, self.epsilon))
        return tokens + self.second(hidden * (torch.erf(hidden) + 1.0))


def approximate_gelu(values: Tensor) -> Tensor:
    """GELU with the approximation by tanh, x / 2 (1 + tanh z), as x sigmoid(2 z), for a sigmoid takes less time."""
    slope = 2.0 * (2.0 / torch.pi) ** 0.5
    return values * torch.sigmoid(values * (slope * 0.044715 * (values * values) + slope))


def prepared(
    query: nn.Linear, key: nn.Linear, heads: int, rotation: FixedRotation | None = None
) -> tuple[nn.Linear, nn.Linear]:
    """Queries that are scaled for the attention, and keys; both with the channels of a head as the rotation wants."""
    head_width = query.out_features // heads
    if rotation is not None:
        index = (torch.arange(heads)[:, None] * head_width + rotation.order).flatten()
        query, key = rows(query, index), rows(key, index)
    return scaled(query, head_width**-0.5), key
