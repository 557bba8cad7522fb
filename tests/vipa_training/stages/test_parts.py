"""Which parts of the model may move in which stage."""

from dataclasses import replace

import pytest
import torch

from tests.vipa_inference.model.tiny import TINY
from vipa_inference.model.vipa_vla import VipaVla
from vipa_training.engine.errors import TrainingError
from vipa_training.stages.parts import ENCODERS, LEARNING, PARTS, accounting, blocks_of, count_parts, let_learn, part_of
from vipa_training.stages.recipes import RECIPES


@pytest.fixture(scope="module")
def model() -> VipaVla:
    torch.manual_seed(0)
    model = VipaVla(TINY)
    model.add_motion_tokens()
    return model


@pytest.mark.parametrize("stage", LEARNING)
def test_only_the_parts_of_a_stage_learn(model: VipaVla, stage: str) -> None:
    let_learn(model, LEARNING[stage])
    learning = {part_of(name) for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning == set(LEARNING[stage])
    assert bool(learning & set(ENCODERS)) == (stage == "stage0"), "the paper's stages freeze the encoders"


def test_the_paper_s_stages() -> None:
    assert LEARNING["stage1"] == ("fusion",)
    assert set(LEARNING["stage2"]) == {"fusion", "language_model"}
    assert {"language_model", "action_head"} <= set(LEARNING["stage3"])


def test_every_parameter_belongs_to_one_part(model: VipaVla) -> None:
    for name, _ in model.named_parameters():
        assert sum(name.startswith(prefixes) for prefixes in PARTS.values()) == 1
    parts = count_parts(model)
    assert [part.name for part in parts] == list(PARTS)
    assert sum(part.parameters for part in parts) == sum(p.numel() for p in model.parameters())


def test_what_learns_is_told(model: VipaVla) -> None:
    let_learn(model, ("action_head", "fusion"))
    line = accounting(count_parts(model))
    learning, resting = line.split("; ")
    assert learning.startswith("learning: fusion ")
    assert "action_head" in learning
    assert "language_model" in resting
    let_learn(model, tuple(PARTS))
    assert accounting(count_parts(model)).endswith("resting: nothing")


def test_unknown_parts_are_refused(model: VipaVla) -> None:
    with pytest.raises(TrainingError, match="unknown part encoder; known: semantic_encoder"):
        let_learn(model, ("encoder",))
    with pytest.raises(TrainingError, match="names no part"):
        let_learn(model, ())


def test_without_a_spatial_encoder() -> None:
    model = VipaVla(replace(TINY, spatial=None))
    let_learn(model, LEARNING["stage3"])
    assert {part.name for part in count_parts(model)} == set(PARTS) - {"spatial_encoder", "fusion"}
    assert len(blocks_of(model)) == TINY.language.layers + TINY.semantic.layers


def test_recipes_are_those_of_the_paper() -> None:
    for name, batch, steps in (("fr3", 128, 30_000), ("libero", 128, 30_000), ("robocasa", 256, 60_000)):
        recipe = RECIPES[name]
        optimisation = recipe.optimisation
        assert (recipe.engine.batch, optimisation.steps) == (batch, steps)
        assert optimisation.backbone_learning_rate == optimisation.head_learning_rate == 5e-5
        assert (optimisation.warmup_ratio, optimisation.weight_decay) == (0.05, 1e-5)
        assert not set(ENCODERS) & set(recipe.learning)
