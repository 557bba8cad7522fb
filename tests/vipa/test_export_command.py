"""``vipa export`` from the checkpoint to the installed engines."""

import json
from pathlib import Path

import pytest

from tests.vipa_inference.runtime.micro import MICRO, copy_micro_graphs
from vipa import cli
from vipa_inference.checkpoint import load_checkpoint
from vipa_inference.config import PRESETS
from vipa_inference.runtime import engines
from vipa_inference.runtime.engines import load_engine
from vipa_inference.untrained import save_untrained_checkpoint


class TestExport:
    def test_installs_engines_of_a_preset(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(PRESETS, "nano", MICRO)
        monkeypatch.setattr(engines, "export_graphs", copy_micro_graphs)
        folder, file = tmp_path / "untrained", tmp_path / "result.json"
        arguments = ["export", "--preset", "nano", "--output", str(folder), "--runtime", "onnxruntime,openvino"]
        assert cli.main([*arguments, "--json", str(file)]) == 0
        result = json.loads(file.read_text())
        assert result["ok"]
        assert result["figures"]["openvino_fp32_max_absolute"] <= 1e-5
        assert result["figures"]["onnxruntime_fp32_cosine"] > 0.99999
        shown = capsys.readouterr()
        assert "openvino fp32: installed; max abs" in shown.err
        assert "openvino_fp32_translation_mm" in shown.out
        for runtime in ("onnxruntime", "openvino"):
            load_engine(load_checkpoint(folder), folder, runtime, "fp32", "test")
        assert sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) == ["engines"]

    def test_says_which_engines_were_not_made(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        save_untrained_checkpoint(tmp_path, MICRO)
        (tmp_path / "statistics.json").unlink()
        monkeypatch.setattr(engines, "export_graphs", lambda *_: None)
        arguments = ["export", "--checkpoint", str(tmp_path), "--runtime", "onnxruntime", "--precision", "bf16,fp32"]
        assert cli.main(arguments) == 1
        shown = capsys.readouterr().err
        assert "runtime onnxruntime: no bf16 on the CPU" in shown
        assert "cannot be loaded" in shown  # nothing was exported here
        assert "50 mm" in shown

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--preset", "giant"], "preset giant: unknown; known: 2b, nano"),
            (["--checkpoint", "/nowhere"], "/nowhere/config.json: cannot be read"),
            (["--preset", "nano", "--runtime", "tflite"], "runtime tflite: unknown"),
        ],
    )
    def test_wrong_arguments_give_one_line(
        self, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["export", *arguments]) == 1
        shown = capsys.readouterr().err
        assert message in shown
        assert shown.count("\n") == 1

    @pytest.mark.parametrize(
        "arguments", [[], ["--preset", "nano", "--checkpoint", "x"], ["--preset", "nano", "--runtime", ","]]
    )
    def test_impossible_arguments_are_refused(self, arguments: list[str]) -> None:
        with pytest.raises(SystemExit) as stop:
            cli.main(["export", *arguments])
        assert stop.value.code == 2
