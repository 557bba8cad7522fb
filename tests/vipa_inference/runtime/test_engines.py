"""Engines: installed where they agree with the model, refused where they do not, never used when stale or damaged."""

import copy
import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from vipa_inference.checkpoint import Checkpoint
from vipa_inference.policy import PolicyError
from vipa_inference.runtime import engines, openvino_runtime
from vipa_inference.runtime.base import RuntimeUnavailableError
from vipa_inference.runtime.engines import (
    BACKENDS,
    MANIFEST,
    EngineError,
    engine_folder,
    install_engine,
    load_engine,
    read_manifest,
)
from vipa_inference.runtime.graphs import GRAPHS, VLM_PREFILL
from vipa_inference.runtime.parity import random_batch
from vipa_inference.runtime.torch_runtime import TorchRuntime
from vipa_inference.statistics import Statistics

RUNTIMES = sorted(BACKENDS)


@pytest.fixture(scope="module")
def installed(
    checkpoint: Checkpoint, graphs: Path, statistics: Statistics, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a checkpoint with both engines; tests do not write into it."""
    folder = tmp_path_factory.mktemp("installed")
    for runtime in RUNTIMES:
        install_engine(checkpoint, folder, runtime, "fp32", graphs, statistics)
    return folder


@pytest.fixture(params=RUNTIMES)
def engine(request: pytest.FixtureRequest, installed: Path, tmp_path: Path) -> tuple[str, Path]:
    """A runtime, and a copy of its installed engine to break."""
    shutil.copytree(engine_folder(installed, request.param, "fp32"), engine_folder(tmp_path, request.param, "fp32"))
    return request.param, tmp_path


@pytest.fixture
def other(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with one weight of the action head changed."""
    model = copy.deepcopy(checkpoint.model)
    with torch.no_grad():
        model.action_head.action_decoder.weight[0] += 0.05
    return dataclasses.replace(checkpoint, model=model, weights_hash="0" * 64)


def _noise(checkpoint: Checkpoint) -> np.ndarray[Any, np.dtype[np.float32]]:
    action = checkpoint.config.action
    shape = (1, action.horizon, action.action_dimension)
    return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)


class TestInstalled:
    @pytest.mark.parametrize("runtime", RUNTIMES)
    def test_agrees_with_eager_torch(self, installed: Path, checkpoint: Checkpoint, runtime: str) -> None:
        parity = read_manifest(engine_folder(installed, runtime, "fp32"))["parity"]
        assert parity["broken"] == []
        assert parity["max_absolute"] <= 1e-5
        assert parity["cosine"] > 0.99999
        loaded = load_engine(checkpoint, installed, runtime, "fp32", "test")
        assert (loaded.description.name, loaded.description.precision) == (runtime, "fp32")
        batch, noise = random_batch(checkpoint.config, np.random.default_rng(5)), _noise(checkpoint)
        state = batch["proprioception"].astype(np.float32)
        prefix = noise[:, ::-1].copy()
        expected, found = (
            model.act(model.condition(batch), state, noise, prefix, 2)
            for model in (TorchRuntime(checkpoint.model), loaded)
        )
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(found[:, :2], prefix[:, :2])

    @pytest.mark.parametrize("runtime", RUNTIMES)
    def test_takes_prompts_of_any_length(self, installed: Path, checkpoint: Checkpoint, runtime: str) -> None:
        reference, loaded = TorchRuntime(checkpoint.model), load_engine(checkpoint, installed, runtime, "fp32", "test")
        room = checkpoint.config.prompt.text_tokens
        for count in (1, 3, 9, room - 1, room, 1):  # more than OpenVINO keeps
            batch = random_batch(checkpoint.config, np.random.default_rng(count), count)
            np.testing.assert_allclose(loaded.condition(batch), reference.condition(batch), rtol=0, atol=1e-5)

    def test_a_second_installation_replaces_the_first(
        self, engine: tuple[str, Path], checkpoint: Checkpoint, graphs: Path, statistics: Statistics
    ) -> None:
        runtime, folder = engine
        place = engine_folder(folder, runtime, "fp32")
        (place / MANIFEST).write_text("{}")
        install_engine(checkpoint, folder, runtime, "fp32", graphs, statistics)
        load_engine(checkpoint, folder, runtime, "fp32", "test")
        assert not list(place.parent.glob("*.partial"))


