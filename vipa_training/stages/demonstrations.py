"""Demonstrations as samples of stage 3: what a row shows and says, and the chunk of actions that follows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vipa_inference.model.action_head import sample_prefix_lengths
from vipa_inference.policy import PolicyError
from vipa_inference.processing import Processor
from vipa_inference.statistics import Statistics
from vipa_training.data.chunks import action_chunk, pose_of_state
from vipa_training.data.errors import DatasetError
from vipa_training.data.format import IMAGES, STATE, TIME
from vipa_training.data.reader import Dataset
from vipa_training.engine.loader import COUNT, Batch
from vipa_training.engine.order import numpy_generator, torch_generator
from vipa_training.stages.augmentation import AugmentationConfig, augmented
from vipa_training.stages.batches import collate
from vipa_training.stages.features import FeatureStore

Array = NDArray[np.floating[Any]]
TASK = "task_index"


@dataclass(frozen=True)
class Rows:
    """All rows of a dataset, without pictures.

    Attributes:
        state: (N, 22) proprioception.
        actions: (N, H, 12) SI units.
        inside: (N, H) whether the target lies within the episode.
        task: (N,) number of the instruction.
        episode: (N,) number of the episode.
        row: (N,) number within the episode.
    """

    state: Array
    actions: Array
    inside: NDArray[np.bool_]
    task: NDArray[np.int64]
    episode: NDArray[np.int64]
    row: NDArray[np.int64]

    def statistics(self) -> Statistics:
        """Of proprioception, and of all actions within the episodes.

        Raises:
            PolicyError: a number is not finite.
        """
        return Statistics.fit(self.state, self.actions[self.inside])


def read_rows(dataset: Dataset, horizon: int, step_period: float) -> Rows:
    """The rows of a dataset with the chunk that follows each.

    Raises:
        DatasetError: there are none, a file cannot be read, or the dataset has no targets.
    """
    parts: list[tuple[NDArray[Any], ...]] = []
    for episode in dataset.episodes:
        columns, targets = dataset.rows(episode, (STATE, TIME, TASK)), dataset.targets(episode)
        poses = pose_of_state(columns[STATE])
        chunks = [
            action_chunk(targets, int(time), pose, horizon, step_period)
            for time, pose in zip(columns[TIME], poses, strict=True)
        ]
        count = episode.length
        actions = np.stack([chunk for chunk, _ in chunks]).astype(np.float32)
        inside = np.stack([mask for _, mask in chunks])
        numbers = np.full(count, episode.number)
        parts.append((columns[STATE], actions, inside, columns[TASK], numbers, np.arange(count)))
    if not parts:
        raise DatasetError(f"dataset {dataset.root}: holds no episode")
    return Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))  # pyright: ignore[reportArgumentType]


def check_cameras(dataset: Dataset, views: Sequence[str]) -> None:
    """Refuse a dataset without the model's cameras.

    Raises:
        DatasetError: one is missing; the message says which there are.
    """
    cameras = dataset.layout.cameras
    missing = [view for view in views if view not in cameras]
    if missing:
        raise DatasetError(
            f"dataset {dataset.root}: has no camera {missing[0]}, but {', '.join(cameras) or 'none'}. "
            'Say model.views=["..."]'
        )


class DemonstrationSamples:
    """Samples of the model's stage 3; copied into worker processes, each of which opens the dataset for itself.

    Args:
        dataset: where the pictures are.
        rows: of the dataset.
        processor: of the model.
        draws: of noise and flow time for each sample.
        seed: of noise, flow time, prefixes and augmentation.
        augmentation: of the pictures.
        features: that stand for the pictures; None: pictures are decoded.
        pictures_gb: of decoded pictures that each process keeps in memory.

    Raises:
        PolicyError: an instruction is empty or too long.
    """

    def __init__(
        self,
        dataset: Dataset,
        rows: Rows,
        processor: Processor,
        draws: int,
        seed: int,
        augmentation: AugmentationConfig,
        features: FeatureStore | None,
        pictures_gb: float = 0.0,
    ) -> None:
        self._root, self._pictures_gb = dataset.root, pictures_gb
        self._rows, self._processor = rows, processor
        self._draws, self._seed, self._augmentation, self._features = draws, seed, augmentation, features
        self._prompts = {number: processor.prompt(dataset.tasks[number]) for number in np.unique(rows.task).tolist()}
        normaliser = processor.statistics.proprioception.normaliser(processor.config.normalisation)
        self._state = normaliser.normalise(rows.state)
        self._dataset: Dataset | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the open dataset, which belongs to one process."""
        return self.__dict__ | {"_dataset": None}

    def __len__(self) -> int:
        """Rows."""
        return len(self._rows.row)

    def sample(self, number: int, position: int) -> dict[str, Any]:
        """A row: ``inputs`` of the model (1, ...), ``actions`` (H, 12) normalised, ``weight`` (H,), and for each draw
        ``noise`` (D, H, 12), ``tau`` (D,) and ``prefix`` (D,).

        Raises:
            DatasetError: a picture cannot be read.
            OSError: the features are gone.
        """
        rows, action = self._rows, self._processor.config.action
        ids, mask = self._prompts[int(rows.task[number])]
        inputs = {"input_ids": ids[None], "attention_mask": mask[None], "proprioception": self._state[number][None]}
        chance = torch_generator(self._seed, position)
        return {
            "inputs": inputs | self._seen(number, position),
            "actions": self._processor.normalise_actions(rows.actions[number]),
            "weight": rows.inside[number].astype(np.float32),
            "noise": torch.randn(self._draws, action.horizon, action.action_dimension, generator=chance),
            "tau": torch.rand(self._draws, generator=chance),
            "prefix": sample_prefix_lengths(self._draws, action.max_prefix, chance),
        }

    def collate(self, samples: Sequence[dict[str, Any]]) -> Batch:
        """A batch of B samples; ``noise``, ``tau`` and ``prefix`` are (D * B, ...), draw by draw."""
        batch = collate([sample["inputs"] for sample in samples])
        for name in ("actions", "weight"):
            batch[name] = torch.from_numpy(np.stack([sample[name] for sample in samples]))
        for name in ("noise", "tau", "prefix"):
            batch[name] = torch.stack([sample[name] for sample in samples], dim=1).flatten(0, 1)
        free = torch.arange(batch["weight"].shape[1])[None] >= batch["prefix"][:, None]
        batch[COUNT] = (batch["weight"].repeat(self._draws, 1) * free).sum()
        return batch

    def _seen(self, number: int, position: int) -> dict[str, NDArray[Any]]:
        episode, row = int(self._rows.episode[number]), int(self._rows.row[number])
        if self._features is not None:
            return dict(self._features.read(episode, row))
        if self._dataset is None:
            self._dataset = Dataset(self._root, self._pictures_gb)
        entry = self._dataset.episodes[episode]
        views = [self._dataset.frames(entry, f"{IMAGES}{name}", [row])[0] for name in self._processor.config.views]
        changed = augmented(views, self._augmentation, numpy_generator(self._seed, position))
        semantic, spatial = self._processor.images(changed)
        seen: dict[str, NDArray[Any]] = {"semantic_pixels": semantic[None]}
        return seen if spatial is None else seen | {"spatial_pixels": spatial[None]}


def check_instructions(dataset: Dataset, rows: Rows) -> None:
    """Refuse rows whose instruction the dataset does not know.

    Raises:
        DatasetError: a number of an instruction is out of range.
    """
    if rows.task.min() < 0 or rows.task.max() >= len(dataset.tasks):
        raise DatasetError(f"dataset {dataset.root}: names a task that is not among its {len(dataset.tasks)}")


READ_ERRORS = (DatasetError, PolicyError, OSError)
"""What reading samples may raise."""
