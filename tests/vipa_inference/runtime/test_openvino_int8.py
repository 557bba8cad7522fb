"""Weights in int8: what they compute is near, what must stay exact does, and nano keeps the bounds of parity."""

from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import opset13

from vipa_inference.config import NANO
from vipa_inference.runtime import openvino_int8
from vipa_inference.runtime.base import RuntimeDescription, RuntimeUnavailableError
from vipa_inference.runtime.engines import export_graphs, load_graphs
from vipa_inference.runtime.graph_runtime import GraphRuntime
from vipa_inference.runtime.openvino_int8 import quantise_weights
from vipa_inference.runtime.parity import assumed_statistics, measure_parity
from vipa_inference.runtime.torch_runtime import TorchRuntime
from vipa_inference.untrained import untrained_checkpoint

RNG = np.random.default_rng(0)


def chain(weights: list[np.ndarray], transposed: bool = False) -> object:
    """A model that multiplies its input by each of the weights (inputs, outputs) in turn."""
    source = opset13.parameter([5, weights[0].shape[0]], np.float32)
    values = source
    for weight in weights:
        constant = opset13.constant(weight.T.copy() if transposed else weight)
        values = opset13.matmul(values, constant, False, transposed)
    return openvino.Model([values], [source])


def computed(model: object, inputs: np.ndarray, **settings: object) -> np.ndarray:
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", **settings})
    return np.asarray(compiled(inputs)[0])


def matrix(rows: int, columns: int) -> np.ndarray:
    return (RNG.standard_normal((rows, columns)) / np.sqrt(rows)).astype(np.float32)


@pytest.mark.parametrize("transposed", [False, True])
def test_products_are_near(transposed: bool) -> None:
    weights, inputs = [matrix(128, 96)], RNG.standard_normal((5, 128)).astype(np.float32)
    weights[0][:, 3] = 0.0  # a channel that says nothing has no scale
    exact = computed(chain(weights, transposed), inputs)
    model = chain(weights, transposed)
    assert quantise_weights(model) == 1
    found = computed(model, inputs, **openvino_int8.SETTINGS)
    assert np.abs(found - exact).max() < 0.03 * np.abs(exact).max()
    assert np.abs(found - exact).max() > 0.0
    assert (found[:, 3] == 0.0).all()


def test_the_last_products_and_small_ones_stay_exact() -> None:
    weights = [matrix(128, 128), matrix(128, 32), matrix(32, 128), matrix(128, 64)]
    assert quantise_weights(chain(weights)) == 2
    assert quantise_weights(chain(weights), exact_products=1) == 1
    assert quantise_weights(chain(weights), exact_products=4) == 0


def test_nano_keeps_the_bounds_of_parity(tmp_path: Path) -> None:
    checkpoint = untrained_checkpoint(NANO)
    export_graphs(checkpoint, tmp_path)
    try:
        graphs = load_graphs(tmp_path, "openvino", "int8")
    except RuntimeUnavailableError as error:
        pytest.skip(str(error))
    candidate = GraphRuntime(NANO, RuntimeDescription("openvino", "int8", "cpu", "test"), graphs)
    parity = measure_parity(TorchRuntime(checkpoint.model, "test"), candidate, assumed_statistics())
    assert parity.broken == ()
    assert parity.vision_encoder > 1e-5, "nothing was quantised"
