"""The graphs compute what the model computes, though they are built quite differently."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.vipa_inference.model.tiny import TINY
from vipa_inference.config import PRESETS, VipaVlaConfig
from vipa_inference.model.vipa_vla import VipaVla
from vipa_inference.runtime.graphs import (
    ACTION_HEAD,
    ACTION_STEP,
    GRAPHS,
    VISION_ENCODER,
    VLM_PREFILL,
    Graph,
    example_inputs,
    make_graphs,
)

CLOSE: dict[str, float] = {"rtol": 0.0, "atol": 1e-5}
CONFIGS = {
    "tiny": TINY,
    "one frame": replace(TINY, views=("front",)),
    "three frames": replace(TINY, views=("front",), frames=3),
    "without spatial encoder": replace(TINY, spatial=None),
}


def _model(config: VipaVlaConfig) -> VipaVla:
    """A model in which everything matters: no scale is 1, nothing is 0."""
    torch.manual_seed(1)
    model = VipaVla(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def _graphs(model: VipaVla, length: int | None = None) -> dict[str, Graph]:
    return {graph.name: graph for graph in make_graphs(model, length or model.config.prompt_length)}


def _run(graph: Graph, inputs: Mapping[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return graph.module(**inputs)


class TestGraphs:
    @pytest.mark.parametrize("name", CONFIGS)
    def test_vision_encoder(self, name: str) -> None:
        model = _model(CONFIGS[name])
        graph = _graphs(model)[VISION_ENCODER]
        inputs = example_inputs(graph, model.config)
        with torch.no_grad():
            expected = model.encode_images(inputs["semantic_pixels"], inputs.get("spatial_pixels"))
        found = _run(graph, inputs)
        assert tuple(found.shape) == graph.output.shape
        torch.testing.assert_close(found, expected, **CLOSE)

    @pytest.mark.parametrize("padding", [0, 7])
    def test_prefill(self, padding: int) -> None:
        model = _model(TINY)
        graph = _graphs(model)[VLM_PREFILL]
        inputs = example_inputs(graph, TINY)
        ids, mask = inputs["input_ids"].roll(padding, dims=1), inputs["attention_mask"].clone()
        ids[:, :padding] = 0
        mask[:, :padding] = 0
        with torch.no_grad():
            expected = model.prefill(ids, mask, inputs["image_tokens"])
        for first in (0, padding):  # with the padding, and without it
            prompt = {"input_ids": ids[:, first:], "attention_mask": mask[:, first:]}
            found = _run(graph, {**prompt, "image_tokens": inputs["image_tokens"]})
            torch.testing.assert_close(found, expected, **CLOSE)

    @pytest.mark.parametrize("length", [0, 2, 6])
    def test_action_head(self, length: int) -> None:
        model = _model(TINY)
        graph = _graphs(model)[ACTION_HEAD]
        inputs = example_inputs(graph, TINY)
        inputs["prefix_mask"] = (torch.arange(TINY.action.horizon)[None] < length).float()
        with torch.no_grad():
            expected = model.action_head.sample(
                inputs["noise"],
                inputs["proprioception"],
                inputs["context"],
                inputs["prefix"],
                torch.tensor([length]),
            )
        assert (expected - inputs["noise"]).abs().max() > 0.1  # the flow is no zero
        torch.testing.assert_close(_run(graph, inputs), expected, **CLOSE)

    def test_action_step(self) -> None:
        model = _model(TINY)
        graph = _graphs(model)[ACTION_STEP]
        inputs = example_inputs(graph, TINY)
        head = model.action_head
        with torch.no_grad():
            expected = head.velocity(
                inputs["actions"], inputs["tau"], inputs["proprioception"], head.keys_values(inputs["context"])
            )
        torch.testing.assert_close(_run(graph, inputs), expected, **CLOSE)

    def test_making_graphs_leaves_the_model_alone(self) -> None:
        model = _model(TINY)
        before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        for graph in _graphs(model).values():
            _run(graph, example_inputs(graph, TINY))
        assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())

    @pytest.mark.parametrize("preset", PRESETS)
    def test_ports_have_the_shapes_of_the_preset(self, preset: str) -> None:
        config = PRESETS[preset]
        with torch.device("meta"), torch.no_grad():
            model = VipaVla(config).eval()
            for graph, name in zip(make_graphs(model, config.prompt_length), GRAPHS, strict=True):
                assert graph.name == name
                types = {True: torch.int64, False: torch.float32}
                inputs = {port.name: torch.empty(port.shape, dtype=types[port.integer]) for port in graph.inputs}
                assert tuple(graph.module(**inputs).shape) == graph.output.shape
