"""Demonstrations: what is recorded does the task again; failures are counted and not kept; noise pushes softly."""

from pathlib import Path

import numpy as np
import pytest

from vipa_sim import demonstrations
from vipa_sim.demonstrations import DemonstrationConfig, generate, main
from vipa_sim.environment import EnvironmentConfig, LaboratoryEnvironment
from vipa_sim.evaluation import Episode
from vipa_sim.noise import NoiseConfig, TargetNoise
from vipa_training.data.check import check_dataset
from vipa_training.data.format import STATE, data_file
from vipa_training.data.reader import Dataset

EPISODE = Episode("wipe_board", "seen", 3)
SMALL = DemonstrationConfig((64, 48))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demonstrations")
    assert generate(folder, SMALL, [EPISODE], workers=1) == (1, 0)
    return folder


def test_recorded_targets_do_the_task_again(root: Path) -> None:
    assert not list(check_dataset(root))
    environment = LaboratoryEnvironment("wipe_board", EnvironmentConfig(render=False))
    with Dataset(root) as dataset:
        (episode,) = dataset.episodes
        targets, states = dataset.targets(episode), dataset.rows(episode, [STATE])[STATE]
    note = episode.note
    assert (note.scene, note.variant, note.seed, note.outcome) == ("wipe_board", "seen", 3, "success")
    environment.reset(seed=3, options={"variant": "seen"})
    info, is_done = {}, False
    for pose, hand, state in zip(targets.poses, targets.hand, states, strict=True):
        assert not is_done, "it takes every row"
        np.testing.assert_allclose(environment.observation.end_effector_pose[:3, 3], state[:3], atol=1e-6)
        *_, is_done, _, info = environment.step(environment.action_to(pose, hand))
    assert is_done
    assert [name for name, _ in note.sub_tasks] == list(info["done"])
    assert environment.world.time_ns * 1e-9 == pytest.approx(episode.length / 20)


def test_what_is_there_is_not_made_again(root: Path) -> None:
    before = data_file(root, 0).stat().st_mtime_ns
    assert generate(root, SMALL, [EPISODE], workers=2) == (1, 0)
    assert data_file(root, 0).stat().st_mtime_ns == before


def test_failures_are_counted_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hurried(LaboratoryEnvironment):
        def __init__(self, task: str, config: EnvironmentConfig) -> None:
            super().__init__(task, config)
            self.scene.time_limit_s = 0.5

    monkeypatch.setattr(demonstrations, "LaboratoryEnvironment", Hurried)
    assert generate(tmp_path, SMALL, [EPISODE], workers=1) == (0, 1)
    assert list(check_dataset(tmp_path)) == ["the dataset has no episode"]
    monkeypatch.undo()
    assert generate(tmp_path, SMALL, [EPISODE], workers=1) == (0, 1), "nor run again"


def test_pushes_are_soft_bounded_and_those_of_the_seed() -> None:
    config = NoiseConfig(push=0.04, pause=1.0)
    pose = np.eye(4)

    def course(seed: int) -> np.ndarray:
        noise = TargetNoise(config, 0.05, seed)
        return np.stack([noise.apply(pose) for _ in range(400)])

    first = course(0)
    offsets = np.linalg.norm(first[:, :3, 3], axis=1)
    assert 0.015 < offsets.max() <= 0.04
    assert 0.1 < (offsets > 0).mean() < 0.9
    assert np.abs(np.diff(offsets)).max() < 0.04 * np.pi * 0.05 / config.duration + 1e-9
    np.testing.assert_array_equal(first, course(0))
    assert not np.array_equal(first, course(1))
    np.testing.assert_array_equal(pose, np.eye(4))


def test_no_noise_changes_nothing() -> None:
    pose = np.eye(4)
    noise = TargetNoise(NoiseConfig(push=0.0), 0.05, 0)
    assert all(noise.apply(pose) is pose for _ in range(100))


def test_noise_moves_the_arm_but_not_the_targets(tmp_path: Path, root: Path) -> None:
    noisy = DemonstrationConfig((64, 48), noise=NoiseConfig(push=0.04, pause=1.0))
    assert generate(tmp_path, noisy, [EPISODE], workers=1) == (1, 0)

    def courses(folder: Path) -> tuple[np.ndarray, np.ndarray]:
        with Dataset(folder) as dataset:
            poses = dataset.targets(dataset.episodes[0]).poses[:, :3, 3]
            return poses, dataset.rows(dataset.episodes[0], [STATE])[STATE][:, :3]

    clean_targets, clean_states = courses(root)
    targets, states = courses(tmp_path)
    np.testing.assert_allclose(targets[:2], clean_targets[:2], atol=1e-9)
    off, clean_off = (
        np.linalg.norm(s[1:] - t[:-1], axis=1).max() for s, t in ((states, targets), (clean_states, clean_targets))
    )
    assert off > clean_off + 0.005


def test_bad_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--tasks", "dance"], "none for task 'dance'"),
        (["--tasks", "wipe_board", "--variants", "purple"], "purple"),
        (["--tasks", "wipe_board", "--image-size", "65x48"], "both must be even"),
    ):
        assert main([str(tmp_path / "new"), *arguments]) == 1
        assert message in capsys.readouterr().err