class TestRefusal:
    @pytest.mark.parametrize("runtime", RUNTIMES)
    def test_of_an_engine_that_differs_from_the_model(
        self, other: Checkpoint, graphs: Path, statistics: Statistics, tmp_path: Path, runtime: str
    ) -> None:
        with pytest.raises(EngineError, match=r"not installed, it differs .*max absolute .*allowed 1e-05"):
            install_engine(other, tmp_path, runtime, "fp32", graphs, statistics)
        assert not list((tmp_path / "engines").iterdir())

    def test_keeps_the_engine_that_was_there(
        self, engine: tuple[str, Path], other: Checkpoint, checkpoint: Checkpoint, graphs: Path, statistics: Statistics
    ) -> None:
        runtime, folder = engine
        with pytest.raises(EngineError, match="not installed"):
            install_engine(other, folder, runtime, "fp32", graphs, statistics)
        load_engine(checkpoint, folder, runtime, "fp32", "test")

    @pytest.mark.parametrize("runtime", RUNTIMES)
    @pytest.mark.parametrize("content", [b"", b"no graph at all", None])
    def test_of_a_corrupt_graph(
        self,
        checkpoint: Checkpoint,
        graphs: Path,
        statistics: Statistics,
        tmp_path: Path,
        runtime: str,
        content: bytes | None,
    ) -> None:
        broken = tmp_path / "graphs"
        shutil.copytree(graphs, broken)
        file = broken / f"{VLM_PREFILL}.onnx"
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if content is None else content)
        with pytest.raises(RuntimeUnavailableError, match=rf"runtime {runtime}: .*{VLM_PREFILL}.*") as caught:
            install_engine(checkpoint, tmp_path, runtime, "fp32", broken, statistics)
        assert "\n" not in str(caught.value)
        assert not list((tmp_path / "engines").iterdir())

    def test_of_a_precision_that_the_runtime_has_not(
        self, checkpoint: Checkpoint, graphs: Path, statistics: Statistics, tmp_path: Path
    ) -> None:
        with pytest.raises(RuntimeUnavailableError, match="no bf16 on the CPU"):
            install_engine(checkpoint, tmp_path, "onnxruntime", "bf16", graphs, statistics)
        with pytest.raises(RuntimeUnavailableError, match="no int4"):
            install_engine(checkpoint, tmp_path, "openvino", "int4", graphs, statistics)

    def test_of_bf16_where_the_processor_has_none(
        self,
        checkpoint: Checkpoint,
        graphs: Path,
        statistics: Statistics,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        class Core:
            def get_property(self, device: str, name: str) -> list[str]:
                return ["FP32", "INT8"]

        module = SimpleNamespace(Core=Core, get_version=lambda: "2026.4.1-x")
        monkeypatch.setattr(openvino_runtime, "_module", lambda: module)
        with pytest.raises(RuntimeUnavailableError, match="computes no bf16"):
            install_engine(checkpoint, tmp_path, "openvino", "bf16", graphs, statistics)

    def test_of_an_unknown_runtime(self, checkpoint: Checkpoint, tmp_path: Path) -> None:
        with pytest.raises(RuntimeUnavailableError, match="known: torch, onnxruntime, openvino"):
            load_engine(checkpoint, tmp_path, "tflite", "fp32", "test")

    def test_of_a_folder_that_cannot_be_written(
        self, checkpoint: Checkpoint, graphs: Path, statistics: Statistics, tmp_path: Path
    ) -> None:
        (tmp_path / "engines").write_text("a file where a folder should be")
        with pytest.raises(PolicyError, match="cannot be written"):
            install_engine(checkpoint, tmp_path, "onnxruntime", "fp32", graphs, statistics)


class TestStale:
    def test_after_the_weights_changed(self, engine: tuple[str, Path], other: Checkpoint) -> None:
        runtime, folder = engine
        with pytest.raises(
            EngineError, match=r"stale: made for another weights \(\w{12}, here 0{12}\)\. Make it with: vipa export"
        ):
            load_engine(other, folder, runtime, "fp32", "test")

    def test_after_the_configuration_changed(self, engine: tuple[str, Path], checkpoint: Checkpoint) -> None:
        runtime, folder = engine
        config = dataclasses.replace(checkpoint.config, step_period=0.1)
        with pytest.raises(EngineError, match="stale: made for another model"):
            load_engine(dataclasses.replace(checkpoint, config=config), folder, runtime, "fp32", "test")

    def test_after_the_runtime_was_updated(
        self, engine: tuple[str, Path], checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runtime, folder = engine
        newer = dataclasses.replace(BACKENDS[runtime], version=lambda: "99.0")
        monkeypatch.setitem(engines.BACKENDS, runtime, newer)
        with pytest.raises(EngineError, match=r"stale: made for another runtime_version \(\d.*, here 99\.0\)"):
            load_engine(checkpoint, folder, runtime, "fp32", "test")


class TestDamage:
    @pytest.mark.parametrize("name", GRAPHS)
    def test_of_a_graph(self, engine: tuple[str, Path], checkpoint: Checkpoint, name: str) -> None:
        runtime, folder = engine
        file = engine_folder(folder, runtime, "fp32") / f"{name}.onnx"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
        with pytest.raises(EngineError, match=rf"{name}\.onnx: damaged or missing\. Make it with"):
            load_engine(checkpoint, folder, runtime, "fp32", "test")
        file.unlink()
        with pytest.raises(EngineError, match="damaged or missing"):
            load_engine(checkpoint, folder, runtime, "fp32", "test")

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"key": 1, "files": {}, "parity": {}}', "{" * 100_000])
    def test_of_the_manifest(self, engine: tuple[str, Path], checkpoint: Checkpoint, content: str) -> None:
        runtime, folder = engine
        (engine_folder(folder, runtime, "fp32") / MANIFEST).write_text(content)
        with pytest.raises(EngineError, match=r"engine\.json: .*Make it with"):
            load_engine(checkpoint, folder, runtime, "fp32", "test")

    def test_of_the_list_of_files(self, engine: tuple[str, Path], checkpoint: Checkpoint) -> None:
        runtime, folder = engine
        file = engine_folder(folder, runtime, "fp32") / MANIFEST
        manifest = json.loads(file.read_text())
        del manifest["files"][f"{VLM_PREFILL}.onnx"]
        file.write_text(json.dumps(manifest))
        with pytest.raises(EngineError, match="damaged or missing"):
            load_engine(checkpoint, folder, runtime, "fp32", "test")

    def test_a_missing_engine_says_how_to_make_it(self, checkpoint: Checkpoint, tmp_path: Path) -> None:
        with pytest.raises(EngineError, match=r"no such engine\. Make it with: vipa export .*--runtime openvino"):
            load_engine(checkpoint, tmp_path, "openvino", "fp32", "test")
