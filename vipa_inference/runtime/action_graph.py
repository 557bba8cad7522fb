"""The action head as graphs: the whole denoising loop, and one step of it."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from vipa_inference.model.action_head import TIME_FEATURES, ActionHead, Block
from vipa_inference.model.attention import sinusoidal_embedding
from vipa_inference.model.vipa_vla import VipaVla
from vipa_inference.runtime.folding import (
    after_norm,
    approximate_gelu,
    attend,
    equal_parts,
    normalise,
    prepared,
    rows,
    scaled,
    split_heads,
    stacked,
)


class ActionStepGraph(nn.Module):
    """One evaluation of the flow (1, H, A) at noisy actions (1, H, A) with the flow time tau (1, H) of each token."""

    def __init__(self, model: VipaVla) -> None:
        super().__init__()
        self.head = model.action_head

    def forward(self, context: Tensor, proprioception: Tensor, actions: Tensor, tau: Tensor) -> Tensor:
        """The flow at ``actions``."""
        return self.head.velocity(actions, tau, proprioception, self.head.keys_values(context))


class ActionHeadGraph(nn.Module):
    """The denoising loop, unrolled: normalised actions (1, H, A).

    A token's flow time is that of the step or, where the action is committed, 1; so the modulations of all layers are
    constants, of which each token takes one of two. Where ``prefix_mask`` (1, H) is 1 the action is the committed one
    of ``prefix`` (1, H, A), held clean; elsewhere the mask is 0.
    """

    def __init__(self, model: VipaVla) -> None:
        super().__init__()
        head = model.action_head
        self.steps = head.config.denoising_steps
        times = self._times(head)
        self.state_encoder, self.action_encoder = head.state_encoder, head.action_encoder
        self.position = head.position
        self.context_epsilon = head.context_norm.eps
        self.absorbed = _AbsorbedContext(head)
        blocks = [block for block in head.blocks if isinstance(block, Block)]
        self.blocks = nn.ModuleList([_BlockGraph(block, times) for block in blocks])
        self.final_epsilon = head.final_norm.eps
        self.final_modulation = _Modulation(head.final_modulation, times, 2)
        self.decoder = scaled(head.action_decoder, 1.0 / self.steps)

    def forward(
        self, context: Tensor, proprioception: Tensor, noise: Tensor, prefix: Tensor, prefix_mask: Tensor
    ) -> Tensor:
        """Normalised actions from noise."""
        keys, key_biases, values = self.absorbed(context)
        is_committed = prefix_mask[..., None] > 0.5
        is_clean = torch.cat([torch.ones_like(is_committed[:, :1]), is_committed], dim=1)
        state = self.state_encoder(proprioception)[:, None]
        actions = noise
        for step in range(self.steps):
            actions = torch.where(is_committed, prefix, actions)
            tokens = torch.cat([state, self.action_encoder(actions)], dim=1) + self.position
            for i, block in enumerate(self.blocks):
                tokens = block(tokens, step, is_clean, keys[i], key_biases[i], values[i])
            shift, scale = self.final_modulation(step, is_committed)
            actions = actions + self.decoder(normalise(tokens[:, 1:], self.final_epsilon) * scale + shift)
        return torch.where(is_committed, prefix, actions)

    @staticmethod
    def _times(head: ActionHead) -> Tensor:
        """SiLU of the time embeddings (steps + 1, width): of each step, then of flow time 1."""
        steps = head.config.denoising_steps
        tau = torch.arange(steps + 1) / steps
        features = sinusoidal_embedding(tau, TIME_FEATURES).to(head.position.device, head.position.dtype)
        return functional.silu(head.time_encoder(features)).detach()


class _AbsorbedContext(nn.Module):
    """The context with the queries' and outputs' weights of every block's cross-attention multiplied into it.

    Scores are then one product of tokens with keys (D, heads * Q), and the output is one product with values
    (heads * Q, D): fewer and smaller than with queries and outputs, and the work is done once for all steps.
    """

    def __init__(self, head: ActionHead) -> None:
        super().__init__()
        self.norm = head.context_norm.eps
        projections: list[nn.Linear] = []
        queries: list[Tensor] = []
        biases: list[Tensor] = []
        outputs: list[Tensor] = []
        blocks = [block for block in head.blocks if isinstance(block, Block)]
        for block in blocks:
            attention = block.cross_attention
            width = attention.output.out_features
            query, key = prepared(attention.query, rows(attention.key_value, slice(width)), attention.heads)
            query = after_norm(query, block.cross_norm)
            projections.append(
                after_norm(stacked([key, rows(attention.key_value, slice(width, None))]), head.context_norm)
            )
            queries.append(query.weight.unflatten(0, (attention.heads, -1)).transpose(1, 2))
            biases.append(query.bias.unflatten(0, (attention.heads, 1, -1)))
            outputs.append(attention.output.weight.T.unflatten(0, (attention.heads, -1)))
        self.layers, self.heads = len(blocks), blocks[0].cross_attention.heads
        self.projection = stacked(projections)
        self.queries = nn.Parameter(torch.stack(queries).detach(), requires_grad=False)  # (layers, heads, D, d)
        self.biases = nn.Parameter(torch.stack(biases).detach(), requires_grad=False)  # (layers, heads, 1, d)
        self.outputs = nn.Parameter(torch.stack(outputs).detach(), requires_grad=False)  # (layers, heads, d, D)

    def forward(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keys (layers, D, heads * Q), their biases (layers, 1, heads * Q) and values (layers, heads * Q, D)."""
        projected = self.projection(normalise(context, self.norm))[0]
        parts = projected.unflatten(-1, (self.layers, 2, self.heads, -1)).permute(2, 1, 3, 0, 4)
        key, value = parts[0].transpose(-1, -2), parts[1]  # (layers, heads, d, Q), (layers, heads, Q, d)
        keys = (self.queries @ key).transpose(1, 2).flatten(2)
        biases = (self.biases @ key).transpose(1, 2).flatten(2)
        return keys, biases, (value @ self.outputs).flatten(1, 2)


