"""Several datasets in one."""

from pathlib import Path

import pytest
from fabricated_datasets import LAYOUT, finished, number_in, write_dataset

from vipa_training.data.check import check_dataset
from vipa_training.data.errors import DatasetError
from vipa_training.data.format import Layout
from vipa_training.data.merge import merge_datasets
from vipa_training.data.reader import Dataset
from vipa_training.data.writer import DatasetWriter


def test_merged(tmp_path: Path) -> None:
    one = write_dataset(tmp_path / "one", (5, 6))
    with DatasetWriter(tmp_path / "two", LAYOUT) as writer:
        writer.add(finished(writer.begin(), 7, 9, task="water the plant"))
    target = tmp_path / "both"
    merging = merge_datasets([one, tmp_path / "two"], target)
    assert next(merging) == 0
    merging.close()  # cut off
    assert list(merge_datasets([one, tmp_path / "two"], target)) == [0, 1, 2], "continued"
    assert not list(check_dataset(target))
    with Dataset(target) as dataset:
        assert [episode.start for episode in dataset.episodes] == [0, 5, 11]
        assert dataset.tasks == ("wipe the board", "water the plant")
        last = dataset.episodes[2]
        assert last.note.seed == 9
        assert number_in(dataset.frames(last, "observation.images.side", [4])[0]) == 904


def test_what_does_not_fit(tmp_path: Path) -> None:
    one = write_dataset(tmp_path / "one", (3,))
    other = write_dataset(tmp_path / "other", (3,), Layout.of_cameras(20, {"front": (48, 64)}))
    for sources, target, message in (
        ([one, other], tmp_path / "x", "other cameras"),
        ([one], one, "is one of the sources"),
        ([], tmp_path / "x", "no dataset"),
        ([one], write_dataset(tmp_path / "full", (4, 4)), "Name a new folder"),
    ):
        with pytest.raises(DatasetError, match=message):
            list(merge_datasets(sources, target))
