"""The measure of parity finds what is wrong, in the right unit."""

import dataclasses
import math

import numpy as np
import pytest

from vipa_inference.checkpoint import Checkpoint
from vipa_inference.config import VipaVlaConfig
from vipa_inference.runtime.base import Array, Batch, RuntimeDescription
from vipa_inference.runtime.parity import Parity, assumed_statistics, measure_parity, parity_line, random_batch
from vipa_inference.runtime.torch_runtime import TorchRuntime

EXACT = Parity("fp32", 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0)


class Wrong(TorchRuntime):
    """Adds something to one column of the actions, or to the image tokens."""

    def __init__(self, checkpoint: Checkpoint, column: int, action: float = 0.0, image: float = 0.0) -> None:
        super().__init__(checkpoint.model)
        self.column, self.action, self.image = column, action, image
        self.description = RuntimeDescription("wrong", "fp32", "cpu")

    def encode_images(self, batch: Batch) -> Array:
        return super().encode_images(batch) + np.float32(self.image)

    def act(self, *arguments: Array, **named: Array) -> Array:
        actions = super().act(*arguments, **named).copy()
        actions[0, 3, self.column] += np.float32(self.action)
        return actions


class TestMeasureParity:
    def test_of_a_model_with_itself_is_exact(self, checkpoint: Checkpoint) -> None:
        runtime = TorchRuntime(checkpoint.model)
        parity = measure_parity(runtime, runtime, assumed_statistics())
        assert not parity.broken
        assert (parity.max_absolute, parity.vision_encoder, parity.translation_mm) == (0.0, 0.0, 0.0)
        assert parity.cosine == pytest.approx(1.0)

    def test_translation_is_in_millimetres(self, checkpoint: Checkpoint) -> None:
        reference = TorchRuntime(checkpoint.model)
        parity = measure_parity(reference, Wrong(checkpoint, column=1, action=0.04), assumed_statistics())
        assert parity.translation_mm == pytest.approx(2.0, rel=1e-3)  # 0.04 of 50 mm
        assert parity.max_absolute == pytest.approx(0.04, rel=1e-3)
        assert parity.rotation_deg == pytest.approx(0.0, abs=1e-6)
        assert parity.action_head == pytest.approx(0.04, rel=1.0)
        assert parity.vision_encoder == 0.0

    def test_rotation_is_in_degrees(self, checkpoint: Checkpoint) -> None:
        reference = TorchRuntime(checkpoint.model)
        parity = measure_parity(reference, Wrong(checkpoint, column=4, action=0.01), assumed_statistics())
        # The other components of the rotation turn the axis, by which the angle becomes a little smaller.
        assert parity.rotation_deg == pytest.approx(math.degrees(0.01 * 0.2), rel=0.05)
        assert parity.translation_mm == 0.0

    def test_finds_the_graph_that_is_wrong(self, checkpoint: Checkpoint) -> None:
        largest: list[float] = []

        class Observed(TorchRuntime):
            def encode_images(self, batch: Batch) -> Array:
                tokens = super().encode_images(batch)
                largest.append(float(np.abs(tokens).max()))
                return tokens

        parity = measure_parity(
            Observed(checkpoint.model), Wrong(checkpoint, column=0, image=0.01), assumed_statistics()
        )
        assert parity.vision_encoder == pytest.approx(0.01 / max(1.0, min(largest)), rel=0.01)
        assert (parity.vlm_prefill, parity.action_head, parity.action_step) == (0.0, 0.0, 0.0)
        assert any(line.startswith("vision encoder") for line in parity.broken)

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_what_is_not_finite_is_broken(self, checkpoint: Checkpoint, value: float) -> None:
        parity = measure_parity(
            TorchRuntime(checkpoint.model), Wrong(checkpoint, column=0, action=value), assumed_statistics()
        )
        assert parity.max_absolute == math.inf
        for precision in ("fp32", "bf16"):
            assert dataclasses.replace(parity, precision=precision).broken


class TestBounds:
    @pytest.mark.parametrize("name", ["vision_encoder", "vlm_prefill", "action_head", "action_step", "max_absolute"])
    def test_of_fp32(self, name: str) -> None:
        assert not dataclasses.replace(EXACT, **{name: 1e-5}).broken
        assert len(dataclasses.replace(EXACT, **{name: 1.1e-5}).broken) == 1

    @pytest.mark.parametrize(
        ("name", "good", "bad"),
        [("cosine", 0.999, 0.9989), ("translation_mm", 1.0, 1.01), ("rotation_deg", 0.2, 0.201)],
    )
    @pytest.mark.parametrize("precision", ["bf16", "fp16"])
    def test_of_lower_precisions(self, precision: str, name: str, good: float, bad: float) -> None:
        parity = dataclasses.replace(EXACT, precision=precision, max_absolute=0.01)
        assert not dataclasses.replace(parity, **{name: good}).broken
        assert len(dataclasses.replace(parity, **{name: bad}).broken) == 1

    def test_in_words(self) -> None:
        assert parity_line(EXACT.to_mapping()) == "max abs 0, cosine 1.000000, 0 mm, 0 deg"


class TestRandomBatch:
    @pytest.mark.parametrize("count", [None, 0, 5, 1000])
    def test_prompt(self, micro: VipaVlaConfig, count: int | None) -> None:
        batch = random_batch(micro, np.random.default_rng(0), count)
        ids, mask = batch["input_ids"][0], batch["attention_mask"][0]
        images = micro.images * (micro.semantic.tokens + 2)
        text = int(mask.sum()) - images
        assert len(ids) == len(mask) == micro.prompt_length
        assert micro.prompt.text_tokens // 2 <= text if count is None else text == min(count, micro.prompt.text_tokens)
        assert np.count_nonzero(ids == micro.language.image_token_id) == micro.images * micro.semantic.tokens
        assert np.all(np.diff(mask) >= 0)  # the padding is on the left
