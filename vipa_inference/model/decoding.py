"""Greedy decoding of answers: text, or motion tokens in their grammar."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vipa_inference.model.motion_tokens import MotionTokenizer
from vipa_inference.model.vipa_vla import VipaVla

Allowed = Callable[[int, Tensor], Tensor]
"""The ids (M,) that may follow in a row, of its number and the ids generated so far (N,)."""


@torch.no_grad()
def decode_greedily(
    model: VipaVla,
    input_ids: Tensor,
    attention_mask: Tensor,
    image_tokens: Tensor,
    end_id: int,
    most: int,
    allowed: Allowed | None = None,
) -> list[list[int]]:
    """The most probable next id again and again, with a cache of keys and values.

    Args:
        model: in evaluation mode.
        input_ids: (B, L) prompts, padded on the left.
        attention_mask: (B, L) 1 for tokens, 0 for padding.
        image_tokens: of all images of the batch in their order, (..., D).
        end_id: ends an answer.
        most: ids of an answer.
        allowed: the grammar; None: any id may follow.

    Returns:
        The ids of each answer, without ``end_id``.
    """
    from transformers import DynamicCache

    language_model, cache = model.internvl.model.language_model, DynamicCache()
    embeddings, mask = model.embed(input_ids, image_tokens), attention_mask
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    generated = input_ids.new_empty(len(input_ids), 0)
    running = torch.ones(len(input_ids), dtype=torch.bool, device=input_ids.device)
    for _ in range(most):
        hidden = language_model(
            inputs_embeds=embeddings,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
        logits = model.internvl.lm_head(hidden)
        if allowed is not None:
            logits = _within_grammar(logits, generated, allowed, end_id)
        following = torch.where(running, logits.argmax(dim=-1), end_id)
        generated = torch.cat([generated, following[:, None]], dim=1)
        running &= following != end_id
        if not bool(running.any()):
            break
        embeddings = model.internvl.get_input_embeddings()(following[:, None])
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        positions = positions[:, -1:] + 1
    return [row[: row.index(end_id)] if end_id in row else row for row in generated.tolist()]


def motion_grammar(tokenizer: MotionTokenizer, waypoints: Sequence[int | None], end_id: int) -> Allowed:
    """In each row one trajectory of so many waypoints, or of any number (None), and then the end of the answer."""

    def allowed(row: int, generated: Tensor) -> Tensor:
        following = tokenizer.allowed(generated, waypoints[row])
        return following if following.numel() else torch.tensor([end_id])

    return allowed


def _within_grammar(logits: Tensor, generated: Tensor, allowed: Allowed, end_id: int) -> Tensor:
    masked = torch.full_like(logits, -torch.inf)
    for row, known in enumerate(generated.cpu()):
        ids = torch.tensor([end_id]) if (known == end_id).any() else allowed(row, known)
        masked[row, ids] = logits[row, ids]
    return masked
