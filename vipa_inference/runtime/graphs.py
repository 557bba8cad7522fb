"""The model as graphs of static shape, the form in which every runtime but eager torch takes it.

``vision_encoder`` and ``vlm_prefill`` run once per observation, ``action_head`` holds the whole denoising loop, and
``action_step`` is one evaluation of the flow with a time per token.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vipa_inference.config import VipaVlaConfig
from vipa_inference.model.vipa_vla import VipaVla
from vipa_inference.runtime.action_graph import ActionHeadGraph, ActionStepGraph
from vipa_inference.runtime.prefill_graph import PrefillGraph
from vipa_inference.runtime.vision_graph import VisionEncoderGraph

VISION_ENCODER, VLM_PREFILL, ACTION_HEAD, ACTION_STEP = "vision_encoder", "vlm_prefill", "action_head", "action_step"
GRAPHS = (VISION_ENCODER, VLM_PREFILL, ACTION_HEAD, ACTION_STEP)


@dataclass(frozen=True)
class Port:
    """One input or output of a graph."""

    name: str
    shape: tuple[int, ...]
    integer: bool = False  # int64, else float


@dataclass(frozen=True)
class Graph:
    """One part of the model with the names and shapes of what goes in and comes out."""

    name: str
    module: nn.Module
    inputs: tuple[Port, ...]
    output: Port


@dataclass(frozen=True)
class GraphPorts:
    """What goes into a graph and what comes out."""

    inputs: tuple[Port, ...]
    output: Port


def graph_ports(config: VipaVlaConfig, prompt_length: int) -> dict[str, GraphPorts]:
    """Inputs and output of each graph, for prompts of ``prompt_length`` tokens, images included."""
    language, action = config.language, config.action
    frames = config.images
    context = Port("context", (1, config.action_queries, language.width))
    proprioception = Port("proprioception", (1, action.proprioception_dimension))
    chunk = (1, action.horizon, action.action_dimension)
    image_tokens = Port("image_tokens", (1, frames, config.semantic.tokens, language.width))
    pixels = [Port("semantic_pixels", (1, frames, 3, config.semantic.image_size, config.semantic.image_size))]
    if config.spatial is not None:
        pixels.append(Port("spatial_pixels", (1, frames, 3, config.spatial.image_size, config.spatial.image_size)))
    prompt = Port("input_ids", (1, prompt_length), integer=True)
    mask = Port("attention_mask", (1, prompt_length), integer=True)
    head = (context, proprioception, Port("noise", chunk), Port("prefix", chunk), Port("prefix_mask", chunk[:2]))
    step = (context, proprioception, Port("actions", chunk), Port("tau", chunk[:2]))
    return {
        VISION_ENCODER: GraphPorts(tuple(pixels), image_tokens),
        VLM_PREFILL: GraphPorts((prompt, mask, image_tokens), context),
        ACTION_HEAD: GraphPorts(head, Port("actions", chunk)),
        ACTION_STEP: GraphPorts(step, Port("velocity", chunk)),
    }


def make_graphs(model: VipaVla, prompt_length: int) -> Iterator[Graph]:
    """The four graphs of a model in evaluation mode, for prompts of ``prompt_length`` tokens, images included."""
    modules: dict[str, Callable[[VipaVla], nn.Module]] = {
        VISION_ENCODER: VisionEncoderGraph,
        VLM_PREFILL: PrefillGraph,
        ACTION_HEAD: ActionHeadGraph,
        ACTION_STEP: ActionStepGraph,
    }
    for name, ports in graph_ports(model.config, prompt_length).items():
        yield Graph(name, modules[name](model), ports.inputs, ports.output)


def example_inputs(graph: Graph, config: VipaVlaConfig, seed: int = 0) -> dict[str, Tensor]:
    """Random inputs of a graph, valid for it: a prompt with image placeholders, times in [0, 1], a mask of 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    inputs: dict[str, Tensor] = {}
    for port in graph.inputs:
        if port.name == "input_ids":
            inputs[port.name] = _prompt(config, port.shape[1], generator)
        elif port.name == "attention_mask":
            inputs[port.name] = torch.ones(port.shape, dtype=torch.int64)
        elif port.name in {"prefix_mask", "tau"}:
            inputs[port.name] = torch.rand(port.shape, generator=generator)
            if port.name == "prefix_mask":
                inputs[port.name] = (torch.arange(port.shape[1])[None] < port.shape[1] // 4).float()
        else:
            inputs[port.name] = torch.randn(port.shape, generator=generator)
    return inputs


def _prompt(config: VipaVlaConfig, length: int, generator: torch.Generator) -> Tensor:
    """A prompt (1, length): images in their brackets, then random text."""
    language = config.language
    image = [language.image_begin_id, *[language.image_token_id] * config.semantic.tokens, language.image_end_id]
    images = torch.tensor(image * (config.frames * len(config.views)))
    below = min(language.image_begin_id, language.image_token_id, language.image_end_id, language.vocabulary)
    text = torch.randint(0, below, (length - len(images),), generator=generator)
    return torch.cat([images, text])[None]
