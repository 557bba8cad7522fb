"""Write and read: rows, frames, notes, statistics, continuing, many writers' errors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fabricated_datasets import LAYOUT, finished, note, number_in, pose_at, row_at, write_dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vipa_training.data.check import check_dataset
from vipa_training.data.chunks import pose_matrix, pose_vector
from vipa_training.data.errors import DatasetError
from vipa_training.data.format import ACTION, IMAGES, STATE, TARGET_HAND, TARGET_POSE, TIME, Layout
from vipa_training.data.reader import Dataset
from vipa_training.data.video import VideoReader
from vipa_training.data.writer import DatasetWriter


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "task=wipe")


def test_every_frame_is_that_of_its_row(root: Path) -> None:
    with Dataset(root) as dataset:
        assert [episode.length for episode in dataset.episodes] == [12, 9, 15]
        for episode in dataset.episodes:
            expected = [100 * episode.number + k for k in range(episode.length)]
            for key in dataset.layout.video_keys:
                seen = list(dataset.all_frames(episode, key))
                assert [number_in(image) for _, image in seen] == expected
                assert [time for time, _ in seen] == pytest.approx([k / 20 for k in range(episode.length)])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(numbers=st.lists(st.integers(0, 14), min_size=1, max_size=12))
def test_frames_in_any_order(root: Path, numbers: list[int]) -> None:
    with Dataset(root) as dataset:
        frames = dataset.frames(dataset.episodes[2], f"{IMAGES}side", numbers)
    assert [number_in(frame) for frame in frames] == [200 + k for k in numbers]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    reads=st.lists(st.lists(st.integers(0, 14), min_size=1, max_size=6), min_size=1, max_size=6),
    kept=st.integers(0, 15),
)
def test_frames_that_stay_in_memory_are_the_same(root: Path, reads: list[list[int]], kept: int) -> None:
    with Dataset(root) as dataset:
        image = dataset.frames(dataset.episodes[2], f"{IMAGES}side", [0])[0]
    with Dataset(root, keep_gb=kept * image.nbytes * 1e-9) as dataset:
        for numbers in reads:
            frames = dataset.frames(dataset.episodes[2], f"{IMAGES}side", numbers)
            assert [number_in(frame) for frame in frames] == [200 + k for k in numbers]
            frames[:] = 0  # is the reader's own


def test_no_more_frames_are_kept_than_memory_is_given(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Dataset(root) as dataset:
        nbytes = dataset.frames(dataset.episodes[2], f"{IMAGES}side", [0])[0].nbytes
    with Dataset(root, keep_gb=3 * nbytes * 1e-9) as dataset:
        read: list[list[int]] = []
        decode = VideoReader.frames
        monkeypatch.setattr(VideoReader, "frames", lambda *given: read.append(given[1]) or decode(*given))
        for _ in range(2):
            for row in (7, 2, 9, 4):
                dataset.frames(dataset.episodes[2], f"{IMAGES}side", [row])
    assert read == [[7], [2], [9], [4], [4]]


def test_rows_come_back(root: Path) -> None:
    with Dataset(root) as dataset:
        episode = dataset.episodes[1]
        rows = dataset.rows(episode)
        for k in range(episode.length):
            row = row_at(k)
            np.testing.assert_allclose(rows[STATE][k], row.state, atol=1e-6)
            np.testing.assert_allclose(pose_matrix(rows[TARGET_POSE][k]), row.target_pose, atol=1e-12)
            np.testing.assert_array_equal(rows[TARGET_HAND][k], row.target_hand)
            assert rows[TIME][k] == rows["exposure_ns.front"][k] == row.time_ns
        assert rows["index"].tolist() == list(range(12, 21))
        assert set(rows["episode_index"]) == {1}
        assert rows["frame_index"].tolist() == list(range(9))
        assert rows["timestamp"].dtype == np.float32


def test_what_is_known_of_an_episode_comes_back(root: Path) -> None:
    with Dataset(root) as dataset:
        assert [episode.note for episode in dataset.episodes] == [note(k) for k in range(3)]
        assert dataset.tasks == ("wipe the board",)


def test_statistics_are_those_of_the_rows(root: Path) -> None:
    with Dataset(root) as dataset:
        statistics = dataset.statistics()
        state = np.concatenate([dataset.rows(episode, [STATE])[STATE] for episode in dataset.episodes])
        np.testing.assert_allclose(statistics[STATE]["mean"], state.mean(0), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(statistics[STATE]["q99"], np.quantile(state.astype(float), 0.99, axis=0), atol=1e-9)
        assert statistics[ACTION]["count"] == [36]
        mean = statistics[f"{IMAGES}front"]["mean"]
        assert mean.shape == (3, 1, 1)
        picture = np.mean([f for _, f in dataset.all_frames(dataset.episodes[0], f"{IMAGES}front")]) / 255
        assert mean == pytest.approx(picture, abs=0.03)


def test_a_dataset_is_continued(tmp_path: Path) -> None:
    write_dataset(tmp_path, (5, 6))
    with DatasetWriter(tmp_path, LAYOUT) as writer:
        assert [entry.length for entry in writer.entries] == [5, 6]
        writer.add(finished(writer.begin(), 7, 2, task="water the plant"))
    with Dataset(tmp_path) as dataset:
        assert [episode.start for episode in dataset.episodes] == [0, 5, 11]
        assert dataset.tasks == ("wipe the board", "water the plant")
        assert set(dataset.rows(dataset.episodes[2])["task_index"]) == {1}
    assert not list(check_dataset(tmp_path))


def test_another_layout_is_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path, (3,))
    with pytest.raises(DatasetError, match="Name another folder"):
        DatasetWriter(tmp_path, Layout.of_cameras(10, {"front": (48, 64), "side": (48, 64)}))
    with DatasetWriter(tmp_path, LAYOUT) as writer:
        assert len(writer.entries) == 1, "a refused writer lets go of the dataset"


def test_only_one_writer(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path, LAYOUT), pytest.raises(DatasetError, match="another process writes it"):
        DatasetWriter(tmp_path, LAYOUT)


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DatasetError, match=r"holds thesis\.txt"):
        DatasetWriter(tmp_path, LAYOUT)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_bad_rows_are_refused_and_harm_nothing(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path, LAYOUT) as writer:
        builder = writer.begin()
        with pytest.raises(DatasetError, match="without rows"):
            builder.finish(note())
        builder = writer.begin()
        builder.add(row_at(0))
        good = row_at(1)
        for row, message in (
            (replace(good, images={"front": good.images["front"]}), "camera side is missing"),
            (replace(good, images={name: image[:20] for name, image in good.images.items()}), r"expected uint8"),
            (replace(good, state=np.full(22, np.nan)), "state: expected"),
            (replace(good, target_hand=np.zeros(5)), "target_hand: expected"),
            (replace(good, time_ns=row_at(0).time_ns), "is not after"),
        ):
            with pytest.raises(DatasetError, match=message):
                builder.add(row)
        builder.add(good)
        writer.add(builder.finish(note()))
    assert not list(check_dataset(tmp_path))


def test_sizes_and_rates_that_the_format_cannot_hold() -> None:
    for rate, size, message in ((12.5, (48, 64), "whole number"), (20, (47, 64), "even")):
        with pytest.raises(DatasetError, match=message):
            Layout.of_cameras(rate, {"front": size})
    with pytest.raises(DatasetError, match="at least one camera"):
        Layout.of_cameras(20, {})


def test_no_dataset_and_another_version(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such dataset"):
        Dataset(tmp_path)
    write_dataset(tmp_path, (3,))
    info = tmp_path / "meta/info.json"
    info.write_text(info.read_text().replace("v3.0", "v2.1"))
    with pytest.raises(DatasetError, match=r"v2\.1, expected v3\.0"):
        Dataset(tmp_path)


@given(time=st.floats(0, 20))
def test_poses_survive_as_vectors(time: float) -> None:
    np.testing.assert_allclose(pose_matrix(pose_vector(pose_at(time))), pose_at(time), atol=1e-12)
