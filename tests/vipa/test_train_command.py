"""``vipa train``: what is wrong is told in one line; a training is told as a result."""

import json
from pathlib import Path

import pytest
from fabricated_datasets import write_dataset
from fabricated_hand3d import write_hand3d

from tests.vipa_training.engine.training_process import MODEL, QUICK
from vipa import cli
from vipa_inference.untrained import save_untrained_checkpoint


def run(*arguments: str | Path) -> int:
    return cli.main(["train", "stage3", *map(str, arguments)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "giant"], "preset giant: unknown; known: 2b, nano"),
        (["--preset", "nano", "--recipe", "cake"], "recipe cake: unknown; known: fr3, libero, robocasa, nano"),
        (["--preset", "nano", "--set", "steps=5"], "stage3: unknown option steps"),
        (["--preset", "nano", "--set", "model.horizon=5"], "model: unknown option horizon"),
        (["--preset", "nano"], "no such dataset"),
        (["--checkpoint", "nowhere"], "cannot be read"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*options, "--dataset", tmp_path / "nothing", "--out", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert said.startswith("vipa: train stage3: ")
    assert message in said
    assert said.count("\n") == 1


def test_a_training_gives_a_result_and_a_checkpoint(tmp_path: Path) -> None:
    dataset, out = write_dataset(tmp_path / "dataset", (8,)), tmp_path / "out"
    save_untrained_checkpoint(tmp_path / "begin", MODEL)
    pairs = [f"--set={pair}" for pair in (*QUICK, "optimisation.steps=2", "model.action.max_prefix=1")]
    report = tmp_path / "result.json"
    arguments = ("--checkpoint", tmp_path / "begin", "--dataset", dataset, "--out", out, "--json", report, *pairs)
    assert run(*arguments) == 0
    result = json.loads(report.read_text())
    assert result["ok"]
    assert result["figures"]["step"] == 2
    assert result["figures"]["rows"] == 8
    assert result["details"]["parts"]["semantic_encoder"]["learning"] == 0
    assert json.loads((out / "config.json").read_text())["model"]["action"]["max_prefix"] == 1
    assert (out / "model.safetensors").exists()
    assert run(*arguments) == 0  # there is nothing left to do


@pytest.mark.parametrize(
    ("stage", "options", "message"),
    [
        ("stage0", ["--preset", "giant"], "preset giant: unknown"),
        ("stage0", ["--recipe", "paper"], "recipe paper: unknown; known: small"),
        ("stage0", [], "no complete Hand3D data set; build it with vipa hand3d build"),
        ("stage1", ["--checkpoint", "nowhere"], "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_pretraining_is_told_in_one_line(
    stage: str, options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--dataset", str(tmp_path / "nothing"), "--out", str(tmp_path / "out")]
    assert cli.main(["train", stage, *options, *places]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"vipa: train {stage}: ")
    assert message in said
    assert said.count("\n") == 1


def test_the_stages_of_pretraining_follow_on_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset, begin = write_hand3d(tmp_path / "data", videos=3, tested=1), tmp_path / "begin"
    save_untrained_checkpoint(begin, MODEL)
    for stage, learning in (("stage1", "fusion"), ("stage2", "language_model")):
        out, report = tmp_path / stage, tmp_path / f"{stage}.json"
        places = ["--checkpoint", str(begin), "--dataset", str(dataset), "--out", str(out), "--json", str(report)]
        pairs = ("optimisation.steps=2", "engine.batch=2", "engine.workers=0")
        assert cli.main(["train", stage, *places, *(f"--set={pair}" for pair in pairs)]) == 0
        result = json.loads(report.read_text())
        assert result["figures"]["steps"] == 2
        assert result["details"]["parts"][learning]["learning"] > 0
        assert result["details"]["recipe"] == "small"
        begin = out
    assert "loss" in capsys.readouterr().out
