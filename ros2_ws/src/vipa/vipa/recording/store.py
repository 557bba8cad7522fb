"""The folder of all episodes: numbering, one recorder at a time, list, discard, recovery."""

import fcntl
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from vipa.errors import ConfigurationError, VipaError
from vipa.recording import reserve
from vipa.recording.bag import FILE_NAME, Episode, frames_of, mcap_name, read_bag, write_bag
from vipa.recording.episode_writer import METADATA_NAME
from vipa.recording.events import Event, outcome_of, warnings_of
from vipa.recording.recovery import Repair as FileRepair
from vipa.recording.recovery import complete
from vipa.trials.journal import sync_folder

DISCARDED = "discarded"
_NAME = re.compile(r"episode_(\d{6,})")


@dataclass(frozen=True)
class Listed:
    """An episode's folder, and what is in it; None and why where it was cut off or damaged."""

    folder: Path
    episode: Episode | None
    problem: str = ""


@dataclass(frozen=True)
class Recovered:
    """A cut-off episode that was completed.

    Attributes:
        episode: what it has.
        removed: bytes of a torn chunk that were removed.
        kept_aside: where damaged bytes were kept; None where there were none.
    """

    episode: Episode
    removed: int
    kept_aside: Path | None


@dataclass(frozen=True)
class Recovery:
    """What became of the cut-off episodes of a folder.

    Attributes:
        recovered: those that were completed.
        problems: one line for each that could not be.
    """

    recovered: tuple[Recovered, ...]
    problems: tuple[str, ...]


class RecordingStore:
    """The folder, for one recorder alone; the lock ends with the process, however that ends.

    Args:
        folder: of all episodes; made where it is missing.

    Raises:
        VipaError: it cannot be written, or another recorder has it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / ".lock").open("a+")
        except OSError as error:
            raise VipaError(
                f"recordings {folder}: cannot be written: {error.strerror}. Name another folder, or give permission"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.seek(0)
            owner = self._lock.read().strip()
            self._lock.close()
            raise VipaError(
                f"recordings {folder}: another recorder ({owner or 'unknown process'}) writes there. "
                "End it, or name another folder"
            ) from None
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()}")
        self._lock.flush()

    def close(self) -> None:
        """Let another recorder use the folder."""
        self._lock.close()

    def next_folder(self) -> Path:
        """Where the next episode goes: numbers are never used again, not even those of discarded episodes."""
        names = [p.name for folder in (self.folder, self.folder / DISCARDED) for p in _entries(folder)]
        numbers = [int(match[1]) for match in map(_NAME.fullmatch, names) if match]
        return self.folder / f"episode_{max(numbers, default=0) + 1:06d}"

    def discard(self, name: str) -> Path:
        """Move an episode to the folder of discarded ones, from where a person may delete or restore it.

        Raises:
            VipaError: there is no such episode, or it cannot be moved.
        """
        target = self.folder / DISCARDED / name
        try:
            target.parent.mkdir(exist_ok=True)
            (self.folder / name).rename(target)
            sync_folder(self.folder)
        except OSError as error:
            raise VipaError(f"recordings {self.folder}: {name} cannot be discarded: {error.strerror}") from None
        return target

    def recover(self) -> Recovery:
        """Complete every episode that a crash cut off; finished ones are not touched."""
        for leftover in self.folder.glob(".episode_*.new"):  # begun, but without a message
            shutil.rmtree(leftover, ignore_errors=True)
        cut_off = [folder for folder in episode_folders(self.folder) if not (folder / FILE_NAME).exists()]
        recovered: list[Recovered] = []
        problems: list[str] = []
        for folder in cut_off:
            try:
                recovered.append(recover_episode(folder))
            except VipaError as error:
                problems.append(str(error))
        return Recovery(tuple(recovered), tuple(problems))


def episode_folders(folder: Path) -> list[Path]:
    """The folders of all episodes but the discarded, in the order of their numbers."""
    found = [path for path in _entries(folder) if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name.rpartition("_")[2]))


def list_episodes(folder: Path) -> list[Listed]:
    """What is in a folder of recordings.

    Raises:
        ConfigurationError: there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"recordings {folder}: no such folder")
    return [_listed(path) for path in episode_folders(folder)]


def recover_episode(folder: Path) -> Recovered:
    """Complete the file of a cut-off episode and write its ``metadata.yaml``.

    Raises:
        VipaError: the file is missing, or cannot be read or written.
    """
    path = folder / mcap_name(folder.name)
    try:
        reserve.release(folder)
        repair = complete(path)
        size = path.stat().st_size
    except OSError as error:
        raise VipaError(f"{path}: cannot be recovered: {error.strerror}") from None
    index = repair.scan.index
    events = _events(repair)
    warnings = (*warnings_of(events), *_damage(repair))
    episode = Episode(
        name=folder.name,
        instruction=repair.scan.metadata.get(METADATA_NAME, {}).get("instruction", ""),
        outcome=outcome_of(events),
        ended="stopped" if any(event.kind == "stopped" for event in events) else "cut off",
        duration=(index.end_ns - index.start_ns) * 1e-9,
        messages=index.message_count,
        frames=frames_of(index),
        file_size=size,
        warnings=warnings,
        recovered=True,
    )
    write_bag(folder, index, episode)
    return Recovered(episode, repair.removed, repair.kept_aside)


def _damage(repair: FileRepair) -> tuple[str, ...]:
    if repair.kept_aside is None:
        return ()
    return (f"the file was damaged: {repair.removed} bytes were moved to {repair.kept_aside.name}",)


def _events(repair: FileRepair) -> list[Event]:
    events: list[Event] = []
    for payload in repair.scan.events:
        try:
            events.append(Event.read(payload))
        except ValueError:  # of another program's recorder
            continue
    return events


def _listed(folder: Path) -> Listed:
    if not (folder / FILE_NAME).exists():
        advice = f"not ended: it is being recorded, or was cut off; then: vipa record recover {folder.parent}"
        return Listed(folder, None, advice)
    try:
        return Listed(folder, read_bag(folder))
    except ConfigurationError as error:
        return Listed(folder, None, str(error))


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