class _Modulation(nn.Module):
    """Shift, scale + 1 and, where wanted, gate of a block, for each step and for clean tokens."""

    def __init__(self, layer: nn.Linear, times: Tensor, parts: int) -> None:
        super().__init__()
        table = layer(times).unflatten(-1, (parts, -1)).detach()  # (steps + 1, parts, D)
        table[:, 1::3] += 1.0
        self.table = nn.Parameter(table, requires_grad=False)

    def forward(self, step: int, is_clean: Tensor) -> list[Tensor]:
        """Each part (1, N, D) for tokens of which some are clean (1, N, 1)."""
        noisy, clean = self.table[step], self.table[-1]
        return [torch.where(is_clean, clean[i], noisy[i]) for i in range(self.table.shape[1])]


class _BlockGraph(nn.Module):
    """One block of the diffusion transformer, with the absorbed keys and values of its cross-attention."""

    def __init__(self, block: Block, times: Tensor) -> None:
        super().__init__()
        attention, cross = block.attention, block.cross_attention
        self.heads, self.cross_heads = attention.heads, cross.heads
        width = attention.output.out_features
        self.modulation = _Modulation(block.modulation, times, 6)
        self.attention_epsilon = block.attention_norm.eps
        query, key = prepared(attention.query, rows(attention.key_value, slice(width)), attention.heads)
        self.projection = stacked([query, key, rows(attention.key_value, slice(width, None))])
        self.output = attention.output
        self.cross_epsilon = block.cross_norm.eps
        self.cross_bias = cross.output.bias
        self.feed_forward_epsilon = block.feed_forward_norm.eps
        first, _, second = block.feed_forward
        self.first, self.second = first, second

    def forward(
        self, tokens: Tensor, step: int, is_clean: Tensor, keys: Tensor, key_biases: Tensor, values: Tensor
    ) -> Tensor:
        """Tokens (1, 1 + H, D) at a denoising step."""
        shift, scale, gate, feed_shift, feed_scale, feed_gate = self.modulation(step, is_clean)
        parts = equal_parts(self.projection(normalise(tokens, self.attention_epsilon) * scale + shift), 3)
        query, key, value = (split_heads(part, self.heads) for part in parts)
        tokens = tokens + gate * self.output(attend(query, key, value))
        scores = normalise(tokens, self.cross_epsilon) @ keys + key_biases
        weights = scores.unflatten(-1, (self.cross_heads, -1)).softmax(dim=-1).flatten(-2)
        tokens = tokens + weights @ values + self.cross_bias
        hidden = normalise(tokens, self.feed_forward_epsilon) * feed_scale + feed_shift
        return tokens + feed_gate * self.second(approximate_gelu(self.first(hidden)))
