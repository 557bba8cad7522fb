"""The peer of the benchmark of training: a fabricated Python that prints figures, and all that can go wrong with it."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vipa.benchmarks import train
from vipa.benchmarks.peer import PeerRun, measure_act
from vipa.benchmarks.train import PEER_BOUNDS, TRAIN_BOUNDS, TrainBenchmarkConfig, run_train_benchmark
from vipa.errors import ConfigurationError, VipaError
from vipa_training.stages.parts import ENCODERS, PartCount
from vipa_training.stages.recipes import Stage3Config
from vipa_training.stages.stage3 import Trained

FIGURES = {"samples_per_s": 2.0, "data_wait_share": 0.5, "parameters": 18e6}
WRITE = """
options = dict(zip(sys.argv[4::2], sys.argv[5::2]))
os.makedirs(options["--out"])
json.dump(dict({result}, details=dict(options, path=os.environ.get("PYTHONPATH"))), open(options["--json"], "w"))
"""


def peer(folder: Path, body: str, **options: Any) -> PeerRun:
    """A Python that does what ``body`` says, whatever it is asked to run."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable} -I\nimport json, os, sys, time\n{body}\n")
    path.chmod(0o755)
    return PeerRun(path, steps=4, warm_up=1, batch=32, image_size=128, workers=1, seed=7, **options)


def writing(figures: dict[str, Any]) -> str:
    """The body of a Python that writes figures."""
    return WRITE.format(result={"command": "train_peer act", "figures": figures})


def test_figures_of_a_peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    result = measure_act(peer(tmp_path, writing(FIGURES)), tmp_path / "data", tmp_path / "out")
    assert result.figures == FIGURES
    asked = result.details
    assert asked["path"] is None, "the peer finds no packages of another environment"
    assert (asked["--steps"], asked["--warm-up"], asked["--batch"]) == ("4", "1", "32")
    assert (asked["--image-size"], asked["--workers"], asked["--seed"]) == ("128", "1", "7")
    assert asked["--dataset"] == str(tmp_path / "data")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "sys.exit('train_peer: the package lerobot is missing')",
            r"python: train_peer: the package lerobot is missing",
        ),
        ("sys.exit(3)", r"python: ended with status 3\. See .*README"),
        ("pass", r"result\.json: no such file"),
        ("sys.stderr.write('no JSON follows')\n" + WRITE.format(result="dict()"), r"not the result of a command"),
        (writing({"samples_per_s": 2.0}), r"has no figure data_wait_share"),
        (writing({**FIGURES, "samples_per_s": None}), r"has no figure samples_per_s"),
        (writing({**FIGURES, "samples_per_s": 0.0}), r"trained no samples"),
    ],
)
def test_what_a_peer_gets_wrong(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(VipaError, match=message) as error:
        measure_act(peer(tmp_path, body), tmp_path / "data", tmp_path / "out")
    assert "\n" not in str(error.value)


def test_a_peer_that_hangs(tmp_path: Path) -> None:
    with pytest.raises(VipaError, match=r"took longer than 0\.3 s"):
        measure_act(peer(tmp_path, "time.sleep(60)", time_out=0.3), tmp_path / "data", tmp_path / "out")


def test_no_such_python(tmp_path: Path) -> None:
    run = PeerRun(tmp_path / "none", steps=4, warm_up=1, batch=32, image_size=128, workers=1, seed=0)
    with pytest.raises(ConfigurationError, match=r"none: cannot be started: No such file"):
        measure_act(run, tmp_path / "data", tmp_path / "out")


def trained(_: TrainBenchmarkConfig, recipe: Stage3Config, folder: Path, kind: str) -> Trained:
    """What a training of that kind leaves, with speeds made up; the first step does not count."""
    assert (folder / "dataset" / "meta" / "info.json").is_file()
    assert (set(ENCODERS) <= set(recipe.learning)) == (kind == "whole"), "the peer learns as a whole, so must nano"
    speed = {"kept": 8.0, "decoded": 5.0, "whole": 3.0}[kind]
    records = [{"samples_per_s": s, "data_wait_share": w} for s, w in ((0.1, 0.9), (speed, 0.01), (speed, 0.03))]
    return Trained(0, records, [PartCount("language", 7, 5), PartCount("action", 4, 4)], 64, "hash", "none")


def test_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "_train", trained)
    config = TrainBenchmarkConfig(steps=2, warm_up=1, episodes=1, rows=4)
    alone = run_train_benchmark(config, lambda _: None)
    assert alone.bounds == TRAIN_BOUNDS, "without a peer there is nothing to compare with"
    assert not [name for name in alone.figures if "act" in name or "whole" in name]
    python = peer(tmp_path, writing(FIGURES)).python
    said: list[str] = []
    result = run_train_benchmark(replace(config, peer_python=python), said.append)
    figures = result.figures
    assert (figures["act_samples_per_s"], figures["act_data_wait_share"], figures["act_parameters"]) == (2.0, 0.5, 18e6)
    assert (figures["whole_over_act_ratio"], figures["kept_over_act_ratio"]) == (1.5, 4.0)
    assert figures["whole_data_wait_share"] == pytest.approx(0.02)
    assert figures["parameters"] == 11
    assert result.bounds == {**TRAIN_BOUNDS, **PEER_BOUNDS}
    assert result.passed
    asked = result.details["act"]
    assert (asked["--batch"], asked["--image-size"], asked["--steps"]) == ("32", "128", "3")
    assert "training: LeRobot's ACT" in said
