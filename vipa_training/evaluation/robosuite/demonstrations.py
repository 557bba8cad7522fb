"""Demonstrations in robomimic's HDF5 files, as LIBERO and RoboCasa publish them, as a dataset for post-training."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vipa_inference.processing import proprioception_vector
from vipa_training.data.episode import EpisodeNote, Row
from vipa_training.data.errors import DatasetError
from vipa_training.data.format import Layout
from vipa_training.data.writer import DatasetWriter
from vipa_training.evaluation.robosuite.actions import hand_of_fingers, target_of_action
from vipa_training.evaluation.robosuite.geometry import STEP_NS

Array = NDArray[np.float64]
Group = Any  # of h5py, which ships no types
Say = Callable[[str], None]

NO_OP = 1e-4
"""A step shorter than this does nothing (OpenVLA)."""


class UnusableError(Exception):
    """A demonstration that is left out; the message says why."""


@dataclass(frozen=True)
class Demonstration:
    """N rows of 50 ms: what was seen, and the action that followed.

    Attributes:
        instruction: what the robot shall do.
        scene: name of the task.
        pictures: (N, height, width, 3) of each camera, as the policy shall see them.
        poses: (N, 4, 4) of the end effector in a frame with the axes of the base, whose actions these are, m.
        joints: (N, 7) rad.
        fingers: (N, 2) of the gripper, m.
        actions: (N, 7) see ``actions``.
    """

    instruction: str
    scene: str
    pictures: Mapping[str, NDArray[np.uint8]]
    poses: Array
    joints: Array
    fingers: Array
    actions: Array

    def at(self, rows: NDArray[np.bool_]) -> "Demonstration":
        """Some of the rows only."""
        pictures = {name: images[rows] for name, images in self.pictures.items()}
        kept = {name: getattr(self, name)[rows] for name in ("poses", "joints", "fingers", "actions")}
        return replace(self, pictures=pictures, **kept)


@dataclass
class Imported:
    """What an import did.

    Attributes:
        episodes: that were written.
        rows: of them.
        no_ops: rows that were left out, for their actions do nothing.
        known: demonstrations that the dataset had already.
        refused: why others were left out, by file and demonstration.
    """

    episodes: int = 0
    rows: int = 0
    no_ops: int = 0
    known: int = 0
    refused: dict[str, str] = field(default_factory=dict[str, str])


def does_something(actions: Array) -> NDArray[np.bool_]:
    """Which of the actions (N, 7) move the arm, or the gripper other than the last action that was kept did.

    Rows in which nobody did anything teach a policy to do nothing; OpenVLA, and with it openpi, leave them out.
    """
    kept = np.zeros(len(actions), dtype=np.bool_)
    gripper: float | None = None
    for number, action in enumerate(actions):
        kept[number] = np.linalg.norm(action[:-1]) >= NO_OP or (gripper is not None and action[-1] != gripper)
        if kept[number]:
            gripper = float(action[-1])
    return kept


def rows_of(demonstration: Demonstration) -> Iterator[Row]:
    """The rows of an episode; the target of each is what its action means where the arm is then."""
    hands = hand_of_fingers(demonstration.fingers)
    states = proprioception_vector(demonstration.poses, demonstration.joints, hands)
    for number, (state, pose, action) in enumerate(
        zip(states, demonstration.poses, demonstration.actions, strict=True)
    ):
        target, hand = target_of_action(np.clip(action, -1.0, 1.0), pose)  # the controller clips, too
        images = {name: seen[number] for name, seen in demonstration.pictures.items()}
        time_ns = (number + 1) * STEP_NS
        yield Row(time_ns, dict.fromkeys(images, time_ns), images, state, target, hand)


def import_demonstrations(
    source: Path, out: Path, read: Callable[[Path, Group], Demonstration], keep_no_ops: bool, say: Say
) -> Imported:
    """Write all demonstrations of HDF5 files into a dataset, new or begun; those that it has are left alone.

    Args:
        source: a file, or a folder that is searched for files.
        out: folder of the dataset.
        read: a demonstration of a file; raises UnusableError.
        keep_no_ops: whether rows whose action does nothing stay.
        say: tells what is done.

    Raises:
        DatasetError: there is no file, or the dataset cannot be written.
        ModuleNotFoundError: h5py is missing.
    """
    import h5py

    files = [source] if source.is_file() else sorted(source.rglob("*.hdf5"))
    if not files:
        raise DatasetError(f"{source}: holds no *.hdf5. Name the folder of the demonstrations that you downloaded")
    done, writer = Imported(), None
    try:
        for path in files:
            where, before = Path(*path.resolve().parts[-4:]).as_posix(), done.episodes
            try:
                with h5py.File(path) as file:
                    demos: Group = file["data"]
                    for name in sorted(demos, key=_number):
                        identifier = f"{where} {name}"
                        if writer is not None and _has(writer, identifier):
                            done.known += 1
                            continue
                        try:
                            found = read(path, demos[name])
                            writer = writer or DatasetWriter(out, _layout(found))
                            if _has(writer, identifier):
                                done.known += 1
                                continue
                            _add(writer, found, identifier, keep_no_ops, done)
                        except (UnusableError, KeyError, ValueError, IndexError) as error:
                            done.refused[identifier] = _reason(error)
            except (OSError, KeyError) as error:
                done.refused[where] = _reason(error)
            say(f"{where}: {done.episodes - before} episodes")
    finally:
        if writer is not None:
            writer.close()
    return done


def numbers(group: Group, key: str, columns: int, rows: int | None = None) -> Array:
    """Values (N, columns) of an HDF5 group.

    Raises:
        UnusableError: they have another shape, or are not finite.
        KeyError: there are none.
    """
    values = np.asarray(group[key], dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != columns or (rows is not None and len(values) != rows):
        raise UnusableError(f"{key}: has the shape {values.shape}, expected ({rows or 'N'}, {columns})")
    if not np.isfinite(values).all():
        raise UnusableError(f"{key}: is not finite")
    return values


def pictures(group: Group, key: str, rows: int) -> NDArray[np.uint8]:
    """Pictures (N, height, width, 3) of an HDF5 group.

    Raises:
        UnusableError: they are none.
        KeyError: there are none: the file holds states only.
    """
    images = np.asarray(group[key])
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or len(images) != rows:
        raise UnusableError(f"{key}: {images.dtype} {images.shape}, expected uint8 ({rows}, height, width, 3)")
    return images


def _add(writer: DatasetWriter, found: Demonstration, name: str, keep_no_ops: bool, done: Imported) -> None:
    kept = np.ones(len(found.actions), np.bool_) if keep_no_ops else does_something(found.actions)
    if not kept.any():
        raise UnusableError("no action does anything")
    builder = writer.begin()
    try:
        for row in rows_of(found.at(kept)):
            builder.add(row)
        note = EpisodeNote(found.instruction, "success", scene=found.scene, policy="human", recording=name)
        writer.add(builder.finish(note))
    except BaseException:
        builder.discard()
        raise
    done.episodes, done.rows = done.episodes + 1, done.rows + int(kept.sum())
    done.no_ops += int((~kept).sum())


def _layout(found: Demonstration) -> Layout:
    sizes = {name: (seen.shape[1], seen.shape[2]) for name, seen in found.pictures.items()}
    return Layout.of_cameras(1e9 / STEP_NS, sizes)


def _has(writer: DatasetWriter, name: str) -> bool:
    return any(entry.note.recording == name for entry in writer.entries)


def _number(name: str) -> tuple[int, str]:
    digits = name.rpartition("_")[2]
    return (int(digits) if digits.isdigit() else -1, name)


def _reason(error: Exception) -> str:
    text = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
    return f"lacks something: {text}" if isinstance(error, KeyError) else text or type(error).__name__
