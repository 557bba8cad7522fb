"""Kept features are what the encoders see, and are made anew only where something changed."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fabricated_datasets import LAYOUT, finished, write_dataset

from tests.vipa_inference.model.tiny import TINY
from vipa_inference.model.vipa_vla import VipaVla
from vipa_inference.processing import Processor
from vipa_inference.tokenizers import ByteTokenizer
from vipa_training.data.errors import DatasetError
from vipa_training.data.reader import Dataset
from vipa_training.data.writer import DatasetWriter
from vipa_training.engine.distributed import World
from vipa_training.engine.errors import TrainingError
from vipa_training.stages import features
from vipa_training.stages.demonstrations import DemonstrationSamples, read_rows
from vipa_training.stages.features import FeatureConfig, FeatureStore, compute_features, kept_as, store_gb
from vipa_training.stages.recipes import RECIPES

ALONE = World(0, 1, torch.device("cpu"))
NOT_CHANGED = RECIPES["fr3"].augmentation


class Cell:
    """A dataset, a model and a folder of features."""

    def __init__(self, folder: Path, model: VipaVla) -> None:
        self.root, self.folder, self.model = write_dataset(folder / "dataset", (18, 5)), folder / "features", model
        self.dataset = Dataset(self.root)
        self.rows = read_rows(self.dataset, TINY.action.horizon, TINY.step_period)
        self.processor = Processor(model.config, self.rows.statistics(), ByteTokenizer())

    def compute(self, kind: str = "fp32") -> tuple[FeatureStore, list[int]]:
        """The store, and the episodes that had to be computed."""
        computed: list[int] = []

        def progress(episodes):
            computed.extend(episode.number for episode in episodes)
            return episodes

        with Dataset(self.root) as dataset:
            return compute_features(self.model, self.processor, dataset, self.folder, kind, ALONE, progress), computed

    def samples(self, store: FeatureStore | None) -> DemonstrationSamples:
        return DemonstrationSamples(self.dataset, self.rows, self.processor, 1, 0, NOT_CHANGED, store)


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    torch.manual_seed(0)
    return Cell(tmp_path, VipaVla(TINY).eval())


@pytest.mark.parametrize(("kind", "tolerance"), [("fp32", 2e-6), ("fp16", 2e-3)])
def test_they_give_what_the_pictures_give(cell: Cell, kind: str, tolerance: float) -> None:
    store, computed = cell.compute(kind)
    assert computed == [0, 1]
    numbers = [0, 7, 17, 18, 22]
    kept, seen = (
        (samples := cell.samples(one)).collate([samples.sample(number, number) for number in numbers])
        for one in (store, None)
    )
    assert kept.keys() - seen.keys() == {"semantic_features", "spatial_features"}
    for name in kept.keys() & seen.keys():
        assert torch.equal(kept[name], seen[name]), name
    with torch.no_grad():
        expected = cell.model.visual_features(seen["semantic_pixels"], seen["spatial_pixels"])
        for name, tensor in zip(("semantic_features", "spatial_features"), expected, strict=True):
            torch.testing.assert_close(kept[name], tensor, atol=tolerance, rtol=tolerance)
        torch.testing.assert_close(cell.model.condition(kept), cell.model.condition(seen), atol=1e-2, rtol=1e-2)


def test_what_is_there_is_not_made_again(cell: Cell) -> None:
    cell.compute()
    assert cell.compute()[1] == []
    with DatasetWriter(cell.root, LAYOUT) as writer:
        writer.add(finished(writer.begin(), 6, 9))
    assert cell.compute()[1] == [2]
    moved = cell.root.with_name("moved")
    shutil.move(cell.root, moved)
    cell.root = moved
    assert cell.compute()[1] == []


def test_other_weights_precision_or_pictures_make_them_anew(cell: Cell) -> None:
    cell.compute()
    assert cell.compute("fp16")[1] == [0, 1]
    with torch.no_grad():
        next(cell.model.internvl.model.vision_tower.parameters()).add_(1e-3)
    assert cell.compute()[1] == [0, 1]
    videos = [Dataset(cell.root).episodes[number].videos["observation.images.side"].path for number in (0, 1)]
    shutil.copyfile(videos[0], videos[1])
    assert cell.compute()[1] == [1]


def test_a_cut_off_file_does_not_count(cell: Cell) -> None:
    store, _ = cell.compute()
    path = store.spatial[1]
    path.rename(path.with_name(f"{path.name}.partial"))
    again, computed = cell.compute()
    assert computed == [1]
    assert np.load(again.spatial[1]).shape[0] == 5


def test_the_room_they_take_is_known_before(cell: Cell) -> None:
    store, _ = cell.compute()
    numbers = sum(np.load(path).size for path in (*store.semantic, *store.spatial))
    assert store_gb(TINY, 23, "fp32") == pytest.approx(numbers * 4e-9)
    gb = store_gb(TINY, 1000, "fp32")
    for limit, kind in ((1.01 * gb, "fp32"), (0.51 * gb, "fp16"), (0.49 * gb, "none")):
        assert kept_as(FeatureConfig(limit_gb=limit), TINY, 1000) == kind
    assert kept_as(FeatureConfig(keep="fp16", limit_gb=0.0), TINY, 1000) == "fp16"


def test_without_a_spatial_encoder(tmp_path: Path) -> None:
    cell = Cell(tmp_path, VipaVla(replace(TINY, spatial=None)).eval())
    store, _ = cell.compute()
    assert store.read(1, 4).keys() == {"semantic_features"}


class TestRefusals:
    """In one line."""

    def test_no_room(self, cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(features, "store_gb", lambda *_: 1e9)
        with pytest.raises(TrainingError, match=r"GB are needed, .* GB are free"):
            cell.compute()

    def test_too_large_for_fp16(self, cell: Cell) -> None:
        with torch.no_grad():
            for parameter in cell.model.spatial_encoder.image_norm.parameters():  # type: ignore[union-attr]
                parameter.fill_(1e5)
        with pytest.raises(TrainingError, match=r"episode 0: not finite in fp16\. Keep them as fp32"):
            cell.compute("fp16")

    def test_a_video_is_missing(self, cell: Cell) -> None:
        cell.dataset.episodes[1].videos["observation.images.front"].path.unlink()
        with pytest.raises(DatasetError, match="cannot be read: No such file"):
            cell.compute()

    def test_a_folder_that_cannot_be_written(self, cell: Cell) -> None:
        cell.folder.write_text("a file")
        with pytest.raises(TrainingError, match="cannot be written"):
            cell.compute()
