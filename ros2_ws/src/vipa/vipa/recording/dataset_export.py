"""Recordings into a dataset; what is in it already is left out, so that a cut-off export goes on."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vipa.errors import VipaError
from vipa.lab import LabConfig
from vipa.recording.export import ExportConfig, ExportedEpisode, describe, export_episode, recording_id
from vipa.recording.frames import Image
from vipa.recording.store import Listed
from vipa.trials.result import TrialResult
from vipa_training.data.episode import EpisodeNote, Row
from vipa_training.data.errors import DatasetError
from vipa_training.data.format import INFO, Layout
from vipa_training.data.reader import read_layout
from vipa_training.data.writer import DatasetWriter

Pictures = dict[str, Image]


@dataclass
class Exported:
    """What became of some recordings.

    Attributes:
        episodes: figures of each that was written, by the name of its recording.
        refused: why, by the name of the recording.
        known: how many were in the dataset already.
    """

    episodes: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    refused: dict[str, str] = field(default_factory=dict[str, str])
    known: int = 0


def export_recordings(
    listed: Sequence[Listed],
    target: Path,
    config: ExportConfig,
    lab: LabConfig | None = None,
    results: Sequence[TrialResult] = (),
    say: Callable[[str], None] = print,
) -> Exported:
    """Write recordings into a dataset, new or begun; those that cannot be used are told and left out.

    Args:
        listed: the recordings.
        target: the dataset.
        config: see ``ExportConfig``.
        lab: instead of the one attached to each recording.
        results: of trials, see ``export_episode``.
        say: told one line for each.

    Raises:
        DatasetError: the dataset cannot be written.
    """
    outcome = Exported()
    writer = DatasetWriter(target, read_layout(target)) if (target / INFO).exists() else None
    known = {entry.note.recording for entry in writer.entries} if writer is not None else set[str]()
    try:
        for entry in listed:
            name = entry.folder.name
            try:
                if recording_id(entry.folder) in known:
                    outcome.known += 1
                    continue
                episode = export_episode(entry, config, lab, results)
                pictures = episode.pictures()
                first = next(pictures)
                layout = _layout(first, config)
                if writer is None:
                    writer = DatasetWriter(target, layout)
                if layout != writer.layout:
                    raise VipaError(f"{name}: its cameras, their sizes or the rate are not those of {target}")
                outcome.episodes[name] = _write(episode, itertools.chain([first], pictures), writer)
                say(f"{name}: {describe(episode.report(), list(episode.aligned.exposures_ns))}")
            except VipaError as error:
                outcome.refused[name] = str(error)
                say(f"not exported: {error}")
    finally:
        if writer is not None:
            writer.close()
    return outcome


def _layout(pictures: Pictures, config: ExportConfig) -> Layout:
    sizes = {camera: (image.shape[0], image.shape[1]) for camera, image in pictures.items()}
    return Layout.of_cameras(config.align.rate, sizes)


def _rows(episode: ExportedEpisode, pictures: Iterable[Pictures]) -> Iterator[Row]:
    aligned = episode.aligned
    for k, images in enumerate(pictures):
        yield Row(
            time_ns=int(aligned.times_ns[k]),
            exposures_ns={camera: int(stamps[k]) for camera, stamps in aligned.exposures_ns.items()},
            images=images,
            state=aligned.states[k],
            target_pose=aligned.target_poses[k],
            target_hand=aligned.target_hand[k],
        )


def _write(episode: ExportedEpisode, pictures: Iterable[Pictures], writer: DatasetWriter) -> dict[str, float]:
    marks = episode.marks
    builder = writer.begin()
    try:
        for row in _rows(episode, pictures):
            builder.add(row)
    except (VipaError, DatasetError):
        builder.discard()
        raise
    report = episode.report()
    note = EpisodeNote(
        task=marks.task,
        outcome=marks.outcome,
        seed=marks.seed,
        variant=marks.variant,
        scene=marks.scene,
        policy=marks.policy,
        recording=recording_id(episode.recorded.folder),
        sub_tasks=marks.sub_tasks,
        alignment=report,
    )
    writer.add(builder.finish(note))
    return report
