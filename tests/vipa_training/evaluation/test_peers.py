"""Peers: what they learn is what stage 3 learns; what is served follows the note; both commands say what is wrong.

LeRobot itself is trained and served in its own environment, where VIPA_PEER_PYTHON names it.
"""

import json
import os
import re
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fabricated_datasets import write_dataset

from tests.vipa_inference.serving.running import observation
from vipa.result import Result
from vipa_inference.policy import PolicyError
from vipa_inference.serving.client import RemoteConfig, RemotePolicy
from vipa_training.data.reader import Dataset
from vipa_training.evaluation.peers import serve_peer, train_peer
from vipa_training.evaluation.peers.note import IMAGES, KINDS, STATE, TASK_VECTOR, PeerError, PeerNote, fingerprint
from vipa_training.evaluation.peers.policy import PeerPolicy
from vipa_training.evaluation.peers.samples import (
    SMALLEST_SPREAD,
    PeerSamples,
    fit_picture,
    read_chunks,
    usable,
)
from vipa_training.stages.demonstrations import read_rows

PEER_PYTHON = os.environ.get("VIPA_PEER_PYTHON", "")
TASKS = ("wipe the board", "water the plant")
NOTE = PeerNote("act", ("front", "side"), (24, 32), 4, 0.05, TASKS, seed=3)


class Items:
    """Rows as LeRobot gives them, of one colour each."""

    def __len__(self) -> int:
        return 36

    def __getitem__(self, number: int) -> dict[str, Any]:
        pictures = {f"{IMAGES}{name}": torch.full((3, 48, 64), number / 36) for name in NOTE.cameras}
        return {**pictures, STATE: torch.full((22,), float(number)), "task": TASKS[number % 2], "time_ns": number}


