"""What ``meta/episodes`` and ``meta/tasks.parquet`` hold."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vipa_training.data.arrow import ArrowError, Column, Table, pa, pq
from vipa_training.data.episode import EpisodeNote
from vipa_training.data.errors import DatasetError
from vipa_training.data.format import DATA_PATH, EPISODES, TASKS, VIDEO_PATH, Layout, place
from vipa_training.data.statistics import Stats

_NOTE_COLUMNS = (
    "outcome",
    "seed",
    "variant",
    "scene",
    "policy",
    "recording",
    "sub_tasks",
    "sub_task_times",
    "alignment",
)


@dataclass(frozen=True)
class VideoPlace:
    """Where an episode's frames are.

    Attributes:
        path: of the video.
        start: s from the begin of the video to the first frame.
    """

    path: Path
    start: float


@dataclass(frozen=True)
class EpisodeEntry:
    """One episode of a dataset.

    Attributes:
        number: ``episode_index``.
        start: ``index`` of its first row.
        end: of the row after its last.
        note: what is known of it.
        data: file with its rows.
        videos: by key.
    """

    number: int
    start: int
    end: int
    note: EpisodeNote
    data: Path
    videos: Mapping[str, VideoPlace]

    @property
    def length(self) -> int:
        """Number of rows."""
        return self.end - self.start


def new_entry(root: Path, layout: Layout, number: int, start: int, length: int, note: EpisodeNote) -> EpisodeEntry:
    """The entry of an episode with files of its own."""
    data = root / DATA_PATH.format(**place(number))
    videos = {k: VideoPlace(root / VIDEO_PATH.format(video_key=k, **place(number)), 0.0) for k in layout.video_keys}
    return EpisodeEntry(number, start, start + length, note, data, videos)


def entry_table(entry: EpisodeEntry, layout: Layout, statistics: Stats) -> Table:
    """A table of one row, with the columns that LeRobot wants, and VIPA's."""
    chunk, file = place(entry.number)["chunk_index"], place(entry.number)["file_index"]
    note = entry.note
    columns: dict[str, Column] = {
        "episode_index": pa.array([entry.number], pa.int64()),
        "tasks": pa.array([[note.task]], pa.list_(pa.string())),
        "length": pa.array([entry.length], pa.int64()),
        "data/chunk_index": pa.array([chunk], pa.int64()),
        "data/file_index": pa.array([file], pa.int64()),
        "dataset_from_index": pa.array([entry.start], pa.int64()),
        "dataset_to_index": pa.array([entry.end], pa.int64()),
        "meta/episodes/chunk_index": pa.array([chunk], pa.int64()),
        "meta/episodes/file_index": pa.array([file], pa.int64()),
    }
    for key in entry.videos:
        columns[f"videos/{key}/chunk_index"] = pa.array([chunk], pa.int64())
        columns[f"videos/{key}/file_index"] = pa.array([file], pa.int64())
        columns[f"videos/{key}/from_timestamp"] = pa.array([0.0], pa.float64())
        columns[f"videos/{key}/to_timestamp"] = pa.array([entry.length / layout.fps], pa.float64())
    for key, part in statistics.items():
        for name, value in part.items():
            columns[f"stats/{key}/{name}"] = pa.array([value.tolist()])
    columns |= {
        "outcome": pa.array([note.outcome], pa.string()),
        "seed": pa.array([note.seed], pa.int64()),
        "variant": pa.array([note.variant], pa.string()),
        "scene": pa.array([note.scene], pa.string()),
        "policy": pa.array([note.policy], pa.string()),
        "recording": pa.array([note.recording], pa.string()),
        "sub_tasks": pa.array([[name for name, _ in note.sub_tasks]], pa.list_(pa.string())),
        "sub_task_times": pa.array([[time for _, time in note.sub_tasks]], pa.list_(pa.float64())),
        "alignment": pa.array([json.dumps(dict(note.alignment))], pa.string()),
    }
    return pa.table(columns)


