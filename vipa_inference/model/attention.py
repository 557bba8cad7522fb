"""Multi-head attention with separate widths for queries and keys, the way every block of this model uses it."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Scaled dot-product attention; keys and values may be computed once and used many times.

    Args:
        width: of queries and output.
        heads: number of heads; divides ``width``.
        context_width: of what is attended to; None: the queries themselves (self-attention).
    """

    def __init__(self, width: int, heads: int, context_width: int | None = None) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads: {heads} does not divide the width {width}")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(context_width or width, 2 * width)
        self.output = nn.Linear(width, width)

    def keys_values(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, heads, N, width / heads) of a context (B, N, context_width)."""
        key, value = self.key_value(context).chunk(2, dim=-1)
        return self._split(key), self._split(value)

    def forward(self, queries: Tensor, keys_values: tuple[Tensor, Tensor]) -> Tensor:
        """Attend from (B, T, width) to precomputed keys and values; returns (B, T, width)."""
        mixed = functional.scaled_dot_product_attention(self._split(self.query(queries)), *keys_values)
        return self.output(mixed.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def initialise_linear_layers(module: nn.Module) -> None:
    """Let every linear layer of a module begin with zero bias and weights that preserve the variance of its inputs."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)


def sinusoidal_positions(count: int, width: int) -> Tensor:
    """Sines and cosines (count, width) of the positions 0 to count - 1, for sequences of up to about 100."""
    return sinusoidal_embedding(torch.arange(count) / 1000.0, width, max_period=100.0)


def feed_forward(width: int, ratio: float, approximate: str = "tanh", outputs: int | None = None) -> nn.Sequential:
    """Two linear layers with a GELU between them; ``approximate="none"`` for the exact one."""
    hidden = int(width * ratio)
    return nn.Sequential(
        nn.Linear(width, hidden), nn.GELU(approximate=approximate), nn.Linear(hidden, outputs or width)
    )


def sinusoidal_embedding(values: Tensor, width: int, max_period: float = 10_000.0) -> Tensor:
    """Sine and cosine features (..., width) of values (...) in [0, 1] (arXiv 1706.03762, Sec. 3.5)."""
    half = width // 2
    frequencies = torch.exp(
        -torch.arange(half, device=values.device, dtype=torch.float32) * (torch.log(torch.tensor(max_period)) / half)
    )
    angles = values.float()[..., None] * 1000.0 * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