def test_chunks_are_those_of_stage_3(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data")
    chunks = read_chunks(root, 4, 0.05)
    with Dataset(root) as dataset:
        rows = read_rows(dataset, 4, 0.05)
    np.testing.assert_array_equal(chunks.actions, rows.actions)
    np.testing.assert_array_equal(chunks.is_pad, ~rows.inside)
    assert chunks.is_pad.sum() == 3 * (1 + 2 + 3), "the last rows of each of three episodes look beyond its end"
    inside = rows.actions[rows.inside]
    found = chunks.statistics()
    np.testing.assert_allclose(found["mean"], inside.mean(0), atol=1e-6)
    np.testing.assert_allclose(found["std"], np.maximum(inside.std(0), SMALLEST_SPREAD), atol=1e-5)


def test_what_stands_still_is_not_blown_up() -> None:
    assert usable({"mean": [1.0, 2.0], "std": [0.0, 0.5]})["std"].tolist() == [pytest.approx(SMALLEST_SPREAD), 0.5]


def test_samples(tmp_path: Path) -> None:
    chunks = read_chunks(write_dataset(tmp_path / "data"), 4, 0.05)
    samples = PeerSamples(Items(), chunks, NOTE)
    sample = samples[11]
    assert set(sample) == {f"{IMAGES}front", f"{IMAGES}side", STATE, TASK_VECTOR, "action", "action_is_pad", "task"}
    assert sample[f"{IMAGES}side"].shape == (3, 24, 32)
    assert sample[TASK_VECTOR].tolist() == [0.0, 1.0]
    np.testing.assert_array_equal(sample["action"], chunks.actions[11])
    assert sample["action_is_pad"].tolist() == [False, True, True, True]
    with pytest.raises(PeerError, match="LeRobot reads 36 rows, VIPA 12"):
        PeerSamples(Items(), read_chunks(write_dataset(tmp_path / "other", (12,)), 4, 0.05), NOTE)


def test_a_picture_keeps_its_colours_in_another_size() -> None:
    picture = torch.rand(3, 1, 1).expand(3, 48, 64)
    fitted = fit_picture(picture, (24, 32))
    torch.testing.assert_close(fitted, picture[:, :24, :32])
    assert fit_picture(picture, (48, 64)) is picture


def test_policy_asks_with_what_it_learned() -> None:
    asked: list[dict[str, Any]] = []

    def predict(batch: dict[str, Any]) -> torch.Tensor:
        asked.append(batch)
        return torch.full((1, 4, 12), 0.25)

    policy = PeerPolicy(NOTE, "hash", predict)
    policy.reset()
    seen = replace(observation(), instruction=f" {TASKS[1]}\n")
    chunk = policy.infer(seen)
    (batch,) = asked
    assert batch[TASK_VECTOR].tolist() == [[0.0, 1.0]]
    assert batch["task"] == [TASKS[1]]
    assert batch[f"{IMAGES}front"].shape == (1, 3, 24, 32)
    image = seen.views["front"].image
    assert float(batch[f"{IMAGES}front"].mean()) == pytest.approx(image.mean() / 255, abs=0.01)
    np.testing.assert_allclose(batch[STATE][0, :3], seen.end_effector_pose[:3, 3], atol=1e-6)
    assert chunk.actions.shape == (4, 12)
    assert chunk.actions.dtype == np.float64
    np.testing.assert_array_equal(chunk.reference_pose, seen.end_effector_pose)
    assert (chunk.observation_ns, chunk.policy, chunk.policy_hash) == (seen.observation_ns, "act", "hash")
    with pytest.raises(PolicyError, match="did not learn 'dance', but: wipe the board; water the plant"):
        policy.infer(replace(seen, instruction="dance"))
    tall = {name: replace(view, image=np.zeros((64, 48, 3), np.uint8)) for name, view in seen.views.items()}
    with pytest.raises(PolicyError, match="camera front gave 48x64 px, learned were 32x24"):
        policy.infer(replace(seen, views=tall))


def test_note_goes_round_and_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    NOTE.write(tmp_path)
    assert PeerNote.read(tmp_path) == NOTE
    with pytest.raises(PeerError, match=r"model.safetensors: cannot be read: No such file"):
        fingerprint(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = fingerprint(tmp_path)
    replace(NOTE, horizon=5).write(tmp_path)
    assert fingerprint(tmp_path) != before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "act", "image_size": [1]}'])
def test_what_is_no_note(tmp_path: Path, text: str) -> None:
    (tmp_path / "peer.json").write_text(text)
    with pytest.raises(PeerError, match="no note of a trained peer"):
        PeerNote.read(tmp_path)


def test_commands_say_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["act", "--dataset", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    assert train_peer.main([*options, "--steps", "3"]) == 1
    assert capsys.readouterr().err == "train_peer: steps: 3 are not more than the 3 that do not count\n"
    assert train_peer.main([*options, "--batch", "0"]) == 1
    assert capsys.readouterr().err == "train_peer: batch: 0 is less than 1\n"
    assert serve_peer.main([str(tmp_path), "--port", "0"]) == 1
    assert "peer.json: cannot be read: No such file or directory. Train one" in capsys.readouterr().err
    assert serve_peer.main([str(tmp_path), "--host", "0.0.0.0", "--port", "70000"]) == 1
    assert "port: 70000 is outside" in capsys.readouterr().err


def test_without_lerobot(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(train_peer.sys.modules, "lerobot", None)
    assert train_peer.main(["act", "--dataset", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "the package lerobot is missing" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.protocol
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.skipif(not PEER_PYTHON, reason="VIPA_PEER_PYTHON names no environment with LeRobot")
def test_lerobots_policies_are_trained_and_served(tmp_path: Path, kind: str) -> None:
    """Three steps of LeRobot's own policy, then a chunk of it by the genuine server and client."""
    root, out = write_dataset(tmp_path / "data"), tmp_path / "out"
    module = [PEER_PYTHON, "-m", "vipa_training.evaluation.peers.train_peer", kind]
    options = ["--dataset", str(root), "--out", str(out), "--steps", "3", "--warm-up", "1", "--batch", "4"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([*module, *options], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = Result.read(out / "result.json")
    assert result.figures["samples_per_s"] > 0
    assert 0.0 <= result.figures["data_wait_share"] < 1.0
    assert 30e6 < result.figures["learning_parameters"] <= result.figures["parameters"] < 36e6
    assert json.loads((out / "config.json").read_text())["type"] == kind
    out = out.rename(tmp_path / "moved")
    serve = [PEER_PYTHON, "-m", "vipa_training.evaluation.peers.serve_peer", str(out), "--port", "0"]
    with subprocess.Popen(
        serve, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = next(line for line in process.stdout if line.startswith("peer ") or not line)
        port = re.search(r":(\d+),", said)
        assert port is not None, said
        try:
            remote = RemotePolicy(RemoteConfig(f"ws://127.0.0.1:{port[1]}", time_out=30.0))
            remote.reset()
            chunk = remote.infer(replace(observation(), instruction="wipe the board"))
            assert chunk.actions.shape == (16, 12)
            assert chunk.policy_hash == fingerprint(out)
            with pytest.raises(PolicyError, match="did not learn 'dance'"):
                remote.infer(replace(observation(), instruction="dance"))
            remote.close()
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
