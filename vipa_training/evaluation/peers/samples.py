"""Our demonstrations as LeRobot's samples: its own rows and pictures, and the chunks of actions that we learn, too.

The column ``action`` of a dataset is relative to the pose of its own row. A chunk is relative to one pose, that of the
observation, so the adapter makes it from the targets, as stage 3 does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vipa_training.data.chunks import action_chunk, pose_of_state
from vipa_training.data.format import STATE as STATE_COLUMN
from vipa_training.data.format import TIME
from vipa_training.data.reader import Dataset
from vipa_training.data.statistics import vector_statistics
from vipa_training.evaluation.peers.note import IMAGES, STATE, TASK_VECTOR, PeerError, PeerNote

SMALLEST_SPREAD = 1e-3
"""A dimension that hardly moves (m, rad, share) is not blown up by its normalisation."""


class Items(Protocol):
    """A LeRobotDataset: pictures (3, height, width) of 0-1, the state, and the words of the task."""

    def __len__(self) -> int:
        """Rows."""
        ...

    def __getitem__(self, number: int) -> Mapping[str, Any]:
        """A row."""
        ...


@dataclass(frozen=True)
class Chunks:
    """What follows each row of a dataset.

    Attributes:
        actions: (N, H, 12) SI units, relative to the pose of the row.
        is_pad: (N, H) whether the target lies beyond the end of the episode.
    """

    actions: NDArray[np.float32]
    is_pad: NDArray[np.bool_]

    def statistics(self) -> dict[str, Tensor]:
        """Of the actions within the episodes, (12,) each."""
        return usable(vector_statistics(self.actions[~self.is_pad].astype(np.float64)))


def read_chunks(root: Path, horizon: int, step_period: float) -> Chunks:
    """The chunk of each row.

    Raises:
        DatasetError: a file cannot be read, or there are no targets.
        PeerError: the dataset holds no episode.
    """
    actions: list[NDArray[np.float32]] = []
    is_pad: list[NDArray[np.bool_]] = []
    with Dataset(root) as dataset:
        for episode in dataset.episodes:
            columns, targets = dataset.rows(episode, (STATE_COLUMN, TIME)), dataset.targets(episode)
            for time_ns, pose in zip(columns[TIME], pose_of_state(columns[STATE_COLUMN]), strict=True):
                chunk, inside = action_chunk(targets, int(time_ns), pose, horizon, step_period)
                actions.append(chunk.astype(np.float32))
                is_pad.append(~inside)
    if not actions:
        raise PeerError(f"dataset {root}: holds no episode")
    return Chunks(np.stack(actions), np.stack(is_pad))


def usable(statistics: Mapping[str, Any]) -> dict[str, Tensor]:
    """Statistics of one key as LeRobot's processors want them."""
    tensors = {name: torch.as_tensor(np.asarray(value), dtype=torch.float32) for name, value in statistics.items()}
    tensors["std"] = tensors["std"].clamp_min(SMALLEST_SPREAD)
    return tensors


def fit_picture(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """A picture (..., 3, height, width) of 0-1 in another size; the same in training and when it is served."""
    if tuple(picture.shape[-2:]) == size:
        return picture
    batch = picture.reshape(-1, *picture.shape[-3:])
    fitted = torch.nn.functional.interpolate(batch, size=list(size), mode="bilinear", antialias=True)
    return fitted.reshape(*picture.shape[:-2], *size)


def task_vector(note: PeerNote, instruction: str) -> Tensor:
    """Which of the instructions it is (T,): 1 in its place, 0 elsewhere.

    Raises:
        PeerError: it is none that was learned.
    """
    vector = torch.zeros(len(note.instructions))
    vector[note.task_number(instruction)] = 1.0
    return vector


class PeerSamples:
    """What a torch ``DataLoader`` reads.

    Args:
        items: the dataset, read by LeRobot.
        chunks: of its rows.
        note: what the peer shall see.
    """

    def __init__(self, items: Items, chunks: Chunks, note: PeerNote) -> None:
        if len(items) != len(chunks.actions):
            raise PeerError(
                f"dataset: LeRobot reads {len(items)} rows, VIPA {len(chunks.actions)}. Run: vipa dataset check"
            )
        self._items, self._chunks, self._note = items, chunks, note

    def __len__(self) -> int:
        """Rows."""
        return len(self._items)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """A sample under LeRobot's keys."""
        item, note = self._items[number], self._note
        instruction = str(item["task"])
        return {
            **{f"{IMAGES}{c}": fit_picture(item[f"{IMAGES}{c}"], note.image_size) for c in note.cameras},
            STATE: item[STATE],
            TASK_VECTOR: task_vector(note, instruction),
            "action": torch.from_numpy(self._chunks.actions[number]),
            "action_is_pad": torch.from_numpy(self._chunks.is_pad[number]),
            "task": instruction,
        }