def read_entries(root: Path, layout: Layout) -> list[EpisodeEntry]:
    """The episodes of a dataset, also of one that LeRobot wrote, in order.

    Raises:
        DatasetError: a file cannot be read, or an episode is missing.
    """
    files = sorted((root / EPISODES).glob("*/*.parquet"))
    entries: list[EpisodeEntry] = []
    for file in files:
        try:
            entries += [_entry(row, root, layout) for row in _read(file)]
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{file}: no entry of an episode: {error!r}") from None
    entries.sort(key=lambda entry: entry.number)
    for number, entry in enumerate(entries):
        if entry.number != number:
            raise DatasetError(f"dataset {root}: {EPISODES}: episode {number} is missing")
    return entries


def read_statistics(root: Path, key: str) -> list[dict[str, Any]]:
    """The statistics of one key in each episode, as lists; none where they were not kept.

    Raises:
        DatasetError: a file cannot be read.
    """
    prefix = f"stats/{key}/"
    rows = [row for file in sorted((root / EPISODES).glob("*/*.parquet")) for row in _read(file, prefix)]
    return [{name.removeprefix(prefix): value for name, value in row.items()} for row in rows if row]


def tasks_table(tasks: list[str]) -> Table:
    """The instructions by their numbers, as pandas writes a table with the index ``task``."""
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())})
    column = {"metadata": None, "numpy_type": "int64", "pandas_type": "int64"}
    index = {"metadata": None, "numpy_type": "object", "pandas_type": "unicode"}
    names = {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    description = {
        "index_columns": ["task"],
        "column_indexes": [names],
        "columns": [
            {"name": "task_index", "field_name": "task_index", **column},
            {"name": "task", "field_name": "task", **index},
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(description)})


def read_tasks(root: Path) -> list[str]:
    """The instructions by their numbers.

    Raises:
        DatasetError: the file is missing or cannot be read.
    """
    path = root / TASKS
    try:
        rows = sorted(_read(path), key=lambda row: row["task_index"])
        return [str(row["task"] if "task" in row else row["__index_level_0__"]) for row in rows]
    except KeyError as error:
        raise DatasetError(f"{path}: has no column {error}") from None


def _read(path: Path, prefix: str | None = None) -> list[dict[str, Any]]:
    """The rows of a file; of an episode's, without statistics, or only the columns with a prefix."""
    try:
        names = pq.read_schema(path).names
        wanted = [name for name in names if (name.startswith(prefix) if prefix else not name.startswith("stats/"))]
        return pq.read_table(path, columns=wanted, partitioning=None).to_pylist()
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file") from None
    except (OSError, ArrowError) as error:
        raise DatasetError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None


def _entry(row: Mapping[str, Any], root: Path, layout: Layout) -> EpisodeEntry:
    number, start, end = (int(row[name]) for name in ("episode_index", "dataset_from_index", "dataset_to_index"))
    places = {"chunk_index": int(row["data/chunk_index"]), "file_index": int(row["data/file_index"])}
    videos: dict[str, VideoPlace] = {}
    for key in layout.video_keys:
        where = {name: int(row[f"videos/{key}/{name}"]) for name in ("chunk_index", "file_index")}
        path = root / VIDEO_PATH.format(video_key=key, **where)
        videos[key] = VideoPlace(path, float(row[f"videos/{key}/from_timestamp"]))
    tasks = [str(task) for task in row["tasks"]]
    known = {name: row[name] for name in _NOTE_COLUMNS if row.get(name) is not None}
    marks = zip(known.pop("sub_tasks", ()), known.pop("sub_task_times", ()), strict=True)
    alignment = {str(name): float(value) for name, value in json.loads(known.pop("alignment", "{}")).items()}
    note = EpisodeNote(tasks[0] if tasks else "", sub_tasks=tuple(marks), alignment=alignment, **known)
    return EpisodeEntry(number, start, end, note, root / DATA_PATH.format(**places), videos)
