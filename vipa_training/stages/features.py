"""What frozen encoders see of every row of a dataset, computed once and kept on the disk.

One file for the semantic and one for the spatial features of each episode, mapped into memory when a row is read. The
folder is named by a hash of all that makes the features but the pictures, the files by one of the episode's pictures:
so a dataset that grows keeps what it has, and nothing that is stale is ever read.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vipa_inference.config import VipaVlaConfig
from vipa_inference.model.vipa_vla import VipaVla
from vipa_inference.processing import Processor
from vipa_training.data.entries import EpisodeEntry
from vipa_training.data.errors import DatasetError
from vipa_training.data.format import IMAGES
from vipa_training.data.reader import Dataset
from vipa_training.engine.distributed import World
from vipa_training.engine.errors import TrainingError

VERSION = 1  # of processing and encoders: another one makes all features anew
ROWS = 16  # of an episode that are computed at a time
Features = NDArray[np.floating[Any]]
Progress = Callable[[Iterable[EpisodeEntry]], Iterable[EpisodeEntry]]


@dataclass(frozen=True)
class FeatureConfig:
    """Whether features of frozen encoders are kept."""

    keep: Literal["auto", "fp32", "fp16", "none"] = "auto"  # "auto": fp32, else fp16, if there is room
    folder: str = ""  # ""; beside the dataset
    limit_gb: float = 50.0  # for "auto"

    def __post_init__(self) -> None:
        if self.limit_gb < 0.0:
            raise ValueError(f"limit_gb: {self.limit_gb} is negative")


@dataclass(frozen=True)
class FeatureStore:
    """The features of a dataset.

    Attributes:
        semantic: file of each episode, (rows, F, N_v, d_v).
        spatial: file of each episode, (rows, F, N_s, d_s); none without a spatial encoder.
    """

    semantic: tuple[Path, ...]
    spatial: tuple[Path, ...]

    def read(self, episode: int, row: int) -> dict[str, Features]:
        """What stands for the pixels of a row in the model's batch, each (1, F, ...).

        Raises:
            OSError: the file is gone.
        """
        found = {"semantic_features": self.semantic[episode]}
        if self.spatial:
            found["spatial_features"] = self.spatial[episode]
        return {
            name: np.array(np.load(path, mmap_mode="r")[row : row + 1], dtype=np.float32)
            for name, path in found.items()
        }


def store_gb(config: VipaVlaConfig, rows: int, kind: str) -> float:
    """Room that the features of some rows take, GB."""
    semantic, spatial = config.semantic, config.spatial
    numbers = (semantic.image_size // semantic.patch_size) ** 2 * semantic.width
    if spatial is not None:
        numbers += ((spatial.image_size // spatial.patch_size) ** 2 + 1) * spatial.decoder_width
    return rows * config.images * numbers * (2 if kind == "fp16" else 4) * 1e-9


def kept_as(config: FeatureConfig, model: VipaVlaConfig, rows: int) -> str:
    """In which precision features are kept: "fp32", "fp16" or "none"."""
    if config.keep != "auto":
        return config.keep
    return next((kind for kind in ("fp32", "fp16") if store_gb(model, rows, kind) <= config.limit_gb), "none")


def compute_features(
    model: VipaVla, processor: Processor, dataset: Dataset, folder: Path, kind: str, world: World, progress: Progress
) -> FeatureStore:
    """Compute what is missing of a dataset's features; the processes share the episodes.

    Args:
        model: its encoders.
        processor: makes pixels of pictures.
        dataset: whose pictures.
        folder: of the features of this and other datasets and encoders.
        kind: "fp32" or "fp16".
        world: the processes.
        progress: shows how far it is.

    Raises:
        TrainingError: there is no room, the folder cannot be written, or features are too large for fp16.
        DatasetError: a picture cannot be read.
    """
    place = folder / _encoder_hash(model, kind)[:24]
    names = _episode_names(dataset, processor.config.views)
    semantic = tuple(place / f"{name}.semantic.npy" for name in names)
    spatial = tuple(place / f"{name}.spatial.npy" for name in names) if model.spatial_encoder is not None else ()
    groups = [files for files in (semantic, spatial) if files]
    try:
        with _locked(place, world):
            missing = [one for one in dataset.episodes if not all(files[one.number].exists() for files in groups)]
            _check_room(place, model.config, sum(episode.length for episode in missing), kind)
            mine = [episode for k, episode in enumerate(missing) if k % world.processes == world.rank]
            for episode in progress(mine) if mine else mine:
                targets = [files[episode.number] for files in groups]
                _write_episode(model, processor, dataset, episode, targets, kind, world.device)
            world.wait()
    except OSError as error:
        raise TrainingError(f"features: {place}: cannot be written: {error.strerror or error}") from None
    return FeatureStore(semantic, spatial)


@contextlib.contextmanager
def _locked(place: Path, world: World) -> Generator[None, None, None]:
    """One training at a time writes features; others wait, and find them."""
    if not world.is_first:
        world.wait()
        yield
        return
    place.mkdir(parents=True, exist_ok=True)
    with (place / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        world.wait()
        yield


def _check_room(place: Path, config: VipaVlaConfig, rows: int, kind: str) -> None:
    needed, free = store_gb(config, rows, kind), shutil.disk_usage(place).free * 1e-9
    if needed > 0.95 * free:
        raise TrainingError(f"features: {place}: {needed:.1f} GB are needed, {free:.1f} GB are free")


def _write_episode(
    model: VipaVla,
    processor: Processor,
    dataset: Dataset,
    episode: EpisodeEntry,
    targets: list[Path],
    kind: str,
    device: torch.device,
) -> None:
    partial = [path.with_name(f"{path.name}.partial") for path in targets]
    arrays: list[Features] = []
    for start in range(0, episode.length, ROWS):
        rows = range(start, min(start + ROWS, episode.length))
        seen = encoded(model, processor, dataset, episode, rows, device)
        for k, tensor in enumerate(seen):
            with np.errstate(over="ignore"):
                values = tensor.cpu().numpy().astype(np.float16 if kind == "fp16" else np.float32)
            if not np.isfinite(values).all():
                raise TrainingError(f"features: episode {episode.number}: not finite in {kind}. Keep them as fp32")
            if not start:
                shape = (episode.length, *values.shape[1:])
                arrays.append(np.lib.format.open_memmap(partial[k], "w+", values.dtype, shape))
            arrays[k][rows.start : rows.stop] = values
    for path, array, target in zip(partial, arrays, targets, strict=True):
        if isinstance(array, np.memmap):
            array.flush()
        os.replace(path, target)


@torch.no_grad()
def encoded(
    model: VipaVla, processor: Processor, dataset: Dataset, episode: EpisodeEntry, rows: range, device: torch.device
) -> list[Tensor]:
    """The features (rows, F, ...) of some rows: semantic, and spatial where there is such an encoder.

    Raises:
        DatasetError: a picture cannot be read.
    """
    views = [dataset.frames(episode, f"{IMAGES}{name}", rows) for name in processor.config.views]
    pixels = [processor.images([view[k] for view in views]) for k in range(len(rows))]
    semantic = torch.from_numpy(np.stack([one for one, _ in pixels])).to(device)
    others = [one for _, one in pixels if one is not None]
    spatial = torch.from_numpy(np.stack(others)).to(device) if others else None
    was_training = model.training
    model.eval()
    found = [tensor for tensor in model.visual_features(semantic, spatial) if tensor is not None]
    model.train(was_training)
    return found


def _encoder_hash(model: VipaVla, kind: str) -> str:
    config = model.config
    spatial = None if config.spatial is None else dataclasses.asdict(config.spatial)
    settings = [VERSION, kind, dataclasses.asdict(config.semantic), spatial, config.views, config.frames]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    encoders: list[nn.Module] = [model.internvl.model.vision_tower]
    encoders += [] if model.spatial_encoder is None else [model.spatial_encoder]
    for encoder in encoders:
        for name, tensor in encoder.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _episode_names(dataset: Dataset, views: Iterable[str]) -> list[str]:
    """A hash of the pictures of each episode."""
    known: dict[Path, str] = {}
    names: list[str] = []
    for episode in dataset.episodes:
        digest = hashlib.sha256(f"{dataset.layout.fps} {episode.length}".encode())
        for view in views:
            place = episode.videos[f"{IMAGES}{view}"]
            if place.path not in known:
                known[place.path] = _file_hash(place.path)
            digest.update(f"{known[place.path]} {round(place.start * dataset.layout.fps)}".encode())
        names.append(digest.hexdigest()[:24])
    return names


def _file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror or error}") from None
    return digest.hexdigest()
