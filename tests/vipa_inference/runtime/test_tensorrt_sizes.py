"""Engines of every graph of both sizes, two layers of full width each, built by genuine TensorRT-RTX."""

import dataclasses
from pathlib import Path

import pytest

from tests.vipa_inference.runtime.rtx import bindings_or_skip
from vipa_inference.config import PRESETS, VipaVlaConfig
from vipa_inference.runtime.benchmark import shortened
from vipa_inference.runtime.engines import export_graphs
from vipa_inference.runtime.graphs import GRAPHS
from vipa_inference.runtime.tensorrt_bindings import TENSORRT_RTX
from vipa_inference.runtime.tensorrt_builder import BuildConfig, build_engine
from vipa_inference.runtime.tensorrt_graph import prepare_graph
from vipa_inference.untrained import untrained_checkpoint

_SHORT = shortened(PRESETS["2b"], layers=2)
CONFIGS = {
    "nano": shortened(PRESETS["nano"], layers=2),
    "2b": dataclasses.replace(_SHORT, views=("front",), action=dataclasses.replace(_SHORT.action, denoising_steps=1)),
}
PRECISION = "bf16"


@pytest.mark.idle
@pytest.mark.parametrize("name", CONFIGS)
def test_engines_of_every_graph(name: str, tmp_path: Path) -> None:
    rtx, config = bindings_or_skip(TENSORRT_RTX), CONFIGS[name]
    weights = _export(config, tmp_path)
    total = 0
    for graph in GRAPHS:
        source, prepared = tmp_path / f"{graph}.onnx", tmp_path / f"{graph}.{PRECISION}.onnx"
        prepare_graph(source, prepared, PRECISION, config.prompt_length)
        source.unlink()
        report = build_engine(rtx, prepared, tmp_path / "engine", PRECISION, BuildConfig(("8.9",)))
        prepared.unlink()
        assert report.layers > 100
        total += report.engine_bytes
    assert total > weights  # two bytes for each, and the action head is there twice


def _export(config: VipaVlaConfig, folder: Path) -> int:
    """Export untrained graphs; the number of weights."""
    checkpoint = untrained_checkpoint(config)
    export_graphs(checkpoint, folder)
    return sum(parameter.numel() for parameter in checkpoint.model.parameters())
