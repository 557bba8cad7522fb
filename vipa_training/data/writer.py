"""Writes a dataset episode by episode; what a crash leaves of an unfinished one is removed when it is continued."""

import fcntl
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from vipa_training.data.arrow import Table, pa, pq
from vipa_training.data.entries import EpisodeEntry, entry_table, new_entry, read_entries, read_tasks, tasks_table
from vipa_training.data.episode import ROWS_FILE, EpisodeBuilder, FinishedEpisode, to_arrow
from vipa_training.data.errors import DatasetError
from vipa_training.data.files import move, sync, write_json, write_table
from vipa_training.data.format import (
    EPISODES,
    INDEX_KEYS,
    INFO,
    STATISTICS,
    TASKS,
    Layout,
    data_file,
    episode_file,
    video_file,
)
from vipa_training.data.reader import Dataset, read_layout
from vipa_training.data.statistics import as_lists

PARTIAL = ".partial"


class DatasetWriter:
    """Begins a dataset, or continues one of the same layout; for one process, and with ``begin`` and ``add`` for many.

    An episode is in the dataset once ``add`` has put its entry under ``meta/episodes``: its videos and rows were forced
    to the disk before. ``close`` writes the statistics.

    Args:
        root: of the dataset; made where it is missing.
        layout: of its rows.

    Raises:
        DatasetError: the folder cannot be written, holds something else or another layout, or is being written.
    """

    def __init__(self, root: Path, layout: Layout) -> None:
        self.root, self.layout = root, layout
        self._lock = self._locked()
        try:
            self._tasks = read_tasks(root) if (root / TASKS).exists() else []
            self._entries: list[EpisodeEntry] = []
            self._continue()
        except OSError as error:
            self._lock.close()
            raise DatasetError(f"dataset {root}: cannot be written: {error.strerror or error}") from None
        except DatasetError:
            self._lock.close()
            raise

    def __enter__(self) -> "DatasetWriter":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    @property
    def entries(self) -> tuple[EpisodeEntry, ...]:
        """The episodes that are in the dataset."""
        return tuple(self._entries)

    def new_folder(self) -> Path:
        """Where an episode may be written, by any process."""
        return self.root / PARTIAL / uuid.uuid4().hex

    def begin(self, threads: int = 2) -> EpisodeBuilder:
        """Begin an episode.

        Raises:
            DatasetError: the disk is full.
        """
        return EpisodeBuilder(self.new_folder(), self.layout, threads)

    def add(self, episode: FinishedEpisode) -> int:
        """Put a whole episode into the dataset; its number.

        Raises:
            DatasetError: it has another layout, or the disk is full; the dataset is as it was.
        """
        if episode.layout != self.layout:
            raise DatasetError(f"dataset {self.root}: the episode has another rate, other cameras or other keys")
        number = len(self._entries)
        start = self._entries[-1].end if self._entries else 0
        try:
            task = self._task_index(episode.note.task)
            rows = self._indexed(episode, number, start, task)
            for key in self.layout.video_keys:
                move(episode.video(key), video_file(self.root, key, number))
            write_table(data_file(self.root, number), rows)
            entry = new_entry(self.root, self.layout, number, start, episode.length, episode.note)
            write_table(episode_file(self.root, number), entry_table(entry, self.layout, episode.statistics))
            self._entries.append(entry)
            self._write_info()
        except OSError as error:
            raise DatasetError(f"dataset {self.root}: cannot be written: {error.strerror or error}") from None
        shutil.rmtree(episode.folder, ignore_errors=True)
        return number

    def close(self) -> None:
        """Write the statistics, and let another writer continue.

        Raises:
            DatasetError: the disk is full, or a file that was written is gone.
        """
        try:
            shutil.rmtree(self.root / PARTIAL, ignore_errors=True)
            if self._entries:
                with Dataset(self.root) as dataset:
                    write_json(self.root / STATISTICS, as_lists(dataset.compute_statistics()))
        except OSError as error:
            raise DatasetError(f"dataset {self.root}: cannot be written: {error.strerror or error}") from None
        finally:
            self._lock.close()

    def _locked(self) -> Any:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            known = {".lock", PARTIAL, "meta", "data", "videos"}
            strange = sorted(path.name for path in self.root.iterdir() if path.name not in known)
            if strange and not (self.root / INFO).exists():
                raise DatasetError(f"dataset {self.root}: holds {strange[0]}; name a new or empty folder")
            lock = (self.root / ".lock").open("a+")
        except OSError as error:
            raise DatasetError(f"dataset {self.root}: cannot be written: {error.strerror or error}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise DatasetError(f"dataset {self.root}: another process writes it. Wait for it, or end it") from None
        return lock

    def _continue(self) -> None:
        """Find the whole episodes, and remove everything of others."""
        if (self.root / INFO).exists():
            found = read_layout(self.root)
            if found != self.layout:
                known, wanted = _described(found), _described(self.layout)
                raise DatasetError(f"dataset {self.root}: has {known}; this would be {wanted}. Name another folder")
            self._entries = read_entries(self.root, self.layout)
        shutil.rmtree(self.root / PARTIAL, ignore_errors=True)
        number = len(self._entries)
        videos = [video_file(self.root, key, number) for key in self.layout.video_keys]
        for path in (data_file(self.root, number), *videos, *self.root.rglob(".*.part")):
            path.unlink(missing_ok=True)
        (self.root / EPISODES).mkdir(parents=True, exist_ok=True)
        self._write_info()

    def _task_index(self, task: str) -> int:
        if task not in self._tasks:
            write_table(self.root / TASKS, tasks_table([*self._tasks, task]))
            self._tasks.append(task)
        return self._tasks.index(task)

    def _indexed(self, episode: FinishedEpisode, number: int, start: int, task: int) -> Table:
        table, length = pq.read_table(episode.folder / ROWS_FILE, partitioning=None), episode.length
        values = (np.full(length, number), start + np.arange(length), np.full(length, task))
        for key, column in zip(INDEX_KEYS, values, strict=True):
            table = table.append_column(key, to_arrow(column, pa.int64()))
        return table.select(self.layout.schema().names).cast(self.layout.schema())

    def _write_info(self) -> None:
        frames = self._entries[-1].end if self._entries else 0
        write_json(self.root / INFO, self.layout.to_info(len(self._entries), frames, len(self._tasks)))
        sync(self.root)


def _described(layout: Layout) -> str:
    cameras = ", ".join(f"{name} {width}x{height}" for name, (height, width) in layout.cameras.items())
    return f"{layout.fps} rows/s of {cameras} with {len(layout.columns)} columns"
