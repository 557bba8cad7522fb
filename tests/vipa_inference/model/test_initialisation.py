"""How a new model begins: what it sees reaches the action queries, and the flow is zero."""

import pytest
import torch
from torch import Tensor

from vipa_inference.config import NANO, PRESETS, VipaVlaConfig, internvl_config
from vipa_inference.model.attention import sinusoidal_positions
from vipa_inference.model.vipa_vla import VipaVla


def _batch(config: VipaVlaConfig, batch: int = 2) -> dict[str, Tensor]:
    language, frames = config.language, config.images
    image = [language.image_begin_id, *[language.image_token_id] * config.semantic.tokens, language.image_end_id]
    ids = torch.tensor([image * frames + list(b"touch the red ball")] * batch)
    assert config.spatial is not None
    return {
        "semantic_pixels": torch.zeros(batch, frames, 3, *[config.semantic.image_size] * 2),
        "spatial_pixels": torch.zeros(batch, frames, 3, *[config.spatial.image_size] * 2),
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "proprioception": torch.zeros(batch, config.action.proprioception_dimension),
    }


def test_weights_are_as_large_as_their_width_asks_for() -> None:
    for config in PRESETS.values():
        found = internvl_config(config)
        assert found.text_config.initializer_range == pytest.approx(config.language.width**-0.5)
        assert found.vision_config.initializer_range == pytest.approx(config.semantic.width**-0.5)
    assert internvl_config(PRESETS["2b"]).text_config.initializer_range == pytest.approx(0.02, rel=0.15)


def test_a_small_patch_of_colour_reaches_the_action_queries() -> None:
    """Two pictures that differ in a hundredth of their pixels give queries that differ by a tenth of their size."""
    model = VipaVla(NANO).eval()
    batch = _batch(NANO)
    for name in ("semantic_pixels", "spatial_pixels"):
        for i, corner in enumerate((32, 80)):
            batch[name][i, :, 0, corner : corner + 12, corner : corner + 12] = 1.5
    with torch.no_grad():
        condition = model.condition(batch)
    difference = (condition[0] - condition[1]).square().mean().sqrt()
    assert difference > 0.1 * condition.square().mean().sqrt()


def test_each_patch_has_a_position_of_its_own(tiny: VipaVlaConfig) -> None:
    positions = VipaVla(tiny).internvl.model.vision_tower.embeddings.position_embeddings[0, 1:].detach()
    side = tiny.semantic.image_size // tiny.semantic.patch_size
    grid = positions.unflatten(0, (side, side))
    half = tiny.semantic.width // 2
    torch.testing.assert_close(grid[:, 0, :half], grid[:, -1, :half])  # the row
    torch.testing.assert_close(grid[0, :, half:], grid[-1, :, half:])  # the column
    assert torch.cdist(positions, positions).fill_diagonal_(1.0).min() > 0.01


def test_positions_of_a_sequence_are_told_apart() -> None:
    codes = sinusoidal_positions(100, 64)
    assert codes.shape == (100, 64)
    torch.testing.assert_close(codes.norm(dim=-1), torch.full((100,), 32**0.5))
    assert torch.cdist(codes, codes).fill_diagonal_(9.0).min() > 0.5


def test_the_flow_begins_at_zero_but_every_part_of_the_head_learns(tiny: VipaVlaConfig) -> None:
    head = VipaVla(tiny).action_head
    noisy, tau, state = torch.randn(2, 6, 12), torch.rand(2, 6), torch.randn(2, 22)
    context = torch.randn(2, 3, 32, requires_grad=True)
    assert not head.velocity(noisy, tau, state, head.keys_values(context)).any()
    optimiser = torch.optim.SGD(head.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        head.loss(noisy, state, context, torch.ones(2, 6)).backward()
        optimiser.step()
    assert [name for name, parameter in head.named_parameters() if not parameter.grad.any()] == []  # type: ignore[union-attr]
    assert context.grad is not None
    assert context.grad.any()


def test_features_may_be_kept_instead_of_pixels(tiny: VipaVlaConfig) -> None:
    model = VipaVla(tiny).eval()
    batch = _batch(tiny)
    for name in ("semantic_pixels", "spatial_pixels"):
        batch[name].normal_()
    with torch.no_grad():
        semantic, spatial = model.visual_features(batch["semantic_pixels"], batch["spatial_pixels"])
        assert spatial is not None
        kept = {name: values for name, values in batch.items() if not name.endswith("_pixels")}
        kept |= {"semantic_features": semantic, "spatial_features": spatial}
        torch.testing.assert_close(model.condition(kept), model.condition(batch), rtol=0.0, atol=0.0)


def test_several_draws_are_the_loss_of_a_repeated_batch(tiny: VipaVlaConfig) -> None:
    model = VipaVla(tiny).eval()
    with torch.no_grad():
        model.action_head.action_decoder.weight.normal_()
    batch, actions, prefix = _batch(tiny), torch.randn(2, 6, 12), torch.tensor([0, 1, 2, 3, 0, 1])
    repeated = {name: values.repeat(3, *[1] * (values.dim() - 1)) for name, values in batch.items()}
    weight = torch.ones(2, 6)
    weight[1, 4:] = 0
    torch.manual_seed(2)
    found = model.action_loss(batch, actions, weight, prefix, draws=3)
    torch.manual_seed(2)
    wanted = model.action_loss(repeated, actions.repeat(3, 1, 1), weight.repeat(3, 1), prefix)
    torch.testing.assert_close(found, wanted)
