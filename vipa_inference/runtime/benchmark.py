"""How fast a runtime is: latencies per stage beside eager torch in the same run, and what the machine would allow."""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vipa_inference.config import VipaVlaConfig
from vipa_inference.runtime.base import Batch
from vipa_inference.runtime.parity import StagedRuntime, random_batch

STAGES = ("vision", "prefill", "head")
WHOLE = "whole"
INSTRUCTION_TOKENS = 36  # of the measured prompt: "touch the red, then the blue marker" in bytes
PAUSE_S = 0.02
"""Before each turn, so that the threads of the runtime before have gone to sleep: they wait busily for a while."""

Times = dict[str, list[float]]
"""Seconds of every call, by stage, and of all stages together as ``WHOLE``."""


@dataclass(frozen=True)
class MachineLimits:
    """What the processor can do at most, measured here."""

    matmul_gflops: float  # of a large fp32 matrix product
    memory_gb_per_s: float  # of a large copy, read and write together


def measure_machine(rounds: int = 5) -> MachineLimits:
    """The best of a few rounds, with as many threads as torch uses."""
    import torch

    side, count = 1024, 1 << 25
    a, b = torch.randn(side, side), torch.randn(side, side)
    source, target = torch.ones(count), torch.empty(count)
    products: list[float] = []
    copies: list[float] = []
    for _ in range(rounds):
        start = time.perf_counter()
        torch.mm(a, b)
        middle = time.perf_counter()
        target.copy_(source)
        products.append(middle - start)
        copies.append(time.perf_counter() - middle)
    copied_bytes = 2.0 * source.numel() * source.element_size()
    return MachineLimits(2.0 * side**3 / min(products) * 1e-9, copied_bytes / min(copies) * 1e-9)


def typical_batch(config: VipaVlaConfig, seed: int = 0) -> Batch:
    """A random observation with an instruction of typical length."""
    return random_batch(config, np.random.default_rng(seed), INSTRUCTION_TOKENS)


def time_runtimes(
    runtimes: Mapping[str, StagedRuntime], batch: Batch, rounds: int, calls: int = 2, warm_up: bool = True
) -> dict[str, Times]:
    """Latencies of each runtime for one observation.

    The runtimes take turns, so that the machine's moods meet all of them alike. In each round each one is called
    ``calls`` times, after a call that does not count where ``warm_up``: it brings the weights into the caches.
    """
    times: dict[str, Times] = {name: {stage: [] for stage in (*STAGES, WHOLE)} for name in runtimes}
    for runtime in runtimes.values():
        _time_stages(runtime, batch)
    for _ in range(rounds):
        for name, runtime in runtimes.items():
            time.sleep(PAUSE_S)
            if warm_up:
                _time_stages(runtime, batch)
            for _ in range(calls):
                for stage, seconds in _time_stages(runtime, batch).items():
                    times[name][stage].append(seconds)
    return times


def _time_stages(runtime: StagedRuntime, batch: Batch) -> dict[str, float]:
    """Seconds of each stage of one chunk."""
    action = runtime.config.action
    noise = np.zeros((1, action.horizon, action.action_dimension), np.float32)
    state = batch["proprioception"].astype(np.float32)
    marks = [time.perf_counter()]
    tokens = runtime.encode_images(batch)
    marks.append(time.perf_counter())
    context = runtime.prefill(batch, tokens)
    marks.append(time.perf_counter())
    runtime.act(context, state, noise)
    marks.append(time.perf_counter())
    return {**dict(zip(STAGES, np.diff(marks).tolist(), strict=True)), WHOLE: marks[-1] - marks[0]}


def count_gflop(config: VipaVlaConfig, prompt_length: int) -> dict[str, float]:
    """10^9 floating-point operations of each stage's graph, for prompts of a length; no weights are made."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from vipa_inference.model.vipa_vla import VipaVla
    from vipa_inference.runtime.graphs import ACTION_STEP, make_graphs

    counts: list[float] = []
    with torch.device("meta"), torch.no_grad():
        model = VipaVla(config).eval().requires_grad_(False)
        for graph in make_graphs(model, prompt_length):
            if graph.name == ACTION_STEP:
                continue
            types = {True: torch.int64, False: torch.float32}
            inputs = {port.name: torch.empty(port.shape, dtype=types[port.integer]) for port in graph.inputs}
            with FlopCounterMode(display=False) as counter:
                graph.module(**inputs)
            counts.append(counter.get_total_flops() * 1e-9)
    return dict(zip(STAGES, counts, strict=True))


def shortened(config: VipaVlaConfig, layers: int = 2) -> VipaVlaConfig:
    """The same model with a few layers in every stack, at full width.

    The vocabulary is small, too, and the heads of the spatial encoder are left out: they take memory, but no time.
    """
    language, spatial = config.language, config.spatial
    if spatial is not None:
        spatial = dataclasses.replace(spatial, encoder_layers=layers, decoder_layers=layers, head="none")
    return dataclasses.replace(
        config,
        semantic=dataclasses.replace(config.semantic, layers=layers),
        spatial=spatial,
        language=dataclasses.replace(
            language, layers=layers, vocabulary=320, image_token_id=258, image_begin_id=256, image_end_id=257
        ),
        action=dataclasses.replace(config.action, layers=layers),
    )


def extrapolate(seconds: Mapping[str, float], measured: Mapping[str, float], full: Mapping[str, float]) -> float:
    """Seconds that a deeper model would take, if each stage went on at the speed at which it was measured.

    Args:
        seconds: of each stage, measured.
        measured: operations of each stage of what was measured.
        full: operations of each stage of the deeper model.
    """
    return sum(seconds[stage] * full[stage] / measured[stage] for stage in STAGES)
