"""The flow-matching action head: a diffusion transformer conditioned on the action queries (paper Sec. 3.3)."""

import torch
from torch import Tensor, nn

from vipa_inference.config import ActionHeadConfig
from vipa_inference.model.attention import (
    Attention,
    feed_forward,
    initialise_linear_layers,
    sinusoidal_embedding,
    sinusoidal_positions,
)

TIME_FEATURES = 256  # sines and cosines of the flow time

KeysValues = list[tuple[Tensor, Tensor]]


class ActionHead(nn.Module):
    """Predicts the flow from noise to actions, a - eps, from [state; noisy actions] and the action queries' states.

    Each token has its own flow time tau: a committed prefix of the chunk is given clean, at tau = 1 (training-time
    real-time chunking, arXiv 2512.05964); the state token is always clean. Keys and values of the cross-attention do
    not depend on tau and are computed once per chunk.

    Args:
        config: size.
        context_width: of the action queries' hidden states.
    """

    def __init__(self, config: ActionHeadConfig, context_width: int) -> None:
        super().__init__()
        self.config = config
        self.state_encoder = nn.Sequential(
            nn.Linear(config.proprioception_dimension, config.width), nn.SiLU(), nn.Linear(config.width, config.width)
        )
        self.action_encoder = nn.Linear(config.action_dimension, config.width)
        self.position = nn.Parameter(sinusoidal_positions(1 + config.horizon, config.width)[None])
        self.time_encoder = nn.Sequential(
            nn.Linear(256, config.width), nn.SiLU(), nn.Linear(config.width, config.width)
        )
        self.context_norm = nn.LayerNorm(context_width)
        self.blocks = nn.ModuleList([Block(config, context_width) for _ in range(config.layers)])
        self.final_norm = nn.LayerNorm(config.width, elementwise_affine=False)
        self.final_modulation = nn.Linear(config.width, 2 * config.width)
        self.action_decoder = nn.Linear(config.width, config.action_dimension)
        self._initialise()

    def keys_values(self, context: Tensor) -> KeysValues:
        """Keys and values of every block for the action queries' hidden states (B, Q, context_width)."""
        normalised = self.context_norm(context)
        return [block.cross_attention.keys_values(normalised) for block in self._blocks()]

    def velocity(self, noisy: Tensor, tau: Tensor, state: Tensor, keys_values: KeysValues) -> Tensor:
        """The flow (B, H, A) at noisy actions (B, H, A) with flow times (B, H) in [0, 1] and state (B, P)."""
        tokens = torch.cat([self.state_encoder(state)[:, None], self.action_encoder(noisy)], dim=1) + self.position
        tau = torch.cat([torch.ones_like(tau[:, :1]), tau], dim=1)
        time = self.time_encoder(sinusoidal_embedding(tau, TIME_FEATURES).to(tokens.dtype))
        for block, pair in zip(self._blocks(), keys_values, strict=True):
            tokens = block(tokens, time, pair)
        shift, scale = self.final_modulation(nn.functional.silu(time)).chunk(2, dim=-1)
        return self.action_decoder(self.final_norm(tokens) * (1 + scale) + shift)[:, 1:]

    def loss(
        self,
        actions: Tensor,
        state: Tensor,
        context: Tensor,
        weight: Tensor,
        prefix: Tensor | None = None,
        noise: Tensor | None = None,
        tau: Tensor | None = None,
    ) -> Tensor:
        """Flow-matching loss |v - (a - eps)|^2 with tau ~ U(0, 1) (paper Sec. 3.3).

        Args:
            actions: normalised actions (B, H, A).
            state: normalised proprioception (B, P).
            context: hidden states of the action queries (B, Q, context_width).
            weight: (B, H) 1 for actions that count, 0 for padding.
            prefix: (B,) number of leading actions given clean, at tau = 1; they do not count in the loss.
            noise: (B, H, A) standard normal; None: drawn here.
            tau: (B,) flow times; None: drawn here.

        Returns:
            The mean over what counts, a scalar.
        """
        if noise is None:
            noise = torch.randn_like(actions)
        if tau is None:
            tau = torch.rand(actions.shape[0], device=actions.device, dtype=actions.dtype)
        tau = tau[:, None].expand(actions.shape[:2])
        if prefix is not None:
            clean = torch.arange(actions.shape[1], device=actions.device)[None] < prefix[:, None]
            tau = torch.where(clean, torch.ones_like(tau), tau)
            weight = weight * ~clean
        noisy = (1 - tau[..., None]) * noise + tau[..., None] * actions
        predicted = self.velocity(noisy, tau, state, self.keys_values(context))
        error = (predicted - (actions - noise)).float().square().mean(dim=-1)
        return (error * weight).sum() / weight.sum().clamp(min=1)

    def sample(
        self,
        noise: Tensor,
        state: Tensor,
        context: Tensor,
        prefix: Tensor | None = None,
        prefix_length: Tensor | None = None,
        steps: int | None = None,
    ) -> Tensor:
        """Actions (B, H, A) by Euler integration from noise (B, H, A).

        Args:
            noise: standard normal, the start of the flow.
            state: normalised proprioception (B, P).
            context: hidden states of the action queries (B, Q, context_width).
            prefix: (B, H, A) normalised actions already committed; only the first ``prefix_length`` (B,) count.
            prefix_length: (B,) how many.
            steps: denoising steps; None: those of the configuration.
        """
        keys_values = self.keys_values(context)
        count = steps or self.config.denoising_steps
        actions = noise
        for i in range(count):
            actions = self.denoise(actions, i / count, 1.0 / count, state, keys_values, prefix, prefix_length)
        if prefix is None or prefix_length is None:
            return actions
        return torch.where(_mask(actions, prefix_length)[..., None], prefix, actions)

    def denoise(
        self,
        actions: Tensor,
        tau: float,
        step: float,
        state: Tensor,
        keys_values: KeysValues,
        prefix: Tensor | None = None,
        prefix_length: Tensor | None = None,
    ) -> Tensor:
        """One Euler step of length ``step`` from flow time ``tau``; a committed prefix is held clean."""
        times = torch.full(actions.shape[:2], tau, dtype=actions.dtype, device=actions.device)
        if prefix is not None and prefix_length is not None:
            clean = _mask(actions, prefix_length)
            actions = torch.where(clean[..., None], prefix, actions)
            times = torch.where(clean, torch.ones_like(times), times)
        return actions + step * self.velocity(actions, times, state, keys_values)

    def _initialise(self) -> None:
        """Blocks begin as the identity but for the cross-attention, the flow at zero (arXiv 2212.09748, Sec. 3.2)."""
        initialise_linear_layers(self)
        modulations = [block.modulation for block in self._blocks()]
        for layer in (*modulations, self.final_modulation, self.action_decoder):
            nn.init.zeros_(layer.weight)

    def _blocks(self) -> list["Block"]:
        return [block for block in self.blocks if isinstance(block, Block)]


