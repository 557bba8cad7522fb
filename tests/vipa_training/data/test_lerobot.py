"""What VIPA writes is what LeRobot reads; runs where LeRobot (0.4.4 or later) is installed: VIPA does not need it."""

from pathlib import Path

import numpy as np
import pytest
from fabricated_datasets import number_in, write_dataset

from vipa_training.data.reader import Dataset

lerobot = pytest.importorskip("lerobot.datasets.lerobot_dataset", reason="LeRobot is not installed")


def test_lerobot_reads_rows_frames_tasks_and_statistics(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data")
    theirs = lerobot.LeRobotDataset("vipa/test", root=root, video_backend="pyav")
    with Dataset(root) as ours:
        assert (theirs.num_episodes, len(theirs), theirs.fps) == (3, 36, 20)
        for episode in ours.episodes:
            rows = ours.rows(episode)
            for k in range(episode.length):
                item = theirs[episode.start + k]
                assert item["task"] == "wipe the board"
                for key in ("observation.state", "action", "target.pose", "time_ns", "exposure_ns.side"):
                    np.testing.assert_allclose(item[key].numpy(), rows[key][k], rtol=1e-6)  # theirs is float32
                for key in ours.layout.video_keys:
                    image = (item[key].numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
                    assert number_in(image) == 100 * episode.number + k
        for key, part in ours.statistics().items():
            np.testing.assert_allclose(theirs.meta.stats[key]["mean"], part["mean"])


def test_lerobot_makes_chunks_of_actions(tmp_path: Path) -> None:
    steps = [0.0, 0.05, 0.1]
    root = write_dataset(tmp_path / "data")
    item = lerobot.LeRobotDataset("vipa/test", root=root, video_backend="pyav", delta_timestamps={"action": steps})[11]
    assert item["action"].shape == (3, 12)
    assert item["action_is_pad"].tolist() == [False, True, True]
