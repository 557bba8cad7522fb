"""Wrong inputs give one clear error from every runtime, and the runtime goes on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vipa_inference.checkpoint import Checkpoint
from vipa_inference.config import VipaVlaConfig
from vipa_inference.policy import PolicyError
from vipa_inference.runtime.base import Batch, RuntimeDescription
from vipa_inference.runtime.engines import BACKENDS, load_graphs
from vipa_inference.runtime.graph_runtime import GraphRuntime
from vipa_inference.runtime.parity import StagedRuntime, random_batch
from vipa_inference.runtime.torch_runtime import TorchRuntime


@pytest.fixture(scope="module", params=["torch", *sorted(BACKENDS)])
def runtime(request: pytest.FixtureRequest, checkpoint: Checkpoint, graphs: Path) -> StagedRuntime:
    if request.param == "torch":
        return TorchRuntime(checkpoint.model)
    description = RuntimeDescription(request.param, "fp32", "cpu")
    return GraphRuntime(checkpoint.config, description, load_graphs(graphs, request.param, "fp32"))


@pytest.fixture
def batch(micro: VipaVlaConfig) -> Batch:
    return random_batch(micro, np.random.default_rng(0))


class TestCondition:
    @pytest.mark.parametrize("name", ["semantic_pixels", "spatial_pixels", "input_ids", "attention_mask"])
    def test_refuses_what_is_missing_or_of_another_shape_or_type(
        self, runtime: StagedRuntime, batch: Batch, name: str
    ) -> None:
        good = batch[name]
        for wrong in (np.concatenate([good, good]), good[:, :-1], good[0], good.astype(np.float64)):
            with pytest.raises(PolicyError, match=rf"runtime: {name} is .*expected") as caught:
                runtime.condition({**batch, name: wrong} if name != "input_ids" else _prompt(batch, wrong))
            assert "\n" not in str(caught.value)
        with pytest.raises(PolicyError, match=f"no {name} in the batch"):
            runtime.condition({key: value for key, value in batch.items() if key != name})
        assert np.all(np.isfinite(runtime.condition(batch)))

    def test_refuses_another_number_of_images(self, runtime: StagedRuntime, batch: Batch, micro: VipaVlaConfig) -> None:
        ids = batch["input_ids"].copy()
        ids[ids == micro.language.image_token_id] = 5
        with pytest.raises(PolicyError, match="input_ids hold 0 image placeholders"):
            runtime.condition({**batch, "input_ids": ids})


def _prompt(batch: Batch, ids: np.ndarray[Any, Any]) -> Batch:
    """A batch with a wrong prompt; the mask keeps its shape where that is what is wrong."""
    if ids.shape == (1, batch["input_ids"].shape[1] - 1):  # a shorter prompt is none: then it is the type
        return {**batch, "input_ids": ids.astype(np.int32)}
    return {**batch, "input_ids": ids}


class TestAct:
    def _inputs(self, config: VipaVlaConfig) -> dict[str, np.ndarray[Any, Any]]:
        generator, action = np.random.default_rng(0), config.action
        shapes = {
            "context": (1, config.action_queries, config.language.width),
            "proprioception": (1, action.proprioception_dimension),
            "noise": (1, action.horizon, action.action_dimension),
            "prefix": (1, action.horizon, action.action_dimension),
        }
        return {name: generator.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}

    @pytest.mark.parametrize("name", ["context", "proprioception", "noise", "prefix"])
    def test_refuses_another_shape_or_type(self, runtime: StagedRuntime, micro: VipaVlaConfig, name: str) -> None:
        inputs = self._inputs(micro)
        good = inputs[name]
        for wrong in (np.concatenate([good, good]), good[..., :-1], good.astype(np.float64)):
            with pytest.raises(PolicyError, match="expected float32"):
                runtime.act(**{**inputs, name: wrong}, prefix_length=1)
        assert np.all(np.isfinite(runtime.act(**inputs, prefix_length=1)))

    @pytest.mark.parametrize("length", [-1, 7])
    def test_refuses_a_prefix_longer_than_the_chunk(
        self, runtime: StagedRuntime, micro: VipaVlaConfig, length: int
    ) -> None:
        with pytest.raises(PolicyError, match=f"prefix_length {length} does not fit"):
            runtime.act(**self._inputs(micro), prefix_length=length)

    def test_refuses_a_prefix_length_without_prefix(self, runtime: StagedRuntime, micro: VipaVlaConfig) -> None:
        inputs = self._inputs(micro)
        del inputs["prefix"]
        with pytest.raises(PolicyError, match="prefix_length 1"):
            runtime.act(**inputs, prefix_length=1)

    def test_refuses_wrong_times_of_a_step(self, runtime: StagedRuntime, micro: VipaVlaConfig) -> None:
        inputs = self._inputs(micro)
        actions, tau = inputs["noise"], np.zeros((1, micro.action.horizon), np.float32)
        with pytest.raises(PolicyError, match="runtime: tau is"):
            runtime.step(inputs["context"], inputs["proprioception"], actions, tau[:, :-1])
        assert runtime.step(inputs["context"], inputs["proprioception"], actions, tau).shape == actions.shape
