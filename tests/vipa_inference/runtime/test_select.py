"""Which runtime is chosen, and why."""

import copy
import dataclasses
import logging
import shutil
from pathlib import Path

import pytest
import torch

from vipa_inference.checkpoint import Checkpoint
from vipa_inference.runtime import openvino_runtime, select
from vipa_inference.runtime.base import RuntimeUnavailableError
from vipa_inference.runtime.engines import engine_folder, install_engine
from vipa_inference.runtime.select import make_runtime
from vipa_inference.statistics import Statistics


@pytest.fixture(scope="module")
def folder(
    checkpoint: Checkpoint, graphs: Path, statistics: Statistics, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """With engines for both runtimes; tests do not write into it."""
    folder = tmp_path_factory.mktemp("engines")
    for runtime in ("onnxruntime", "openvino"):
        install_engine(checkpoint, folder, runtime, "fp32", graphs, statistics)
    return folder


def _without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise RuntimeUnavailableError("runtime openvino: not installed; pip install openvino")

    monkeypatch.setattr(openvino_runtime, "_module", missing)


class TestAuto:
    @pytest.mark.parametrize(("has_amx", "passed"), [(True, "no engine openvino bf16"), (False, "no engine tensorrt ")])
    def test_takes_the_fastest_engine(
        self, checkpoint: Checkpoint, folder: Path, monkeypatch: pytest.MonkeyPatch, has_amx: bool, passed: str
    ) -> None:
        monkeypatch.setattr(select, "processor_has", lambda ability: has_amx and ability == "amx_bf16")
        runtime = make_runtime(checkpoint, folder)
        assert (runtime.description.name, runtime.description.precision) == ("openvino", "fp32")
        assert passed in runtime.description.reason
        assert ("openvino bf16" in runtime.description.reason) == has_amx
        runtime.close()

    def test_takes_the_next_one_where_a_package_is_missing(
        self,
        checkpoint: Checkpoint,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        _without_openvino(monkeypatch)
        with caplog.at_level(logging.WARNING):
            runtime = make_runtime(checkpoint, folder)
        assert runtime.description.name == "onnxruntime"
        assert "openvino: not installed" in runtime.description.reason
        assert "openvino: not installed" in caplog.text

    def test_takes_torch_where_every_engine_is_stale(self, checkpoint: Checkpoint, folder: Path) -> None:
        runtime = make_runtime(dataclasses.replace(checkpoint, weights_hash="0" * 64), folder)
        assert runtime.description.name == "torch"
        assert runtime.description.reason.count("stale") == 2

    @pytest.mark.parametrize("has_folder", [True, False])
    def test_takes_torch_where_there_is_no_engine(
        self, checkpoint: Checkpoint, tmp_path: Path, has_folder: bool
    ) -> None:
        runtime = make_runtime(checkpoint, tmp_path if has_folder else None)
        assert runtime.description.name == "torch"
        assert "no engine onnxruntime fp32" in runtime.description.reason

    def test_keeps_to_the_precision(self, checkpoint: Checkpoint, folder: Path) -> None:
        assert make_runtime(checkpoint, folder, precision="fp32").description.name == "openvino"
        with pytest.raises(RuntimeUnavailableError, match="the checkpoint is in fp32, not bf16"):
            make_runtime(checkpoint, folder, precision="bf16")


class TestByName:
    @pytest.mark.parametrize("name", ["torch", "onnxruntime", "openvino"])
    def test_takes_what_was_asked_for(self, checkpoint: Checkpoint, folder: Path, name: str) -> None:
        runtime = make_runtime(checkpoint, folder, name)
        assert (runtime.description.name, runtime.description.reason) == (name, "it was asked for")

    def test_never_takes_another(
        self, checkpoint: Checkpoint, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(RuntimeUnavailableError, match="known: torch, onnxruntime, openvino"):
            make_runtime(checkpoint, folder, "tflite")
        with pytest.raises(RuntimeUnavailableError, match=r"no engine is installed .*vipa export"):
            make_runtime(checkpoint, tmp_path, "openvino")
        with pytest.raises(RuntimeUnavailableError, match="openvino bf16: no engine"):
            make_runtime(checkpoint, folder, "openvino", "bf16")
        _without_openvino(monkeypatch)
        with pytest.raises(RuntimeUnavailableError, match="not installed"):
            make_runtime(checkpoint, folder, "openvino")

    def test_a_damaged_engine_is_an_error(self, checkpoint: Checkpoint, folder: Path, tmp_path: Path) -> None:
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
        (engine_folder(tmp_path, "openvino", "fp32") / "action_head.onnx").write_bytes(b"")
        with pytest.raises(RuntimeUnavailableError, match="damaged"):
            make_runtime(checkpoint, tmp_path, "openvino")

    def test_torch_runs_in_the_precision_of_the_checkpoint(self, checkpoint: Checkpoint) -> None:
        half = dataclasses.replace(checkpoint, model=copy.deepcopy(checkpoint.model).to(torch.bfloat16))
        assert make_runtime(half, None, "torch", "bf16").description.precision == "bf16"
        with pytest.raises(RuntimeUnavailableError, match="in bf16, not fp32"):
            make_runtime(half, None, "torch", "fp32")
