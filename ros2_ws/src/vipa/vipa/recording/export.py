"""A recorded episode as rows for training: found, completed where a crash cut it off, aligned, with its marks."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vipa.errors import VipaError
from vipa.lab import LabConfig
from vipa.recording.alignment import AlignConfig, AlignedEpisode, align
from vipa.recording.frames import FrameSource, Image
from vipa.recording.recorded import RecordedEpisode, open_episode, read_recorded
from vipa.recording.store import Listed, RecordingStore, list_episodes
from vipa.trials.result import TrialResult

TRIAL_NAME = re.compile(r"(?P<scene>.+)-(?P<seed>\d+)")  # how the trial node names a trial
_OUTCOMES = {"succeeded": "success", "failed": "failure", "aborted": "failure", "time_limit": "failure"}


@dataclass(frozen=True)
class ExportConfig:
    """How recordings become rows.

    Attributes:
        align: see ``AlignConfig``.
        longer_side: px of the pictures; 0: as they were recorded.
        failures: use episodes that failed, too.
        instruction: instead of the one of each recording; empty: theirs.
    """

    align: AlignConfig = field(default_factory=AlignConfig)
    longer_side: int = 224
    failures: bool = False
    instruction: str = ""

    def __post_init__(self) -> None:
        if self.longer_side < 0 or self.longer_side == 1:
            raise ValueError(f"longer_side: {self.longer_side} px")


@dataclass(frozen=True)
class Marks:
    """What is known of an episode beside its rows; see ``vipa_training.data.episode.EpisodeNote``."""

    task: str
    outcome: str
    seed: int | None
    variant: str
    scene: str
    policy: str
    sub_tasks: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class ExportedEpisode:
    """An episode that can be used.

    Attributes:
        recorded: what is in its file.
        aligned: its rows, without pictures.
        marks: what is known of it.
        source: of the pictures.
    """

    recorded: RecordedEpisode
    aligned: AlignedEpisode
    marks: Marks
    source: FrameSource

    def pictures(self) -> Iterator[dict[str, Image]]:
        """The pictures of each row, by camera.

        Raises:
            VipaError: one cannot be decoded.
        """
        return self.source.rows()

    def report(self) -> dict[str, float]:
        """The figures of the alignment; complete once all pictures were read."""
        frozen = {f"{camera}_same_picture": float(count) for camera, count in self.source.frozen.items()}
        return {**self.aligned.report, **frozen}


def recordings(folder: Path) -> list[Listed]:
    """All episodes of a folder, or the one that it is; those that a crash cut off are completed first.

    Raises:
        VipaError: there is no such folder, or a recorder writes to it.
    """
    single = folder if (folder / f"{folder.name}_0.mcap").exists() else None
    parent = folder.parent if single else folder
    listed = list_episodes(parent)
    if any(entry.episode is None and single in (None, entry.folder) for entry in listed):
        store = RecordingStore(parent)
        try:
            store.recover()
        finally:
            store.close()
        listed = list_episodes(parent)
    return [entry for entry in listed if single in (None, entry.folder)]


def recording_id(folder: Path) -> str:
    """What tells a recording from those of other folders: its name, and the ROS time (ns) of its first message.

    Raises:
        VipaError: its file cannot be read.
    """
    with open_episode(folder) as reader:
        return f"{folder.name}@{reader.get_summary().statistics.message_start_time}"


def export_episode(
    listed: Listed, config: ExportConfig, lab: LabConfig | None = None, results: Sequence[TrialResult] = ()
) -> ExportedEpisode:
    """Make an episode ready for training.

    Args:
        listed: as ``recordings`` gives it.
        config: how.
        lab: instead of the one that was attached to the recording.
        results: of trials; one that began during the episode tells its seed, variant, policy and outcome.

    Raises:
        VipaError: the episode cannot be used; the message says why.
    """
    if listed.episode is None:
        raise VipaError(f"{listed.folder.name}: {listed.problem}")
    if not listed.episode.messages:
        raise VipaError(f"{listed.folder.name}: is empty")
    recorded = read_recorded(listed.folder)
    aligned = align(recorded, config.align, lab)
    marks = _marks(recorded, aligned, config.instruction, results)
    if marks.outcome == "failure" and not config.failures:
        raise VipaError(f"{listed.folder.name}: failed; it is left out (--failures takes it)")
    if not marks.task:
        raise VipaError(f"{listed.folder.name}: has no instruction. Name one with --instruction")
    source = FrameSource(recorded, aligned.exposures_ns, config.longer_side)
    return ExportedEpisode(recorded, aligned, marks, source)


def _marks(
    recorded: RecordedEpisode, aligned: AlignedEpisode, instruction: str, results: Sequence[TrialResult]
) -> Marks:
    begin, end = int(aligned.times_ns[0]), int(aligned.times_ns[-1])
    sub_tasks: list[tuple[str, float]] = []
    outcome, scene, seed, variant, policy = str(recorded.bag.outcome), "", None, "", recorded.policy
    for moment in recorded.moments:
        if moment.kind in ("sub_task", "sub_task_done"):
            sub_tasks.append((moment.text, (moment.time_ns - begin) * 1e-9))
        match = TRIAL_NAME.fullmatch(moment.trial)
        if match is not None and not moment.trial.startswith("episode_"):
            scene, seed = match["scene"], int(match["seed"])
            outcome = outcome or _OUTCOMES.get(moment.kind, "")
    for result in results:
        if begin - 60_000_000_000 <= result.start_ns <= end and result.recording in (None, recorded.folder.name):
            scene, seed, variant, policy = result.task, result.seed, result.variant, result.policy
            outcome = outcome or ("success" if result.succeeded else "failure")
    task = instruction or recorded.bag.instruction
    return Marks(task, outcome, seed, variant, scene, policy, tuple(sub_tasks))


def describe(report: Mapping[str, float], cameras: Sequence[str]) -> str:
    """One line for a person."""
    parts = [f"{report['rows']:.0f} rows"]
    for camera in cameras:
        off = f"{report[f'{camera}_off_mean_ms']:.1f} ms off on average, {report[f'{camera}_off_max_ms']:.1f} at most"
        counts = f"{report[f'{camera}_missing']:.0f} missing, {report[f'{camera}_repeated']:.0f} repeated"
        parts.append(f"{camera} {off}, {counts}")
    if report["dropped"]:
        parts.append(f"{report['dropped']:.0f} messages had been dropped")
    return "; ".join(parts)
