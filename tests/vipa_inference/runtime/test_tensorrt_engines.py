"""Built engines: not proven without a GPU, taken over where nothing changed, refused with both sides named."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.vipa_inference.runtime.micro import MICRO, copy_micro_graphs
from tests.vipa_inference.runtime.rtx import bindings_or_skip
from vipa import cli
from vipa_inference.checkpoint import Checkpoint
from vipa_inference.runtime import engine_cache, engines, tensorrt_bindings, tensorrt_builder
from vipa_inference.runtime.base import RuntimeUnavailableError
from vipa_inference.runtime.engine_cache import EngineKey, EngineTarget, engine_target
from vipa_inference.runtime.engines import MANIFEST, EngineError, engine_folder, install_engine, load_engine
from vipa_inference.runtime.gpu import Gpu, find_gpu
from vipa_inference.runtime.graphs import GRAPHS
from vipa_inference.runtime.select import make_runtime
from vipa_inference.runtime.tensorrt_bindings import TENSORRT, TENSORRT_RTX, Bindings
from vipa_inference.runtime.tensorrt_builder import BuildConfig, BuildReport
from vipa_inference.statistics import Statistics
from vipa_inference.untrained import save_untrained_checkpoint

H100 = Gpu("NVIDIA H100", "9.0")
RTX_4090 = Gpu("NVIDIA GeForce RTX 4090", "8.9")
BUILD = BuildConfig(("8.9",))

pytestmark = pytest.mark.skipif(find_gpu() is not None, reason="these tests are about a machine without a GPU")


@pytest.fixture(scope="module")
def installed(
    checkpoint: Checkpoint, graphs: Path, statistics: Statistics, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a checkpoint with an engine of TensorRT-RTX; tests do not write into it."""
    bindings_or_skip(TENSORRT_RTX)
    folder = tmp_path_factory.mktemp("installed")
    install_engine(checkpoint, folder, TENSORRT_RTX, "bf16", graphs, statistics, BUILD)
    return folder


