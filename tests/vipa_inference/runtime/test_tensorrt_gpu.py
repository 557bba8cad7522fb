"""Engines on a GPU: built, proven and run; every test skips without one."""

from pathlib import Path

import pytest

from tests.vipa_inference.runtime.rtx import bindings_or_skip, needs_gpu
from vipa_inference.checkpoint import Checkpoint
from vipa_inference.runtime.engine_cache import engine_target
from vipa_inference.runtime.engines import install_engine, load_engine
from vipa_inference.runtime.gpu import find_gpu
from vipa_inference.runtime.parity import measure_parity
from vipa_inference.runtime.select import make_runtime
from vipa_inference.runtime.tensorrt_bindings import TENSORRT, TENSORRT_RTX
from vipa_inference.runtime.tensorrt_builder import BuildConfig
from vipa_inference.runtime.torch_runtime import TorchRuntime
from vipa_inference.statistics import Statistics


@needs_gpu
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("runtime", [TENSORRT, TENSORRT_RTX])
def test_an_engine_is_proven_and_chosen(
    checkpoint: Checkpoint, graphs: Path, statistics: Statistics, tmp_path: Path, runtime: str, precision: str
) -> None:
    bindings, gpu = bindings_or_skip(runtime), find_gpu()
    assert gpu is not None
    if not engine_target(bindings, precision, BuildConfig()).fits(gpu):
        pytest.skip(f"{runtime} has no {precision} for {gpu}")
    manifest = install_engine(checkpoint, tmp_path, runtime, precision, graphs, statistics)
    assert manifest["parity"]["broken"] == []
    chosen = make_runtime(checkpoint, tmp_path)
    assert (chosen.description.name, chosen.description.precision) == (runtime, precision)
    assert chosen.description.device == gpu.name
    chosen.close()
    loaded = load_engine(checkpoint, tmp_path, runtime, precision, "test")
    for seed in (0, 1):  # the second time through the captured graphs
        parity = measure_parity(TorchRuntime(checkpoint.model), loaded, statistics, seed)
        assert parity.broken == ()
    loaded.close()
