"""Samples: what was done after what was seen, with padding where an episode ends."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fabricated_datasets import LAYOUT, finished, pose_at, row_at

from tests.vipa_inference.model.tiny import TINY
from vipa_inference.config import VipaVlaConfig
from vipa_inference.policy import CameraView, Observation, PolicyError
from vipa_inference.processing import Processor, actions_from_poses
from vipa_inference.tokenizers import ByteTokenizer
from vipa_training.data.errors import DatasetError
from vipa_training.data.reader import Dataset
from vipa_training.data.writer import DatasetWriter
from vipa_training.stages.augmentation import AugmentationConfig
from vipa_training.stages.demonstrations import DemonstrationSamples, check_cameras, read_rows

MODEL = replace(TINY, action=replace(TINY.action, max_prefix=3))
H = MODEL.action.horizon


def make_samples(
    root: Path, config: VipaVlaConfig = MODEL, share: float = 0.0, draws: int = 2
) -> tuple[DemonstrationSamples, Processor]:
    with Dataset(root) as dataset:
        rows = read_rows(dataset, config.action.horizon, config.step_period)
        processor = Processor(config, rows.statistics(), ByteTokenizer())
        augmentation = AugmentationConfig(share=share)
        return DemonstrationSamples(dataset, rows, processor, draws, 0, augmentation, None), processor


@pytest.fixture
def root(tmp_path: Path) -> Path:
    with DatasetWriter(tmp_path / "dataset", LAYOUT) as writer:
        for number, (length, task) in enumerate(((9, "wipe the board"), (8, "water the plant"))):
            writer.add(finished(writer.begin(), length, number, task))
    return tmp_path / "dataset"


def test_a_sample_is_what_the_policy_would_get_and_was_told_to_do(root: Path) -> None:
    samples, processor = make_samples(root)
    assert len(samples) == 17
    sample = samples.sample(3, 0)
    row = row_at(3)
    with Dataset(root) as dataset:
        frames = {
            name: dataset.frames(dataset.episodes[0], f"observation.images.{name}", [3])[0] for name in MODEL.views
        }
    views = {name: CameraView(image, 0, np.eye(3), np.eye(4)) for name, image in frames.items()}
    observation = Observation(views, pose_at(0.15), row.state[9:16], row.state[16:], "wipe the board")
    for name, expected in processor.batch(observation).items():
        np.testing.assert_allclose(sample["inputs"][name], expected, atol=1e-3, err_msg=name)
    targets = [row_at(3 + k) for k in range(H)]
    wanted = actions_from_poses(
        np.stack([t.target_pose for t in targets]), np.stack([t.target_hand for t in targets]), pose_at(0.15)
    )
    np.testing.assert_allclose(processor.unnormalise_actions(sample["actions"]), wanted, atol=1e-5)
    assert sample["weight"].tolist() == [1.0] * H


def test_beyond_the_end_nothing_counts_and_nothing_of_the_next_episode_is_seen(root: Path) -> None:
    samples, processor = make_samples(root)
    sample = samples.sample(8, 0)  # the last of the first episode
    assert sample["weight"].tolist() == [1.0] + [0.0] * (H - 1)
    actions = processor.unnormalise_actions(sample["actions"])
    assert np.ptp(actions, axis=0).max() < 1e-5


def test_tasks_are_told_apart_by_their_instructions(root: Path) -> None:
    samples, processor = make_samples(root)
    for number, text in ((0, "wipe the board"), (8, "wipe the board"), (9, "water the plant")):
        assert np.array_equal(samples.sample(number, 0)["inputs"]["input_ids"][0], processor.prompt(text)[0])


def test_statistics_are_of_what_lies_within_the_episodes(root: Path) -> None:
    with Dataset(root) as dataset:
        rows = read_rows(dataset, H, MODEL.step_period)
    assert int(rows.inside.sum()) == sum(sum(min(H, length - k) for k in range(length)) for length in (9, 8))
    np.testing.assert_allclose(rows.statistics().action.mean, rows.actions[rows.inside].mean(axis=0), atol=1e-6)


def test_chance_belongs_to_the_position(root: Path) -> None:
    samples, _ = make_samples(root, share=1.0)
    first, again, other = samples.sample(2, 5), samples.sample(2, 5), samples.sample(2, 6)
    for name in ("noise", "tau", "prefix"):
        assert torch.equal(first[name], again[name])
    assert torch.equal(first["noise"], again["noise"])
    assert not torch.equal(first["noise"], other["noise"])
    assert np.array_equal(first["inputs"]["semantic_pixels"], again["inputs"]["semantic_pixels"])
    assert not np.array_equal(first["inputs"]["semantic_pixels"], other["inputs"]["semantic_pixels"])


def test_noise_is_normal_and_prefixes_are_uniform(root: Path) -> None:
    samples, _ = make_samples(root, draws=64)
    drawn = [samples.sample(0, position) for position in range(30)]
    noise, tau, prefix = (torch.cat([sample[name] for sample in drawn]) for name in ("noise", "tau", "prefix"))
    assert abs(float(noise.mean())) < 0.02
    assert abs(float(noise.std()) - 1.0) < 0.02
    assert abs(float(tau.mean()) - 0.5) < 0.03
    counts = torch.bincount(prefix, minlength=4)
    assert len(counts) == 4
    assert counts.min() > 0.8 * len(prefix) / 4


def test_a_batch_counts_what_is_neither_padding_nor_prefix(root: Path) -> None:
    samples, _ = make_samples(root)
    parts = [samples.sample(number, number) for number in (0, 7, 8)]
    batch = samples.collate(parts)
    expected = sum(int(part["weight"][int(part["prefix"][draw]) :].sum()) for part in parts for draw in range(2))
    assert int(batch["count"]) == expected
    assert batch["noise"].shape == (6, H, 12)
    assert torch.equal(batch["noise"][3], parts[0]["noise"][1])  # draw by draw
    assert torch.equal(batch["tau"][:3], torch.stack([part["tau"][0] for part in parts]))


def test_a_worker_opens_the_dataset_for_itself(root: Path) -> None:
    samples, _ = make_samples(root)
    samples.sample(0, 0)
    copy = pickle.loads(pickle.dumps(samples))  # noqa: S301 - what a worker process gets
    np.testing.assert_array_equal(
        copy.sample(4, 1)["inputs"]["semantic_pixels"], samples.sample(4, 1)["inputs"]["semantic_pixels"]
    )


def test_wrong_datasets_are_named(root: Path, tmp_path: Path) -> None:
    with Dataset(root) as dataset, pytest.raises(DatasetError, match=r"has no camera wrist, but front, side"):
        check_cameras(dataset, ("front", "wrist"))
    with DatasetWriter(tmp_path / "empty", LAYOUT):
        pass
    with Dataset(tmp_path / "empty") as dataset, pytest.raises(DatasetError, match="holds no episode"):
        read_rows(dataset, H, 0.05)


def test_an_instruction_that_is_too_long(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "long", LAYOUT) as writer:
        writer.add(finished(writer.begin(), 3, 0, "please " * 20))
    with pytest.raises(PolicyError, match="takes 139 tokens, at most 40 fit"):
        make_samples(tmp_path / "long")
