"""From a source to a data set on the disk and back: the same bytes whoever builds it, also after a kill."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fabricated_mano import write_models
from fabricated_sources import WRITERS, scene

from vipa.cli import main
from vipa_inference.config import NANO
from vipa_inference.model.motion_tokens import MotionTokenizer
from vipa_inference.model.spatial_encoder import SpatialEncoder
from vipa_training.data.arrow import pq
from vipa_training.hand3d.clip import Clip
from vipa_training.hand3d.dataset import ActionItems, VisualItems, read_description
from vipa_training.hand3d.directions import agrees, parse_statement
from vipa_training.hand3d.errors import Hand3DError
from vipa_training.hand3d.format import SPLITS, Split
from vipa_training.hand3d.motion_tokens import MotionConfig
from vipa_training.hand3d.pipeline import pointmaps
from vipa_training.hand3d.pipeline.annotate import Annotator
from vipa_training.hand3d.pipeline.build import build
from vipa_training.hand3d.pipeline.config import BuildConfig, Places
from vipa_training.hand3d.pipeline.report import report
from vipa_training.hand3d.sources.base import Source

pytest.importorskip("mujoco", reason="needs mujoco")
CONFIG = BuildConfig("synthetic", clips=10, size=(48, 64), shard_clips=2, test=60)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hand3d") / "whole"
    build(CONFIG, Places(Path(), out), show_progress=False)
    return out


@pytest.fixture(scope="module")
def mano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("mano"))


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("split", SPLITS)
def test_visual_items_say_what_their_vectors_are(root: Path, split: Split) -> None:
    items = VisualItems([root], split)
    assert len(items) == (60 if split == "test" else read_description(root)["items"]["visual"]["train"])
    for item in items[::7]:
        assert item.frames.shape == (len(item.numbers), 48, 64, 3)
        assert item.frames.std() > 5.0
        assert list(item.numbers) == sorted(item.numbers)
        if item.category != "camera_movement":
            assert agrees(parse_statement(item.answer.split(" They are")[0]), item.vector)
        else:
            assert item.rotation is not None
            assert item.side is None


def test_action_items_hold_motions_and_the_track_they_came_from(root: Path) -> None:
    items = ActionItems([root], "train")
    tokenizer = MotionTokenizer(items[0].tokens, first_id=1000)
    for item in items:
        assert item.frames.shape == (1, 48, 64, 3)
        assert (item.question + item.answer).count("<motion>") == len(item.motions)
        assert sum(map(len, item.motions)) == len(item.track)
        parsed = [tokenizer.parse(ids).numpy() for ids in item.sequences(tokenizer)]
        assert np.abs(np.concatenate(parsed) - item.track).max() < 1.0 / 1024
        assert item.instruction
    coarse = MotionTokenizer(replace(items[0].tokens, bins=16), first_id=0)
    with pytest.raises(ValueError, match="the data set has"):
        items[0].sequences(coarse)


def test_no_video_is_in_both_splits_and_counts_are_those_of_the_tables(root: Path) -> None:
    described = read_description(root)
    videos = {
        split: {*VisualItems([root], split).column("video"), *ActionItems([root], split).column("video")}
        for split in SPLITS
    }
    assert not videos["train"] & videos["test"]
    assert all(videos.values())
    for kind, items in (("visual", VisualItems), ("action", ActionItems)):
        for split in SPLITS:
            found = items([root], split)
            assert len(found) == described["items"][kind][split]
            assert len({found.row(place)[1]["id"] for place in range(len(found))}) == len(found)
    text = report(described)
    assert "300,368" in text
    assert f"{described['clips']['looked_at']} looked at" in text


def test_readers_can_be_copied_joined_and_asked_from_the_end(root: Path) -> None:
    items = VisualItems([root, root], "test")
    copy: VisualItems = pickle.loads(pickle.dumps(items))  # noqa: S301
    assert len(copy) == 120
    assert np.array_equal(copy[-1].frames, items[59].frames)
    assert copy[61].question == items[1].question
    with pytest.raises(IndexError, match="120"):
        items[120]


def test_a_killed_build_goes_on_to_the_same_bytes(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    command = ["hand3d", "build", "--source", "synthetic", "--clips", "10", "--image-size", "64x48", "--out", str(out)]
    command += ["--shard-clips", "2", "--test", "60", "--workers", "1"]
    process = subprocess.Popen([sys.executable, "-m", "vipa.cli", *command], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120.0
    while not (out / "parts" / "00000.json").is_file() and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "hand3d.json").exists()
    with pytest.raises(Hand3DError, match="no complete"):
        VisualItems([out], "train")
    with pytest.raises(Hand3DError, match="begun with seed 0, not 1"):
        build(replace(CONFIG, seed=1), Places(Path(), out), show_progress=False)
    lines: list[str] = []
    build(CONFIG, Places(Path(), out), say=lines.append, show_progress=False)
    assert lines[0].startswith("goes on: ")
    assert contents(out) == contents(root)
    assert build(CONFIG, Places(Path(), out), say=lines.append).clips == 0
    assert lines[-1].endswith("is complete")


@pytest.mark.idle
def test_ray_gives_the_same_bytes(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="needs ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # on loopback, for some seconds; else it leaves a file in the home
    build(CONFIG, Places(Path(), tmp_path / "ray"), workers=2, engine="ray", show_progress=False)
    assert contents(tmp_path / "ray") == contents(root)


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(Hand3DError, match=r"holds something else \(letter.txt\)"):
        build(CONFIG, Places(Path(), tmp_path), show_progress=False)
    assert not (tmp_path / "build.json").exists()


def test_an_unfinished_source_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Hand3DError, match="no clip of ARCTIC; expected raw_seqs"):
        build(BuildConfig("arctic"), Places(tmp_path / "none", tmp_path / "a"), show_progress=False)
    with pytest.raises(Hand3DError, match="source nothing: unknown; known: synthetic, arctic"):
        build(BuildConfig("nothing"), Places(tmp_path, tmp_path / "b"), show_progress=False)


class _Grey:
    def __init__(self, clip: Clip) -> None:
        self.clip = clip

    def __len__(self) -> int:
        return len(self.clip)

    def picture(self, number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """A grey picture."""
        return np.full((*self.clip.camera.size, 3), number % 256, np.uint8)


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_every_source_becomes_a_data_set(
    name: str, mano: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WRITERS[name](tmp_path / "source", scene())
    plain = Source.read

    def read(self: Source, identifier: str) -> Clip:
        clip = plain(self, identifier)
        # The planted hands of MANO were made without a view in mind; a wide picture sees them all.
        camera = replace(clip.camera, intrinsics=clip.camera.intrinsics * np.array([[0.1], [0.1], [1.0]]))
        return replace(clip, frames=_Grey(clip), camera=camera)

    monkeypatch.setattr(Source, "read", read)
    places = Places(tmp_path / "source", tmp_path / "out", mano=mano)
    config = BuildConfig(name, test=0, motion=MotionConfig(shortest=1.0, least_movement=0.01))
    described = build(config, places, show_progress=False).description
    assert described["clips"]["used"] == 1, described["rejected"]
    items = VisualItems([tmp_path / "out"], "train")
    assert len(items) == described["items"]["visual"]["train"]
    row = pq.read_table(tmp_path / "out" / "clips.parquet").to_pylist()[0]
    assert max(row["height"] / 168, row["width"] / 224) <= 1.01
    assert (row["height"], row["width"]) == ActionItems([tmp_path / "out"], "train")[0].frames.shape[1:3]


def test_clips_that_cannot_be_used_are_counted_with_their_reason(tmp_path: Path) -> None:
    WRITERS["h2o"](tmp_path / "source", scene())  # without pictures
    described = build(
        BuildConfig("h2o"), Places(tmp_path / "source", tmp_path / "out"), show_progress=False
    ).description
    assert described["clips"] == {"looked_at": 1, "used": 0, "rejected": 1}
    assert list(described["rejected"]) == ["frame N is missing: FILE"]
    assert "is missing" in pq.read_table(tmp_path / "out" / "rejected.parquet").to_pylist()[0]["reason"]


def test_pointmaps_of_the_encoder_do_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    assert NANO.spatial is not None
    encoder = SpatialEncoder(NANO.spatial)
    monkeypatch.setattr(pointmaps, "load_encoder", lambda _: encoder)
    model = pointmaps.EncoderPointmaps(Path(), side=64, device="cpu")
    annotator = Annotator(
        replace(CONFIG, pointmaps="cut3r", encoder_side=64), Places(Path(), Path(), checkpoint=Path())
    )
    clips = [annotator.source.read(name) for name in ("000000", "000001")]
    numbers = [[0, 10, 20], [0, 10]]
    together = model.of(clips, numbers)
    alone = model.of(clips[1:], numbers[1:])[0]
    assert together[0].keys() == {0, 10, 20}
    assert together[1][10].shape == (48, 64, 3)
    assert np.allclose(together[1][10], alone[10], atol=1e-4)
    found = dict(annotator.annotate(["000000", "000001"]))  # weights by chance have no depth that hands agree with
    assert all("scale" in str(reason) for reason in found.values())


def test_the_command_builds_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "data")
    base = ["hand3d", "build", "--source", "synthetic", "--out", out, "--clips", "2", "--workers", "1"]
    assert main([*base, "--image-size", "64x48", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["figures"]["clips_used"] == 2.0
    assert found["figures"]["samples_per_second_per_core"] > 0.0
    assert main(["hand3d", "view", out, "--clip", "000001", "--out", str(tmp_path / "clip.png")]) == 0
    assert (tmp_path / "clip.png").stat().st_size > 10_000
    assert main(["hand3d", "view", out, "--clip", "none"]) == 1
    assert "no clip none; there are 000000" in capsys.readouterr().err
    assert main(["hand3d", "build", "--source", "arctic", "--out", out]) == 1
    assert main([*base, "--image-size", "wide"]) == 1
    assert "--image-size wide: expected 224x168" in capsys.readouterr().err
    assert os.listdir(tmp_path / "data" / "shards") == ["00000.tar"]
