"""Which parameters learn, and how fast."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.vipa_inference.model.tiny import TINY
from vipa_inference.model.vipa_vla import VipaVla
from vipa_training.stages.optimisation import (
    OptimisationConfig,
    Optimiser,
    ParameterGroup,
    freeze_encoders,
    learning_rate_factor,
    post_training_groups,
)

CONFIG = OptimisationConfig(steps=100, backbone_learning_rate=1e-3, head_learning_rate=1e-2, warmup_ratio=0.1)


@pytest.mark.parametrize(
    "values",
    [{"steps": 0}, {"head_learning_rate": 0.0}, {"warmup_ratio": 1.5}, {"final_ratio": -0.1}, {"weight_decay": -1.0}],
)
def test_wrong_values_are_named(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        OptimisationConfig(**values)


@given(
    steps=st.integers(1, 1000),
    warmup=st.floats(0.0, 1.0),
    final=st.floats(0.0, 1.0),
)
def test_the_learning_rate_rises_to_its_highest_and_falls_to_its_last(steps: int, warmup: float, final: float) -> None:
    config = replace(CONFIG, steps=steps, warmup_ratio=warmup, final_ratio=final)
    factors = [learning_rate_factor(step, config) for step in range(steps + 1)]
    top = max(round(warmup * steps) - 1, 0)
    assert all(0.0 <= factor <= 1.0 + 1e-12 for factor in factors)
    assert factors[top] == pytest.approx(1.0)
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)
    assert learning_rate_factor(2 * steps, config) == pytest.approx(final)


class TestGroups:
    """Encoders rest, everything else learns, nothing twice."""

    @pytest.fixture
    def model(self) -> VipaVla:
        torch.manual_seed(0)
        return VipaVla(TINY)

    def test_every_parameter_is_frozen_or_in_one_group(self, model: VipaVla) -> None:
        freeze_encoders(model)
        backbone, head = post_training_groups(model, CONFIG)
        assert (backbone.learning_rate, head.learning_rate) == (1e-3, 1e-2)
        learning = [id(parameter) for group in (backbone, head) for parameter in group.parameters]
        assert len(learning) == len(set(learning))
        names = {name for name, parameter in model.named_parameters() if id(parameter) not in learning}
        assert {name.split(".")[0] for name in names} == {"internvl", "spatial_encoder"}
        assert all("vision_tower" in name or name.startswith("spatial_encoder") for name in names)

    def test_frozen_encoders_stay_and_the_rest_moves(self, model: VipaVla) -> None:
        freeze_encoders(model)
        optimiser = Optimiser(post_training_groups(model, CONFIG), CONFIG)
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        language = TINY.language
        image = [language.image_begin_id, *[language.image_token_id] * TINY.semantic.tokens, language.image_end_id]
        ids = torch.tensor([[*image, *image, 5, 6]])
        batch = {
            "semantic_pixels": torch.randn(1, 2, 3, 32, 32),
            "spatial_pixels": torch.rand(1, 2, 3, 32, 32),
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "proprioception": torch.randn(1, 22),
        }
        for _ in range(3):
            norms = optimiser.step(model.action_loss(batch, torch.randn(1, 6, 12), torch.ones(1, 6)))
        assert norms.keys() == {"backbone", "action_head"}
        moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
        assert not any("vision_tower" in name or name.startswith("spatial_encoder") for name in moved)
        for part in ("action_queries", "fusion.alpha", "action_head.action_decoder.weight"):
            assert part in moved
        assert any(name.startswith("internvl.model.language_model.layers") for name in moved)
        assert any(name.startswith("internvl.model.multi_modal_projector") for name in moved)


class TestOptimiser:
    """The step."""

    def group(self, name: str, value: float) -> ParameterGroup:
        return ParameterGroup(name, [nn.Parameter(torch.full((3,), value))], 1e-2)

    def test_the_gradients_of_one_group_do_not_shrink_those_of_another(self) -> None:
        small, large = self.group("small", 0.0), self.group("large", 0.0)
        optimiser = Optimiser([small, large], CONFIG)
        norms = optimiser.step(0.1 * small.parameters[0].sum() + 1e6 * large.parameters[0].sum())
        assert norms == pytest.approx({"small": 0.1 * 3**0.5, "large": 1e6 * 3**0.5})
        gradients = [group.parameters[0].grad for group in (small, large)]
        assert [float(gradient.norm()) for gradient in gradients if gradient is not None] == pytest.approx(
            [0.1 * 3**0.5, 1.0]
        )

    def test_it_goes_on_where_it_was_saved(self) -> None:
        def run(optimiser: Optimiser, parameter: nn.Parameter, steps: int) -> None:
            for _ in range(steps):
                optimiser.step((parameter - 1.0).square().sum())

        group, other = self.group("a", 0.0), self.group("a", 0.0)
        whole, half = Optimiser([group], CONFIG), Optimiser([other], CONFIG)
        run(whole, group.parameters[0], 20)
        run(half, other.parameters[0], 10)
        resumed = Optimiser([other], CONFIG)
        resumed.load_state_dict(half.state_dict())
        run(resumed, other.parameters[0], 10)
        torch.testing.assert_close(other.parameters[0], group.parameters[0], rtol=0.0, atol=0.0)
        assert resumed.steps_done == 20

    def test_infinite_gradients_change_nothing(self) -> None:
        group = self.group("a", 2.0)
        optimiser = Optimiser([group], CONFIG)
        with pytest.raises(FloatingPointError, match="step 0"):
            optimiser.step(group.parameters[0].sum() * float("inf"))
        assert torch.equal(group.parameters[0], torch.full((3,), 2.0))

    def test_nothing_to_learn_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no parameter"):
            Optimiser([], CONFIG)
