"""What can be wrong with one episode: its rows, its frames."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vipa_inference.processing import actions_from_poses
from vipa_training.data.chunks import pose_matrix, pose_of_state
from vipa_training.data.entries import EpisodeEntry
from vipa_training.data.errors import DatasetError
from vipa_training.data.format import ACTION, EXPOSURE, IMAGES, STATE, TARGET_HAND, TARGET_POSE, TIME
from vipa_training.data.reader import Columns, Dataset
from vipa_training.data.statistics import PictureStatistics
from vipa_training.data.video import Image


@dataclass(frozen=True)
class CheckConfig:
    """What counts as a problem.

    Attributes:
        repeats: a frame may stand for so many rows.
        skew: rows by which an exposure may be off its row.
        moved: m that the end effector may move while a picture 224 px wide stays the same; more in smaller ones.
        changed: share of pixels that differ, at most, between pictures that count as the same.
        step: grey levels by which a pixel must change to differ; a codec changes still pictures by less.
        action: m or rad by which an action may be off its target.
    """

    repeats: int = 2
    skew: float = 1.0
    moved: float = 0.006
    changed: float = 5e-4
    step: int = 16
    action: float = 1e-4


def row_problems(dataset: Dataset, episode: EpisodeEntry, rows: Columns, config: CheckConfig) -> Iterator[str]:
    """One line for each thing that is wrong with the rows of an episode."""
    fps, numbers = dataset.layout.fps, np.arange(episode.length)
    expected = {
        "frame_index": numbers,
        "index": episode.start + numbers,
        "episode_index": np.full(episode.length, episode.number),
    }
    for key, values in expected.items():
        if key in rows and not np.array_equal(rows[key], values):
            yield f"{key}: row {_first(np.not_equal(rows[key], values))} has another number than its place says"
    off = np.abs(rows["timestamp"] - numbers / fps)
    if (off > 1e-4).any():
        yield f"timestamp: row {_first(off > 1e-4)} is off {fps} rows/s by {off.max():.4f} s"
    if not set(np.unique(rows["task_index"])) <= set(range(len(dataset.tasks))):
        yield "task_index: names no task"
    elif dataset.tasks[int(rows["task_index"][0])] != episode.note.task:
        yield f"task: {dataset.tasks[int(rows['task_index'][0])]!r}, its entry says {episode.note.task!r}"
    for key, values in rows.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            yield f"{key}: row {_first(~np.isfinite(values.reshape(len(values), -1)).all(1))} is not finite"
    if TIME in rows:
        yield from _time_problems(dataset, rows, config)
    if TARGET_POSE in rows and np.isfinite(rows[STATE]).all() and np.isfinite(rows[TARGET_POSE]).all():
        yield from _action_problems(rows, config)


def frame_problems(
    dataset: Dataset, episode: EpisodeEntry, key: str, rows: Columns, config: CheckConfig
) -> tuple[list[str], PictureStatistics]:
    """One line for each thing that is wrong with a video of an episode, and the statistics of its pictures."""
    counted, problems = PictureStatistics(), list[str]()
    height, width, _ = dataset.layout.features[key]["shape"]
    frozen, exposures = _FrozenPicture(rows.get(STATE), config), rows.get(f"{EXPOSURE}{camera_of(key)}")
    half, shown = 0.5 / dataset.layout.fps, 0
    try:
        for number, (time, image) in enumerate(dataset.all_frames(episode, key)):
            shown = number + 1
            if number >= episode.length:
                continue
            off = abs(time - float(rows["timestamp"][number]))
            if off >= half:
                problems.append(f"frame {number} is shown {off:.3f} s off its row")
                break
            if image.shape != (height, width, 3):
                problems.append(f"frame {number} has {image.shape[1]}x{image.shape[0]} px, not {width}x{height}")
                break
            counted.add(image)
            if exposures is None or not number or exposures[number] != exposures[number - 1]:
                problems += frozen.add(number, image)  # one frame may well stand for two rows
        else:
            problems += frozen.end()
            if shown != episode.length:
                problems.append(f"{shown} frames for {episode.length} rows")
    except DatasetError as error:
        problems.append(str(error))
    return problems, counted


def picture_problems(counted: PictureStatistics, kept: Mapping[str, NDArray[np.float64]]) -> Iterator[str]:
    """Whether what was counted when the pictures were written is what is in the video."""
    try:
        found = counted.statistics()
    except ValueError:
        return
    for name in ("mean", "std"):
        off = float(np.abs(found[name] - kept[name]).max())
        if off > 0.03:
            yield f"stats: {name}: is off the pictures by {off:.3f}"


def _time_problems(dataset: Dataset, rows: Columns, config: CheckConfig) -> Iterator[str]:
    times, period = rows[TIME], 1.0 / dataset.layout.fps
    steps = np.diff(times) * 1e-9
    if (steps <= 0).any():
        yield f"{TIME}: row {_first(steps <= 0) + 1} is not after the row before it"
    elif len(steps):
        nominal = (times - times[0]) * 1e-9 - rows["frame_index"] * period
        drift = nominal - np.median(nominal)
        if np.abs(drift).max() > config.skew * period:
            row = int(np.argmax(np.abs(drift)))
            yield f"{TIME}: row {row} is {drift[row]:+.3f} s off {dataset.layout.fps} rows/s"
    for camera in dataset.layout.cameras:
        exposures = rows.get(f"{EXPOSURE}{camera}")
        if exposures is None:
            continue
        off = np.abs(exposures - times) * 1e-9
        if off.max() > config.skew * period:
            yield f"{camera}: the frame of row {int(off.argmax())} was exposed {off.max():.3f} s off its row"
        back = np.diff(exposures) < 0
        if back.any():
            yield f"{camera}: the frame of row {_first(back) + 1} is older than that of the row before it"
        length, row = _longest_run(exposures)
        if length > config.repeats:
            yield f"{camera}: one frame stands for {length} rows from row {row} on"


def _action_problems(rows: Columns, config: CheckConfig) -> Iterator[str]:
    poses, hand = pose_matrix(rows[TARGET_POSE]), rows[TARGET_HAND]
    state = pose_of_state(rows[STATE])
    actions = np.stack([actions_from_poses(p, h, s) for p, h, s in zip(poses, hand, state, strict=True)])
    off = np.abs(actions - rows[ACTION]).max(axis=1)
    if (off > config.action).any():
        yield f"{ACTION}: row {_first(off > config.action)} does not lead to its target: off by {off.max():.2g}"


class _FrozenPicture:
    """Notices that a camera shows the same picture while the arm moves."""

    def __init__(self, state: NDArray[np.float32] | None, config: CheckConfig) -> None:
        self._positions = None if state is None or state.shape[1:] != (22,) else state[:, :3].astype(np.float64)
        self._config = config
        self._first: Image | None = None  # of the stretch: in a slow motion, each picture is much like the one before
        self._start = self._number = 0

    def add(self, number: int, image: Image) -> list[str]:
        """Look at the next picture; one line where a frozen stretch has ended before it."""
        if self._first is not None and self._is_same(self._first, image):
            self._number = number
            return []
        lines = self.end()
        self._first, self._start, self._number = image, number, number
        return lines

    def end(self) -> list[str]:
        """One line where the stretch that ends here is a frozen one."""
        if self._positions is None or self._number == self._start:
            return []
        stretch = self._positions[self._start : self._number + 1]
        moved = float(np.linalg.norm(stretch - stretch[0], axis=1).max())
        assert self._first is not None
        if moved <= self._config.moved * max(1.0, 224 / self._first.shape[1]):
            return []
        return [f"frozen: rows {self._start}-{self._number} show the same while the arm moves by {moved:.3f} m"]

    def _is_same(self, one: Image, other: Image) -> bool:
        differs = np.abs(one.astype(np.int16) - other).max(axis=-1) > self._config.step
        return float(differs.mean()) <= self._config.changed


def camera_of(key: str) -> str:
    """The camera of a key, for messages."""
    return key.removeprefix(IMAGES)


def _first(flags: ArrayLike) -> int:
    return int(np.argmax(flags))


def _longest_run(values: NDArray[np.int64]) -> tuple[int, int]:
    """Length and begin of the longest run of one value."""
    edges = np.flatnonzero(np.concatenate([[True], np.diff(values) != 0, [True]]))
    lengths = np.diff(edges)
    longest = int(lengths.argmax())
    return int(lengths[longest]), int(edges[longest])
