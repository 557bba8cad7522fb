"""Several datasets in one: files are copied, numbers are new, nothing is encoded again."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from vipa_training.data.arrow import pa, pq
from vipa_training.data.entries import EpisodeEntry, read_statistics
from vipa_training.data.episode import ROWS_FILE, FinishedEpisode, to_arrow
from vipa_training.data.errors import DatasetError
from vipa_training.data.format import INDEX_KEYS
from vipa_training.data.reader import Dataset
from vipa_training.data.statistics import Stats, as_arrays, vector_statistics
from vipa_training.data.writer import DatasetWriter


def merge_datasets(sources: Sequence[Path], target: Path) -> Iterator[int]:
    """Put all episodes of some datasets into a new one, in order; gives the number of each as it is done.

    What was cut off is continued by the same call.

    Raises:
        DatasetError: the datasets differ in layout, one was not written by VIPA, or the target holds something else.
    """
    datasets = [Dataset(source) for source in sources]
    if not datasets:
        raise DatasetError("merge: no dataset")
    for dataset in datasets[1:]:
        if dataset.layout != datasets[0].layout:
            raise DatasetError(f"merge: {dataset.root} has other cameras, sizes, rate or keys than {datasets[0].root}")
    if target.resolve() in {source.resolve() for source in sources}:
        raise DatasetError(f"merge: {target} is one of the sources. Name a new folder")
    episodes = [(dataset, episode) for dataset in datasets for episode in dataset.episodes]
    kept = {dataset.root: _picture_statistics(dataset) for dataset in datasets}
    with DatasetWriter(target, datasets[0].layout) as writer:
        for number, (dataset, episode) in enumerate(episodes):
            if number < len(writer.entries):
                known = writer.entries[number]
                if (known.note, known.length) != (episode.note, episode.length):
                    raise DatasetError(f"merge: {target} holds other episodes already. Name a new folder")
            else:
                writer.add(_copied(dataset, episode, kept[dataset.root][episode.number], writer.new_folder()))
            yield number
        if len(writer.entries) > len(episodes):
            raise DatasetError(f"merge: {target} holds more episodes already. Name a new folder")


def _picture_statistics(dataset: Dataset) -> list[Stats]:
    """Of each episode, as they were counted when its pictures were written."""
    kept = {key: read_statistics(dataset.root, key) for key in dataset.layout.video_keys}
    paths = {place.path for episode in dataset.episodes for place in episode.videos.values()}
    own = len(paths) == len(dataset.episodes) * len(kept)
    if not own or any(len(parts) != len(dataset.episodes) for parts in kept.values()):
        raise DatasetError(f"merge: {dataset.root}: not written by VIPA; its videos cannot be taken over")
    return [as_arrays({key: parts[e.number] for key, parts in kept.items()}) for e in dataset.episodes]


def _copied(dataset: Dataset, episode: EpisodeEntry, pictures: Stats, folder: Path) -> FinishedEpisode:
    layout, schema = dataset.layout, dataset.layout.schema()
    rows = {key: column for key, column in dataset.rows(episode).items() if key not in INDEX_KEYS}
    statistics = {key: vector_statistics(column) for key, column in rows.items()} | pictures
    arrays = {key: to_arrow(column, schema.field(key).type) for key, column in rows.items()}
    try:
        folder.mkdir(parents=True)
        for key in layout.video_keys:
            shutil.copyfile(episode.videos[key].path, folder / f"{key}.mp4")
        pq.write_table(pa.table(arrays), folder / ROWS_FILE)
    except OSError as error:
        raise DatasetError(f"merge: {error.filename or folder}: {error.strerror or error}") from None
    return FinishedEpisode(folder, layout, episode.note, episode.length, statistics)
