"""Reads a dataset: rows as arrays, frames by seeking, all that is known of its episodes."""

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vipa_inference.policy import CommittedPlan
from vipa_training.data.arrow import ArrowError, Column, pa, pq
from vipa_training.data.chunks import pose_matrix
from vipa_training.data.entries import EpisodeEntry, read_entries, read_statistics, read_tasks
from vipa_training.data.errors import DatasetError
from vipa_training.data.format import INFO, STATISTICS, TARGET_HAND, TARGET_POSE, TIME, Layout
from vipa_training.data.statistics import Stats, as_arrays, pooled, vector_statistics
from vipa_training.data.video import Image, VideoReader

OPEN_VIDEOS = 32
Columns = dict[str, NDArray[Any]]


class Dataset:
    """A dataset on the disk; for one thread of one process.

    Args:
        root: of the dataset.
        keep_gb: of decoded pictures that stay in memory, for those who read them again; the first ones that are read.

    Raises:
        DatasetError: there is none, or its description cannot be read.
    """

    def __init__(self, root: Path, keep_gb: float = 0.0) -> None:
        self.root = root
        self.layout = read_layout(root)
        self.episodes: tuple[EpisodeEntry, ...] = tuple(read_entries(root, self.layout))
        self.tasks: tuple[str, ...] = tuple(read_tasks(root)) if self.episodes else ()
        self._videos: OrderedDict[Path, VideoReader] = OrderedDict()
        self._kept: dict[tuple[Path, int], Image] = {}
        self._room = round(keep_gb * 1e9)  # for more of them, bytes

    def __enter__(self) -> "Dataset":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    @property
    def length(self) -> int:
        """Rows of all episodes."""
        return sum(episode.length for episode in self.episodes)

    def rows(self, episode: EpisodeEntry, keys: Sequence[str] | None = None) -> Columns:
        """Columns (N,) or (N, D) of an episode.

        Args:
            episode: which.
            keys: which columns; None: all.

        Raises:
            DatasetError: the file cannot be read, has no such column, or another number of rows.
        """
        wanted = list(self.layout.columns if keys is None else keys)
        try:
            here = ("episode_index", "==", episode.number)
            table = pq.read_table(episode.data, columns=wanted, filters=[here], partitioning=None)
        except FileNotFoundError:
            raise DatasetError(f"{episode.data}: no such file") from None
        except (OSError, ArrowError) as error:
            raise DatasetError(f"{episode.data}: cannot be read: {' '.join(str(error).split())}") from None
        missing = [key for key in wanted if key not in table.column_names]
        if missing:
            raise DatasetError(f"{episode.data}: has no column {missing[0]}")
        if table.num_rows != episode.length:
            raise DatasetError(
                f"{episode.data}: {table.num_rows} rows of episode {episode.number}, its entry says {episode.length}"
            )
        return {key: _to_numpy(table.column(key)) for key in wanted}

    def targets(self, episode: EpisodeEntry) -> CommittedPlan:
        """What was commanded in an episode: row k is the target for one step after row k.

        Raises:
            DatasetError: as ``rows``; datasets that VIPA did not write have no targets.
        """
        rows = self.rows(episode, (TIME, TARGET_POSE, TARGET_HAND))
        step_ns = round(1e9 / self.layout.fps)
        return CommittedPlan(rows[TIME] + step_ns, pose_matrix(rows[TARGET_POSE]), rows[TARGET_HAND])

    def frames(self, episode: EpisodeEntry, key: str, rows: Iterable[int]) -> NDArray[np.uint8]:
        """Pictures (N, height, width, 3) RGB of some rows of an episode, in any order.

        Raises:
            DatasetError: the video is missing, or a frame is.
        """
        path, first = episode.videos[key].path, round(episode.videos[key].start * self.layout.fps)
        numbers = [first + row for row in rows]
        missing = sorted({number for number in numbers if (path, number) not in self._kept})
        decoded = dict(zip(missing, self._video(path).frames(missing), strict=True)) if missing else {}
        found = np.stack([decoded[n] if n in decoded else self._kept[path, n] for n in numbers])
        for number, image in decoded.items():
            if image.nbytes <= self._room:
                self._kept[path, number] = image.copy()
                self._room -= image.nbytes
        return found

    def all_frames(self, episode: EpisodeEntry, key: str) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        """Every picture of an episode, and the time (s) from its begin at which it is shown; decoded once.

        Raises:
            DatasetError: the video is missing, or cannot be decoded.
        """
        place = episode.videos[key]
        half = 0.5 / self.layout.fps
        with VideoReader(place.path, self.layout.fps) as video:
            for time, image in video.in_order():
                if time >= place.start + episode.length / self.layout.fps - half and place.start > 0:
                    return
                if time >= place.start - half:
                    yield time - place.start, image

    def statistics(self) -> Stats:
        """As ``meta/stats.json`` says.

        Raises:
            DatasetError: the file is missing or holds none.
        """
        path = self.root / STATISTICS
        try:
            return as_arrays(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise DatasetError(f"{path}: no such file; run: vipa dataset stats {self.root}") from None
        except (OSError, ValueError) as error:
            raise DatasetError(f"{path}: cannot be read: {error}") from None

    def compute_statistics(self) -> Stats:
        """Of all rows, exactly; of pictures, from what was counted when they were written.

        Raises:
            DatasetError: a file cannot be read.
        """
        keys = [key for key, feature in self.layout.columns.items() if feature["dtype"] != "string"]
        parts: dict[str, list[NDArray[Any]]] = {key: [] for key in keys}
        for episode in self.episodes:
            for key, column in self.rows(episode, keys).items():
                parts[key].append(column)
        found = {key: vector_statistics(np.concatenate(columns)) for key, columns in parts.items() if columns}
        for key in self.layout.video_keys:
            counted = read_statistics(self.root, key)
            if counted:
                found[key] = pooled([as_arrays({key: part})[key] for part in counted])
        return found

    def close(self) -> None:
        """Close the videos."""
        while self._videos:
            self._videos.popitem()[1].close()

    def _video(self, path: Path) -> VideoReader:
        if path not in self._videos:
            self._videos[path] = VideoReader(path, self.layout.fps)
            if len(self._videos) > OPEN_VIDEOS:
                self._videos.popitem(last=False)[1].close()
        self._videos.move_to_end(path)
        return self._videos[path]


def read_layout(root: Path) -> Layout:
    """What the rows of a dataset are.

    Raises:
        DatasetError: there is no dataset, or ``info.json`` cannot be read.
    """
    path = root / INFO
    try:
        return Layout.from_info(json.loads(path.read_text(encoding="utf-8")), str(path))
    except FileNotFoundError:
        raise DatasetError(f"dataset {root}: no such dataset ({INFO} is missing)") from None
    except (OSError, ValueError, AttributeError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from None


def _to_numpy(column: Column) -> NDArray[Any]:
    kind = column.type
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind):
        values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return values.reshape(len(column), -1)
    return column.to_numpy()
