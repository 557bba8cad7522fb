"""HOI4D (Liu et al. 2022): one hand and objects of 16 categories, seen by a camera on the head.

Format: github.com/leolyliu/HOI4D-Instructions. Hands and objects are in the camera's frame, in metres; hands are
parameters of manopth without principal components, relative to the flat hand. ``output.log`` is a trajectory as Open3D
writes it: camera to world.
"""

import csv
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vipa_inference.rotations import matrix_from_rotation_vector
from vipa_training.hand3d.clip import Array, Clip, Hand, ManoParameters, Object
from vipa_training.hand3d.errors import Rejection
from vipa_training.hand3d.frames import VideoFile
from vipa_training.hand3d.geometry import inverse, pose_of
from vipa_training.hand3d.joints import SIDES, Side
from vipa_training.hand3d.sources.base import Source, camera_of
from vipa_training.hand3d.unpickling import load_pickle

FPS = 15
SIZE = (1080, 1920)
_OBJECTS = {
    "C1": "toy car", "C2": "mug", "C3": "laptop", "C4": "storage furniture", "C5": "bottle", "C6": "safe", "C7": "bowl",
    "C8": "bucket", "C9": "scissors", "C11": "pliers", "C12": "kettle", "C13": "knife", "C14": "trash can",
    "C17": "lamp", "C18": "stapler", "C20": "chair",
}  # fmt: skip


class Hoi4d(Source):
    """Sequences such as ``ZY20210800001/H1/C1/N19/S100/s02/T1``."""

    name = "HOI4D"
    layout = "HOI4D_release/ZY*/H*/C*/N*/S*/s*/T*/align_rgb/image.mp4"

    def _identifiers(self) -> list[str]:
        release = self.root / "HOI4D_release"
        paths = release.glob("ZY*/H*/C*/N*/S*/s*/T*/align_rgb/image.mp4")
        return [path.parents[1].relative_to(release).as_posix() for path in paths]

    def _read(self, identifier: str) -> Clip:
        annotations = self.root / "HOI4D_annotations" / identifier
        camera, _, category, *_, task = identifier.split("/")
        extrinsics = inverse(read_trajectory(annotations / "3Dseg" / "output.log"))
        count = len(extrinsics)
        hands: dict[Side, Hand | None] = {
            side: _hand(self.root / "handpose" / f"refinehandpose_{side}" / identifier, count) for side in SIDES
        }
        item = _OBJECTS.get(category, "object")
        return Clip(
            identifier,
            self.name,
            identifier,
            VideoFile(self.root / "HOI4D_release" / identifier / "align_rgb" / "image.mp4", range(count), FPS),
            np.arange(count) / FPS,
            camera_of(np.load(self.root / "camera_params" / camera / "intrin.npy"), extrinsics, SIZE),
            {side: hand for side, hand in hands.items() if hand is not None},
            _objects(annotations / "objpose", item, count),
            _text(self.root / "definitions" / "task" / "task_definitions.csv", category, task, item),
        )


def read_trajectory(path: Path) -> Array:
    """Poses (T, 4, 4), camera to world, of a trajectory log: a line of three numbers, then four of a matrix.

    Raises:
        OSError, ValueError: it is missing or broken.
    """
    numbers = [[float(part) for part in line.split()] for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in numbers if row]
    if not rows or len(rows) % 5 or any(len(row) != (3 if at % 5 == 0 else 4) for at, row in enumerate(rows)):
        raise ValueError(f"{path}: no trajectory of poses")
    return np.array([rows[start + 1 : start + 5] for start in range(0, len(rows), 5)])


def _hand(folder: Path, count: int) -> Hand | None:
    paths = {int(path.stem): path for path in folder.glob("*.pickle") if path.stem.isdigit()}
    if not paths:
        return None
    poses, shapes, moves = np.zeros((count, 48)), np.zeros((count, 10)), np.zeros((count, 3))
    valid = np.zeros(count, np.bool_)
    for number, path in paths.items():
        if number >= count:
            raise Rejection(f"a hand in frame {number}, the camera has {count}")
        stored = load_pickle(path)
        poses[number], shapes[number], moves[number] = stored["poseCoeff"], stored["beta"], stored["trans"]
        valid[number] = True
    parameters = ManoParameters(poses[:, :3], poses[:, 3:], shapes, moves, is_flat=True, tips="manopth")
    return Hand(valid, mano=parameters, frame="camera")


def _objects(folder: Path, item: str, count: int) -> tuple[Object, ...]:
    """The parts of the object; the first is the whole, or its base."""
    parts: dict[int, tuple[Array, NDArray[np.bool_]]] = {}
    for path in sorted(folder.glob("*.json")):
        number = int(path.stem)
        if number >= count:
            raise Rejection(f"an object in frame {number}, the camera has {count}")
        stored = json.loads(path.read_text(encoding="utf-8"))
        for part, entry in enumerate(stored.get("dataList", stored.get("objects", ()))):
            poses, valid = parts.setdefault(part, (np.tile(np.eye(4), (count, 1, 1)), np.zeros(count, np.bool_)))
            place = [float(entry["center"][axis]) for axis in "xyz"]
            poses[number] = pose_of(_intrinsic_xyz([float(entry["rotation"][axis]) for axis in "xyz"]), place)
            valid[number] = True
    return tuple(
        Object(f"part {part + 1} of the {item}" if part else item, valid, poses, frame="camera")
        for part, (poses, valid) in parts.items()
    )


def _intrinsic_xyz(angles: list[float]) -> Array:
    """Turns about the body's own x, then y, then z."""
    x, y, z = matrix_from_rotation_vector(np.diag(angles))
    return x @ y @ z


def _text(definitions: Path, category: str, task: str, item: str) -> str:
    if definitions.is_file():
        with definitions.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["Category ID"] == category and row.get(task, "N/A") not in {"N/A", ""}:
                    return f"{item}: {row[task].lower()}"
    return f"use the {item}"
