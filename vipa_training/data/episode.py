"""One episode while it is written: its rows and pictures go into a folder of its own, and into a dataset when whole."""

import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vipa_inference.description import HAND_NAMES
from vipa_inference.processing import PROPRIOCEPTION_NAMES, actions_from_poses
from vipa_training.data.arrow import Column, DataType, pa, pq
from vipa_training.data.chunks import pose_of_state, pose_vector
from vipa_training.data.errors import DatasetError
from vipa_training.data.format import (
    ACTION,
    EXPOSURE,
    IMAGES,
    INDEX_KEYS,
    STATE,
    TARGET_HAND,
    TARGET_POSE,
    TIME,
    Layout,
)
from vipa_training.data.statistics import PictureStatistics, Stats, vector_statistics
from vipa_training.data.video import Image, VideoWriter

Array = NDArray[np.float64]
ROWS_FILE = "rows.parquet"


@dataclass(frozen=True)
class Row:
    """One step of an episode.

    Attributes:
        time_ns: ROS time of the observation.
        exposures_ns: ROS time of each camera's frame.
        images: (height, width, 3) RGB of each camera.
        state: (22,) proprioception at ``time_ns``.
        target_pose: (4, 4) end effector in the base frame, m, commanded for one step later.
        target_hand: (6,) commanded for one step later.
    """

    time_ns: int
    exposures_ns: Mapping[str, int]
    images: Mapping[str, Image]
    state: Array
    target_pose: Array
    target_hand: Array


@dataclass(frozen=True)
class EpisodeNote:
    """What is known of an episode beside its rows.

    Attributes:
        task: the instruction.
        outcome: "success", "failure", or empty where nobody said.
        seed: of the simulated scene.
        variant: of the scene.
        scene: name of the task in the laboratory.
        policy: what acted.
        recording: name of the recording that it was made from.
        sub_tasks: what was done, in order, and when, s from the first row.
        alignment: of a recording, figures by name: how far exposures are from rows, what was missing.
    """

    task: str
    outcome: str = ""
    seed: int | None = None
    variant: str = ""
    scene: str = ""
    policy: str = ""
    recording: str = ""
    sub_tasks: tuple[tuple[str, float], ...] = ()
    alignment: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class FinishedEpisode:
    """A whole episode that belongs to no dataset yet.

    Attributes:
        folder: with ``rows.parquet`` and a video of each camera.
        layout: of its rows.
        note: see ``EpisodeNote``.
        length: number of rows.
        statistics: of each key.
    """

    folder: Path
    layout: Layout
    note: EpisodeNote
    length: int
    statistics: Stats

    def video(self, key: str) -> Path:
        """The video of a key."""
        return self.folder / f"{key}.mp4"


