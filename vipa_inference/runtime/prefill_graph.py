"""The language model's prefill as a graph: a prompt and its image tokens to the hidden states of the action queries."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vipa_inference.model.vipa_vla import VipaVla
from vipa_inference.runtime.folding import after_norm, rms_normalise, rotate

HIDDEN = -1e4
"""Added to scores of tokens that must not be seen; exp of it is 0 in every precision, and fp16 holds it."""


class PrefillGraph(nn.Module):
    """``VipaVla.prefill`` for one prompt.

    After the last layer's keys and values only the action queries are needed, so only they go on.
    """

    def __init__(self, model: VipaVla) -> None:
        super().__init__()
        self.image_token_id = model.config.language.image_token_id
        self.embedding = model.internvl.get_input_embeddings()
        self.action_queries = model.action_queries
        language: Any = model.internvl.model.language_model
        last = len(language.layers) - 1
        queries = model.config.action_queries
        self.layers = nn.ModuleList(
            [_LayerGraph(layer, queries if i == last else None) for i, layer in enumerate(language.layers)]
        )
        self.norm = language.norm
        self.frequencies = nn.Buffer(language.rotary_emb.inv_freq.detach().float().clone())

    def forward(self, input_ids: Tensor, attention_mask: Tensor, image_tokens: Tensor) -> Tensor:
        """Context (1, Q, D).

        Args:
            input_ids: (1, L) prompt, padded on the left.
            attention_mask: (1, L) 1 for tokens, 0 for padding.
            image_tokens: (1, F, N, D).
        """
        tokens = torch.cat([self._embed(input_ids, image_tokens), self.action_queries], dim=1)
        of_queries = torch.ones_like(self.action_queries[..., 0], dtype=attention_mask.dtype)
        mask = torch.cat([attention_mask, of_queries], dim=1)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[0]
        angles = positions[:, None].float() * self.frequencies
        angles = torch.cat([angles, angles], dim=-1)
        cosine, sine = angles.cos().to(tokens.dtype), angles.sin().to(tokens.dtype)
        index = torch.arange(tokens.shape[1], device=tokens.device)
        is_visible = (index[None] <= index[:, None]) & (mask > 0)
        bias = torch.where(is_visible, 0.0, HIDDEN).to(tokens.dtype)
        for layer in self.layers:
            tokens = layer(tokens, cosine, sine, bias)
        return self.norm(tokens)

    def _embed(self, input_ids: Tensor, image_tokens: Tensor) -> Tensor:
        """Embeddings (1, L, D) of the prompt, whose placeholders take the image tokens in their order."""
        is_image = input_ids == self.image_token_id
        order = (is_image.long().cumsum(dim=1) - 1).clamp(min=0)[0]
        return torch.where(is_image[..., None], image_tokens.flatten(1, 2)[:, order], self.embedding(input_ids))


class _LayerGraph(nn.Module):
    """One layer of the language model, for the last ``queries`` tokens alone or, where None, for all."""

    def __init__(self, layer: Any, queries: int | None) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.queries, self.epsilon = queries, layer.input_layernorm.variance_epsilon
        self.head_width = attention.head_dim
        self.groups = attention.num_key_value_groups
        self.query = after_norm(attention.q_proj, layer.input_layernorm)
        self.key = after_norm(attention.k_proj, layer.input_layernorm)
        self.value = after_norm(attention.v_proj, layer.input_layernorm)
        scale = attention.q_norm.weight.detach() * attention.scaling
        self.query_scale = nn.Parameter(scale, requires_grad=False)
        self.key_scale = attention.k_norm.weight
        self.output = attention.o_proj
        self.gate = after_norm(mlp.gate_proj, layer.post_attention_layernorm)
        self.up = after_norm(mlp.up_proj, layer.post_attention_layernorm)
        self.down = mlp.down_proj

    def forward(self, tokens: Tensor, cosine: Tensor, sine: Tensor, bias: Tensor) -> Tensor:
        """Tokens (1, N, D) with the rotation (N, d) and the mask (N, N) of the scores."""
        normalised = rms_normalise(tokens, self.epsilon)
        key = self._heads(self.key(normalised), self.key_scale, cosine, sine)  # (1, KV, N, d)
        value = self.value(normalised).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
        if self.queries is not None:
            tokens, normalised = tokens[:, -self.queries :], normalised[:, -self.queries :]
            cosine, sine, bias = cosine[-self.queries :], sine[-self.queries :], bias[-self.queries :]
        query = self._heads(self.query(normalised), self.query_scale, cosine, sine)
        grouped = query.unflatten(1, (-1, self.groups))  # (1, KV, groups, N, d)
        scores = grouped @ key[:, :, None].transpose(-1, -2) + bias
        mixed = (scores.softmax(dim=-1) @ value[:, :, None]).flatten(1, 2)
        tokens = tokens + self.output(mixed.transpose(1, 2).flatten(2))
        normalised = rms_normalise(tokens, self.epsilon)
        return tokens + self.down(functional.silu(self.gate(normalised)) * self.up(normalised))

    def _heads(self, tokens: Tensor, scale: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        heads = rms_normalise(tokens.unflatten(-1, (-1, self.head_width)), self.epsilon) * scale
        return rotate(heads.transpose(1, 2), cosine, sine)
