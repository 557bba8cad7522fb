"""Everything that can be wrong with a dataset, one line each."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vipa_training.data.check_episode import (
    CheckConfig,
    camera_of,
    frame_problems,
    picture_problems,
    row_problems,
)
from vipa_training.data.entries import EpisodeEntry, read_statistics
from vipa_training.data.errors import DatasetError
from vipa_training.data.format import INFO, STATISTICS
from vipa_training.data.reader import Dataset
from vipa_training.data.statistics import Stats, as_arrays


def check_dataset(root: Path, config: CheckConfig | None = None) -> Iterator[str]:
    """One line for each problem; none: the dataset is clean. Every frame is decoded.

    Args:
        root: of the dataset.
        config: what counts as a problem.
    """
    try:
        dataset = Dataset(root)
    except DatasetError as error:
        yield str(error)
        return
    with dataset:
        yield from _count_problems(dataset)
        is_readable = True
        kept = {key: read_statistics(root, key) for key in dataset.layout.video_keys}
        for episode in dataset.episodes:
            pictures = {key: parts[episode.number] for key, parts in kept.items() if len(parts) > episode.number}
            for line in _episode_problems(dataset, episode, as_arrays(pictures), config or CheckConfig()):
                is_readable = False
                yield f"episode {episode.number}: {line}"
        yield from _stray_files(dataset)
        if is_readable and dataset.episodes:
            yield from _statistics_problems(dataset)


def _count_problems(dataset: Dataset) -> Iterator[str]:
    if not dataset.episodes:
        yield "the dataset has no episode"
        return
    info = json.loads((dataset.root / INFO).read_text(encoding="utf-8"))
    counts = {
        "total_episodes": len(dataset.episodes),
        "total_frames": dataset.length,
        "total_tasks": len(dataset.tasks),
    }
    for name, count in counts.items():
        if info.get(name) != count:
            yield f"{INFO}: {name} is {info.get(name)}, there are {count}"
    start = 0
    for episode in dataset.episodes:
        if episode.start != start or episode.length < 1:
            yield f"episode {episode.number}: rows {episode.start}-{episode.end}, expected to begin at {start}"
        start = episode.end


def _episode_problems(dataset: Dataset, episode: EpisodeEntry, kept: Stats, config: CheckConfig) -> Iterator[str]:
    try:
        rows = dataset.rows(episode)
    except DatasetError as error:
        yield str(error)
        return
    yield from row_problems(dataset, episode, rows, config)
    for key in dataset.layout.video_keys:
        problems, counted = frame_problems(dataset, episode, key, rows, config)
        if not problems and key in kept:
            problems += picture_problems(counted, kept[key])
        for line in problems:
            yield f"{camera_of(key)}: {line}"


def _statistics_problems(dataset: Dataset) -> Iterator[str]:
    try:
        kept, found = dataset.statistics(), dataset.compute_statistics()
    except DatasetError as error:
        yield str(error)
        return
    cure = f"run: vipa dataset stats {dataset.root}"
    for key, part in found.items():
        for name, values in part.items():
            have = kept.get(key, {}).get(name)
            if have is None:
                yield f"{STATISTICS}: {key}: {name} is missing; {cure}"
                return
            if have.shape != values.shape or not np.allclose(have, values, rtol=1e-5, atol=1e-6):
                yield f"{STATISTICS}: {key}: {name} is {_shown(have)}, the data say {_shown(values)}; {cure}"
                return


def _stray_files(dataset: Dataset) -> Iterator[str]:
    known = {episode.data for episode in dataset.episodes}
    known |= {place.path for episode in dataset.episodes for place in episode.videos.values()}
    for pattern in ("data/*/*.parquet", "videos/*/*/*.mp4"):
        for path in sorted(dataset.root.glob(pattern)):
            if path not in known and not path.name.startswith("."):
                yield f"{path}: belongs to no episode: the writer was cut off. Continue it, or remove the file"


def _shown(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    text = np.array2string(values.reshape(-1), precision=5, threshold=4, edgeitems=1)
    return " ".join(text.split())