class EpisodeBuilder:
    """Takes rows; pictures are encoded as they come, up to two cameras at the same time.

    Args:
        folder: of the new episode; must not exist.
        layout: of its rows.
        threads: that encode.

    Raises:
        DatasetError: the folder cannot be written.
    """

    def __init__(self, folder: Path, layout: Layout, threads: int = 2) -> None:
        self.folder, self.layout = folder, layout
        self._rows: dict[str, list[Any]] = {key: [] for key in layout.columns if key not in (ACTION, *INDEX_KEYS)}
        self._pictures = {key: PictureStatistics() for key in layout.video_keys}
        try:
            folder.mkdir(parents=True)
            self._videos = {
                f"{IMAGES}{name}": VideoWriter(folder / f"{IMAGES}{name}.mp4", size, layout.fps)
                for name, size in layout.cameras.items()
            }
        except OSError as error:
            raise DatasetError(f"dataset: {folder}: cannot be written: {error.strerror or error}") from None
        self._pool = ThreadPoolExecutor(min(threads, len(self._videos)))

    @property
    def length(self) -> int:
        """Rows so far."""
        return len(self._rows[TIME])

    def add(self, row: Row) -> None:
        """Add a row.

        Raises:
            DatasetError: a camera is missing, a value has another shape or is not finite, time goes back, or the disk
                is full.
        """
        where = f"dataset: row {self.length}"
        self._check(row, where)
        jobs = [self._pool.submit(self._encode, key, row.images[key.removeprefix(IMAGES)]) for key in self._videos]
        values: dict[str, Any] = {
            STATE: np.array(row.state, dtype=np.float64),
            TARGET_POSE: np.array(row.target_pose, dtype=np.float64),
            TARGET_HAND: np.array(row.target_hand, dtype=np.float64),
            TIME: row.time_ns,
            "timestamp": self.length / self.layout.fps,
            "frame_index": self.length,
            **{f"{EXPOSURE}{name}": row.exposures_ns[name] for name in self.layout.cameras},
        }
        for key, column in self._rows.items():
            column.append(values[key])
        try:
            for job in jobs:
                job.result()
        except OSError as error:
            raise DatasetError(f"{where}: its pictures cannot be written: {error}") from None

    def finish(self, note: EpisodeNote) -> FinishedEpisode:
        """Close the files.

        Raises:
            DatasetError: there is no row, or the disk is full.
        """
        if not self.length:
            self.discard()
            raise DatasetError("dataset: an episode without rows")
        self._pool.shutdown()
        columns = self._columns()
        schema = self.layout.schema()
        arrays = [to_arrow(columns[key], schema.field(key).type) for key in columns]
        try:
            for video in self._videos.values():
                video.close()
            pq.write_table(pa.table(dict(zip(columns, arrays, strict=True))), self.folder / ROWS_FILE)
        except OSError as error:
            self.discard()
            raise DatasetError(f"dataset: {self.folder}: cannot be written: {error.strerror or error}") from None
        statistics = {key: vector_statistics(column) for key, column in columns.items()}
        statistics |= {key: pictures.statistics() for key, pictures in self._pictures.items()}
        return FinishedEpisode(self.folder, self.layout, note, self.length, statistics)

    def discard(self) -> None:
        """Remove what was written."""
        self._pool.shutdown()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _columns(self) -> dict[str, NDArray[Any]]:
        columns = {key: np.array(column) for key, column in self._rows.items()}
        poses, hand, seen = columns[TARGET_POSE], columns[TARGET_HAND], pose_of_state(columns[STATE])
        actions = [actions_from_poses(*row) for row in zip(poses, hand, seen, strict=True)]
        columns |= {ACTION: np.array(actions), TARGET_POSE: pose_vector(poses)}
        return {key: column.astype(self.layout.features[key]["dtype"]) for key, column in columns.items()}

    def _encode(self, key: str, image: Image) -> None:
        self._videos[key].add(image)
        self._pictures[key].add(image)

    def _check(self, row: Row, where: str) -> None:
        for name, size in self.layout.cameras.items():
            if name not in row.images or name not in row.exposures_ns:
                raise DatasetError(f"{where}: camera {name} is missing")
            image = row.images[name]
            if image.shape != (*size, 3) or image.dtype != np.uint8:
                raise DatasetError(f"{where}: camera {name}: {image.dtype} {image.shape}, expected uint8 {(*size, 3)}")
        vectors = ("state", row.state, (len(PROPRIOCEPTION_NAMES),)), ("target_pose", row.target_pose, (4, 4))
        for name, value, shape in (*vectors, ("target_hand", row.target_hand, (len(HAND_NAMES),))):
            if np.shape(value) != shape or not np.isfinite(value).all():
                raise DatasetError(f"{where}: {name}: expected {shape} finite numbers, found {np.asarray(value)}")
        if self.length and row.time_ns <= self._rows[TIME][-1]:
            raise DatasetError(f"{where}: its time {row.time_ns} ns is not after {self._rows[TIME][-1]} ns")


def to_arrow(values: NDArray[Any], kind: DataType) -> Column:
    """Values (N,) or (N, D) as a column."""
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), kind.value_type), kind.list_size)
    return pa.array(values, kind)