class Block(nn.Module):
    """Self-attention among state and actions, cross-attention to the action queries, feed-forward; AdaLN per token."""

    def __init__(self, config: ActionHeadConfig, context_width: int) -> None:
        super().__init__()
        width = config.width
        self.modulation = nn.Linear(width, 6 * width)
        self.attention_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = Attention(width, config.heads)
        self.cross_norm = nn.LayerNorm(width)
        self.cross_attention = Attention(width, config.heads, context_width)
        self.feed_forward_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.feed_forward = feed_forward(width, config.feed_forward_ratio)

    def forward(self, tokens: Tensor, time: Tensor, keys_values: tuple[Tensor, Tensor]) -> Tensor:
        """Tokens (B, 1 + H, width) with the time embedding of each token (B, 1 + H, width)."""
        modulation = self.modulation(nn.functional.silu(time)).chunk(6, dim=-1)
        shift, scale, gate = modulation[:3]
        attended = self.attention_norm(tokens) * (1 + scale) + shift
        tokens = tokens + gate * self.attention(attended, self.attention.keys_values(attended))
        tokens = tokens + self.cross_attention(self.cross_norm(tokens), keys_values)
        shift, scale, gate = modulation[3:]
        return tokens + gate * self.feed_forward(self.feed_forward_norm(tokens) * (1 + scale) + shift)


def sample_prefix_lengths(batch: int, max_prefix: int, generator: torch.Generator | None = None) -> Tensor:
    """Lengths (B,) of the clean prefixes for ``ActionHead.loss``, uniform from 0 to ``max_prefix``.

    They stand for the delays that inference may have (training-time real-time chunking, arXiv 2512.05964); zero is
    among them, so that the head also makes chunks of which nothing is committed.
    """
    return torch.randint(0, max_prefix + 1, (batch,), generator=generator)


def _mask(actions: Tensor, length: Tensor) -> Tensor:
    """(B, H) true for the first ``length`` (B,) actions."""
    return torch.arange(actions.shape[1], device=actions.device)[None] < length[:, None]
