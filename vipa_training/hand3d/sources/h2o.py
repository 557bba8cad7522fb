"""H2O (Kwon et al. 2021): both hands and an object, seen by a head camera and four fixed ones.

Format: github.com/taeinkwon/h2odataset. Hands and objects are in the camera's frame, in metres; ``cam_pose`` leads from
the camera to the world. The joints are taken as they are given.
"""

from pathlib import Path

import numpy as np

from vipa_training.hand3d.clip import Array, Clip, Hand, Object
from vipa_training.hand3d.errors import Rejection
from vipa_training.hand3d.frames import ImageFiles
from vipa_training.hand3d.geometry import intrinsics_of, inverse
from vipa_training.hand3d.sources.base import Source, camera_of, load_table

FPS = 30
HEAD_CAMERA = "cam4"
OBJECTS = ("", "book", "espresso", "lotion", "spray", "milk", "cocoa", "chips", "cappuccino")
_ACTIONS = (
    "", "grab book", "grab espresso", "grab lotion", "grab spray", "grab milk", "grab cocoa", "grab chips",
    "grab cappuccino", "place book", "place espresso", "place lotion", "place spray", "place milk", "place cocoa",
    "place chips", "place cappuccino", "open lotion", "open milk", "open chips", "close lotion", "close milk",
    "close chips", "pour milk", "take out espresso", "take out cocoa", "take out chips", "take out cappuccino",
    "put in espresso", "put in cocoa", "put in cappuccino", "apply lotion", "apply spray", "read book", "read espresso",
    "spray spray", "squeeze lotion",
)  # fmt: skip


class H2o(Source):
    """The head camera's view of sequences such as ``subject1/h1/0``."""

    name = "H2O"
    layout = "subject1/h1/0/cam4/hand_pose/000000.txt"

    def _identifiers(self) -> list[str]:
        paths = self.root.glob(f"subject*/*/*/{HEAD_CAMERA}/hand_pose")
        return [path.parents[1].relative_to(self.root).as_posix() for path in paths]

    def _read(self, identifier: str) -> Clip:
        folder = self.root / identifier / HEAD_CAMERA
        numbers = sorted(path.stem for path in (folder / "hand_pose").glob("*.txt"))
        hands = _rows(folder / "hand_pose", numbers, 128)
        poses = _rows(folder / "cam_pose", numbers, 16).reshape(-1, 4, 4)
        fx, fy, cx, cy, width, height = load_table(folder / "cam_intrinsics.txt").ravel()
        pictures = {path.stem: path for path in (folder / "rgb").glob("*.*")}
        left, right = hands[:, :64], hands[:, 64:]
        return Clip(
            identifier,
            self.name,
            identifier,
            ImageFiles([pictures.get(number, folder / "rgb" / f"{number}.png") for number in numbers]),
            (np.array([int(number) for number in numbers]) - int(numbers[0])) / FPS,
            camera_of(intrinsics_of(fx, fy, cx, cy), inverse(poses), (int(height), int(width))),
            {"left": _hand(left), "right": _hand(right)},
            _objects(folder / "obj_pose_RT", numbers),
            _text(folder / "action_label", numbers),
        )


def _hand(rows: Array) -> Hand:
    """One hand of lines (T, 64): whether it is known, then its joints."""
    return Hand(rows[:, 0] > 0.5, rows[:, 1:].reshape(-1, 21, 3), frame="camera")


def _rows(folder: Path, numbers: list[str], width: int) -> Array:
    """One line of numbers (T, width) of each frame's file."""
    if not numbers:
        raise Rejection(f"{folder.parent}: no frames")
    rows = [load_table(folder / f"{number}.txt").ravel() for number in numbers]
    for number, row in zip(numbers, rows, strict=True):
        if len(row) != width:
            raise Rejection(f"{folder / number}.txt: {len(row)} numbers, expected {width}")
    return np.array(rows)


def _objects(folder: Path, numbers: list[str]) -> tuple[Object, ...]:
    if not folder.is_dir():
        return ()
    rows = _rows(folder, numbers, 17)
    kinds = rows[:, 0].astype(np.int64)
    poses = rows[:, 1:].reshape(-1, 4, 4)
    return tuple(
        Object(OBJECTS[kind], kinds == kind, poses, frame="camera")
        for kind in sorted(set(kinds.tolist()))
        if 0 < kind < len(OBJECTS)
    )


def _text(folder: Path, numbers: list[str]) -> str:
    """The actions of the sequence, in order."""
    if not folder.is_dir():
        return ""
    labels = _rows(folder, numbers, 1)[:, 0].astype(np.int64).tolist()
    named = [_ACTIONS[label] for label in labels if 0 < label < len(_ACTIONS)]
    return ", then ".join(name for at, name in enumerate(named) if at == 0 or named[at - 1] != name)