@pytest.fixture
def folder(installed: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    shutil.copytree(installed, tmp_path, dirs_exist_ok=True)
    return tmp_path


def _gpu(monkeypatch: pytest.MonkeyPatch, gpu: Gpu | None) -> None:
    for module in (engine_cache, engines, tensorrt_builder):
        monkeypatch.setattr(module, "find_gpu", lambda: gpu)


def _load(checkpoint: Checkpoint, folder: Path) -> None:
    load_engine(checkpoint, folder, TENSORRT_RTX, "bf16", "test")


def _manifest(folder: Path) -> dict[str, Any]:
    return json.loads((engine_folder(folder, TENSORRT_RTX, "bf16") / MANIFEST).read_text())


class TestInstalled:
    def test_without_a_gpu_it_is_not_proven(self, installed: Path) -> None:
        manifest = _manifest(installed)
        assert manifest["parity"] == {"not_run": "no CUDA device"}
        assert manifest["target"] == {"compute_capabilities": ["8.9"], "gpu": ""}
        assert set(manifest["engines"]) == set(GRAPHS)
        assert set(manifest["files"]) == {f"{name}.engine" for name in GRAPHS}
        assert not any(one["taken_over"] for one in manifest["engines"].values())

    def test_is_taken_over_where_nothing_changed(
        self,
        folder: Path,
        checkpoint: Checkpoint,
        graphs: Path,
        statistics: Statistics,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def never(*_: object) -> None:
            raise AssertionError("built again")

        monkeypatch.setattr(engine_cache, "build_engine", never)
        before = _manifest(folder)
        manifest = install_engine(checkpoint, folder, TENSORRT_RTX, "bf16", graphs, statistics, BUILD)
        assert manifest["files"] == before["files"]
        assert all(one["taken_over"] for one in manifest["engines"].values())

    @pytest.mark.parametrize("change", ["target", "damage", "manifest"])
    def test_is_built_again_where_something_changed(
        self,
        folder: Path,
        checkpoint: Checkpoint,
        graphs: Path,
        statistics: Statistics,
        monkeypatch: pytest.MonkeyPatch,
        change: str,
    ) -> None:
        def quick(_: Bindings, graph: Path, target: Path, *__: object) -> BuildReport:
            target.write_bytes(graph.read_bytes())
            return BuildReport(1, target.stat().st_size, 0.1, 0.1)

        monkeypatch.setattr(engine_cache, "build_engine", quick)
        place, build = engine_folder(folder, TENSORRT_RTX, "bf16"), BUILD
        if change == "target":
            build = BuildConfig(("8.6", "8.9"))
        elif change == "damage":
            (place / "vlm_prefill.engine").write_bytes(b"")
        else:
            (place / MANIFEST).write_text("{}")
        manifest = install_engine(checkpoint, folder, TENSORRT_RTX, "bf16", graphs, statistics, build)
        built = {name for name, one in manifest["engines"].items() if not one["taken_over"]}
        assert built == ({"vlm_prefill"} if change == "damage" else set(GRAPHS))

    def test_of_tensorrt_needs_a_gpu(
        self,
        checkpoint: Checkpoint,
        graphs: Path,
        statistics: Statistics,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        rtx = bindings_or_skip(TENSORRT_RTX)
        stand_in = Bindings(TENSORRT, rtx.module, rtx.logger)
        monkeypatch.setattr(engines, "load_bindings", lambda _: stand_in)
        monkeypatch.setattr(tensorrt_bindings, "load_bindings", lambda _: stand_in)
        with pytest.raises(RuntimeUnavailableError, match=r"no CUDA device.*--runtime tensorrt_rtx"):
            install_engine(checkpoint, tmp_path, TENSORRT, "bf16", graphs, statistics)
        assert not list((tmp_path / "engines").iterdir())


class TestRefusal:
    def test_without_a_gpu(self, installed: Path, checkpoint: Checkpoint) -> None:
        with pytest.raises(EngineError, match=r"cannot run: no CUDA device\. Make it with: vipa export"):
            _load(checkpoint, installed)

    def test_on_another_gpu_names_both(
        self, installed: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _gpu(monkeypatch, H100)
        message = (
            r"built for GPUs of compute capability 8\.9, here is NVIDIA H100 \(compute capability 9\.0\)\. "
            r"Make it with: vipa export --checkpoint FOLDER --runtime tensorrt_rtx --precision bf16"
        )
        with pytest.raises(EngineError, match=message):
            _load(checkpoint, installed)

    def test_of_another_version_names_both(
        self, installed: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        version = bindings_or_skip(TENSORRT_RTX).version
        monkeypatch.setattr(tensorrt_bindings, "version", lambda _: "1.99")
        message = rf"stale: made for another runtime_version \({version}, here 1\.99\)\. Make it with"
        with pytest.raises(EngineError, match=message):
            _load(checkpoint, installed)

    @pytest.mark.parametrize("name", GRAPHS)
    def test_of_a_corrupt_file(self, folder: Path, checkpoint: Checkpoint, name: str) -> None:
        file = engine_folder(folder, TENSORRT_RTX, "bf16") / f"{name}.engine"
        content = bytearray(file.read_bytes())
        content[len(content) // 3] ^= 1
        file.write_bytes(content)
        with pytest.raises(EngineError, match=rf"{name}\.engine: damaged or missing\. Make it with"):
            _load(checkpoint, folder)

    @pytest.mark.parametrize("target", [None, {}, {"gpu": "x"}, {"compute_capabilities": 1, "gpu": ""}, []])
    def test_of_a_manifest_without_a_target(self, folder: Path, checkpoint: Checkpoint, target: Any) -> None:
        manifest = _manifest(folder)
        manifest["target"] = target
        (engine_folder(folder, TENSORRT_RTX, "bf16") / MANIFEST).write_text(json.dumps(manifest))
        with pytest.raises(EngineError, match=r"no manifest of a built engine\. Make it with"):
            _load(checkpoint, folder)

    def test_of_an_unknown_precision(
        self, checkpoint: Checkpoint, graphs: Path, statistics: Statistics, tmp_path: Path
    ) -> None:
        bindings_or_skip(TENSORRT_RTX)
        with pytest.raises(RuntimeUnavailableError, match="no int4; known: fp32, fp16, bf16"):
            install_engine(checkpoint, tmp_path, TENSORRT_RTX, "int4", graphs, statistics)


class TestSelection:
    def test_auto_leaves_out_what_is_not_proven(self, installed: Path, checkpoint: Checkpoint) -> None:
        runtime = make_runtime(checkpoint, installed)
        assert runtime.description.name == "torch"
        assert "parity with the model was not measured (no CUDA device). Measure it" in runtime.description.reason
        assert "no engine tensorrt bf16, fp16, fp32" in runtime.description.reason

    def test_by_name_takes_it_with_a_warning(
        self,
        installed: Path,
        checkpoint: Checkpoint,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        _gpu(monkeypatch, RTX_4090)
        # The GPU is only said to be there, so the engine goes as far as CUDA.
        with pytest.raises(RuntimeUnavailableError, match="runtime tensorrt: no CUDA device"):
            make_runtime(checkpoint, installed, TENSORRT_RTX)
        assert "not proven" in caplog.text

    def test_by_name_without_an_engine(self, checkpoint: Checkpoint, tmp_path: Path) -> None:
        with pytest.raises(RuntimeUnavailableError, match=r"precisions: fp32, fp16, bf16.*vipa export"):
            make_runtime(checkpoint, tmp_path, TENSORRT)


class TestTarget:
    def test_of_tensorrt_is_one_model_of_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        _gpu(monkeypatch, RTX_4090)
        target = engine_target(Bindings(TENSORRT, None, None), "bf16", BuildConfig())
        assert str(target) == "NVIDIA GeForce RTX 4090 (compute capability 8.9)"
        assert target.fits(RTX_4090)
        assert not target.fits(Gpu("NVIDIA L40S", "8.9"))
        assert EngineTarget.from_mapping(json.loads(json.dumps(dataclasses.asdict(target)))) == target

    def test_of_rtx_is_every_gpu_of_its_compute_capabilities(self) -> None:
        target = EngineTarget(("8.6", "8.9"))
        assert target.fits(RTX_4090)
        assert not target.fits(H100)
        assert str(target) == "GPUs of compute capability 8.6, 8.9"

    def test_every_part_of_a_key_matters(self) -> None:
        key = EngineKey("0" * 64, "bf16", TENSORRT, "11.4", 644, EngineTarget(("8.9",), "A"))
        others = [
            dataclasses.replace(key, graph="1" * 64),
            dataclasses.replace(key, precision="fp16"),
            dataclasses.replace(key, runtime=TENSORRT_RTX),
            dataclasses.replace(key, version="11.5"),
            dataclasses.replace(key, prompt_length=645),
            dataclasses.replace(key, target=EngineTarget(("8.9",), "B")),
            dataclasses.replace(key, target=EngineTarget(("9.0",), "A")),
        ]
        assert len({one.digest for one in (key, *others)}) == len(others) + 1
        assert dataclasses.replace(key).digest == key.digest


class TestExport:
    def test_builds_and_says_that_parity_was_not_run(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        bindings_or_skip(TENSORRT_RTX)
        save_untrained_checkpoint(tmp_path, MICRO)
        monkeypatch.setattr(engines, "export_graphs", copy_micro_graphs)
        file = tmp_path / "result.json"
        arguments = ["export", "--checkpoint", str(tmp_path), "--runtime", TENSORRT_RTX, "--json", str(file)]
        assert cli.main([*arguments, "--compute-capability", "8.9"]) == 0
        shown = capsys.readouterr().err
        assert "tensorrt_rtx bf16: installed, not proven; 4 graphs built" in shown
        assert "parity not run: no CUDA device" in shown
        result = json.loads(file.read_text())
        assert result["figures"]["tensorrt_rtx_bf16_build_s"] > 0
        assert result["details"]["tensorrt_rtx bf16"]["not_run"] == "no CUDA device"
        assert cli.main([*arguments, "--compute-capability", "9.0"]) == 1
        assert "no bf16 engine for compute capability 9.0" in capsys.readouterr().err
