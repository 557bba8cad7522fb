"""The parts of the benchmark: what is counted, what is timed, what is extrapolated."""

import dataclasses

import numpy as np
import pytest
import torch

from vipa_inference.checkpoint import Checkpoint
from vipa_inference.config import PRESETS, VipaVlaConfig
from vipa_inference.runtime.base import Array, Batch
from vipa_inference.runtime.benchmark import (
    INSTRUCTION_TOKENS,
    STAGES,
    WHOLE,
    count_gflop,
    extrapolate,
    measure_machine,
    shortened,
    time_runtimes,
    typical_batch,
)
from vipa_inference.runtime.torch_runtime import TorchRuntime


class Recorder(TorchRuntime):
    """Writes down who is called."""

    def __init__(self, checkpoint: Checkpoint, name: str, calls: list[str]) -> None:
        super().__init__(checkpoint.model)
        self._name, self._calls = name, calls

    def encode_images(self, batch: Batch) -> Array:
        self._calls.append(self._name)
        return super().encode_images(batch)


class TestTimeRuntimes:
    def test_runtimes_take_turns(self, checkpoint: Checkpoint) -> None:
        calls: list[str] = []
        runtimes = {name: Recorder(checkpoint, name, calls) for name in ("a", "b")}
        times = time_runtimes(runtimes, typical_batch(checkpoint.config), rounds=2, calls=2)
        assert "".join(calls) == "ab" + "aaabbb" * 2  # three in a row, of which two count
        for stages in times.values():
            assert all(len(seconds) == 4 for seconds in stages.values())
            parts = np.sum([stages[stage] for stage in STAGES], axis=0)
            np.testing.assert_allclose(parts, stages[WHOLE], rtol=1e-6, atol=1e-9)

    def test_without_warm_up(self, checkpoint: Checkpoint) -> None:
        calls: list[str] = []
        runtimes = {name: Recorder(checkpoint, name, calls) for name in ("a", "b")}
        time_runtimes(runtimes, typical_batch(checkpoint.config), rounds=1, calls=1, warm_up=False)
        assert "".join(calls) == "abab"

    def test_threads_of_torch_stay_as_they_are(self, checkpoint: Checkpoint) -> None:
        before = torch.get_num_threads()
        time_runtimes({"a": TorchRuntime(checkpoint.model)}, typical_batch(checkpoint.config), rounds=1)
        measure_machine(rounds=1)
        assert torch.get_num_threads() == before


class TestOperations:
    def test_grow_with_depth_and_prompt(self, micro: VipaVlaConfig) -> None:
        base = count_gflop(micro, micro.prompt_length)
        deeper = count_gflop(shortened(micro, 3), micro.prompt_length)
        assert all(deeper[stage] > base[stage] > 0 for stage in STAGES)
        shorter = count_gflop(micro, micro.prompt_length - 10)
        assert shorter["prefill"] < base["prefill"]
        assert (shorter["vision"], shorter["head"]) == (base["vision"], base["head"])

    def test_of_one_linear_layer_are_two_per_weight_and_token(self, micro: VipaVlaConfig) -> None:
        """A wider feed-forward of the language model adds three matrices, used by all tokens but in the last layer."""
        language = micro.language
        wider = dataclasses.replace(
            micro, language=dataclasses.replace(language, feed_forward=language.feed_forward + 8)
        )
        tokens = micro.prompt_length + micro.action_queries
        used = tokens * (language.layers - 1) + micro.action_queries
        added = count_gflop(wider, micro.prompt_length)["prefill"] - count_gflop(micro, micro.prompt_length)["prefill"]
        assert added * 1e9 == pytest.approx(2 * 3 * 8 * language.width * used)


class TestShortened:
    @pytest.mark.parametrize("name", PRESETS)
    def test_keeps_every_width(self, name: str) -> None:
        full, short = PRESETS[name], shortened(PRESETS[name])
        assert full.spatial is not None
        assert short.spatial is not None
        assert short.semantic == dataclasses.replace(full.semantic, layers=2)
        assert short.action == dataclasses.replace(full.action, layers=2)
        assert (short.language.layers, short.language.width) == (2, full.language.width)
        assert (short.spatial.encoder_layers, short.spatial.decoder_layers) == (2, 2)
        assert short.spatial.decoder_width == full.spatial.decoder_width
        assert short.prompt_length == full.prompt_length

    def test_without_spatial_encoder(self, micro: VipaVlaConfig) -> None:
        assert shortened(dataclasses.replace(micro, spatial=None)).spatial is None


def test_extrapolation_keeps_the_speed_of_each_stage() -> None:
    seconds = dict(zip(STAGES, (1.0, 2.0, 3.0), strict=True))
    measured = dict(zip(STAGES, (10.0, 10.0, 10.0), strict=True))
    full = dict(zip(STAGES, (20.0, 10.0, 100.0), strict=True))
    assert extrapolate(seconds, measured, full) == pytest.approx(2.0 + 2.0 + 30.0)


def test_the_typical_prompt_holds_a_typical_instruction(micro: VipaVlaConfig) -> None:
    used = int(typical_batch(micro)["attention_mask"].sum())
    assert used == micro.images * (micro.semantic.tokens + 2) + min(INSTRUCTION_TOKENS, micro.prompt.text_tokens)


def test_the_machine_has_limits() -> None:
    limits = measure_machine(rounds=2)
    assert 0.1 < limits.matmul_gflops < 1e6
    assert 0.1 < limits.memory_gb_per_s < 1e4
