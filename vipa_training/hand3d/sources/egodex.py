"""EgoDex (Hoque et al. 2025): both hands as a headset tracks them, 800 hours.

Format: one ``.hdf5`` beside each ``.mp4``. All transforms lead to the world, in metres, y up; ``transforms/camera`` is
the camera's, with x right, y down, z forward.
"""

from typing import Any

import numpy as np

from vipa_training.hand3d.clip import Array, Clip, Hand
from vipa_training.hand3d.errors import Hand3DError, Rejection
from vipa_training.hand3d.frames import VideoFile
from vipa_training.hand3d.geometry import inverse
from vipa_training.hand3d.joints import SIDES, Side
from vipa_training.hand3d.sources.base import Source, camera_of, spoken

FPS = 30
SIZE = (1080, 1920)
LEAST_CONFIDENCE = 0.3  # of the wrist
_FINGERS = ("IndexFinger", "MiddleFinger", "RingFinger", "LittleFinger")
_BONES = ("Knuckle", "IntermediateBase", "IntermediateTip", "Tip")


def joint_names(side: Side) -> list[str]:
    """The data set's names of the 21 joints, in the order of ``joints.JOINTS``."""
    fingers = [f"{side}{finger}{bone}" for finger in ("Thumb", *_FINGERS) for bone in _BONES]
    return [f"{side}Hand", *fingers]


class EgoDex(Source):
    """Episodes such as ``part1/add_remove_lid/0``."""

    name = "EgoDex"
    layout = "<part>/<task>/0.hdf5 beside 0.mp4"

    def _identifiers(self) -> list[str]:
        return [path.relative_to(self.root).with_suffix("").as_posix() for path in self.root.rglob("*.hdf5")]

    def _read(self, identifier: str) -> Clip:
        try:
            import h5py
        except ImportError:
            raise Hand3DError("EgoDex: needs the package h5py. Install it with: pip install h5py") from None
        path = self.root / f"{identifier}.hdf5"
        with h5py.File(path, "r") as file:
            to_world = np.asarray(file["transforms/camera"], np.float64)
            hands: dict[Side, Hand] = {side: _hand(file, side) for side in SIDES}
            intrinsics = np.asarray(file["camera/intrinsic"], np.float64)
            text = _text(file.attrs)
        for side, hand in hands.items():
            if len(hand.valid) != len(to_world):
                raise Rejection(f"{side} hand: {len(hand.valid)} frames, the camera has {len(to_world)}")
        count = len(to_world)
        return Clip(
            identifier,
            self.name,
            identifier,
            VideoFile(path.with_suffix(".mp4"), range(count), FPS),
            np.arange(count) / FPS,
            camera_of(intrinsics, inverse(to_world), SIZE),
            hands,
            text=text or spoken(path.parent.name),
        )


def _hand(file: Any, side: Side) -> Hand:
    joints: Array = np.stack([np.asarray(file[f"transforms/{name}"])[:, :3, 3] for name in joint_names(side)], axis=1)
    key = f"confidences/{side}Hand"
    sure = np.asarray(file[key]) >= LEAST_CONFIDENCE if key in file else np.ones(len(joints), np.bool_)
    return Hand(sure, joints.astype(np.float64))


def _text(attributes: Any) -> str:
    """The description that belongs to this episode; tasks that can be undone have two."""
    which = str(attributes.get("which_llm_description", "1"))
    chosen = attributes.get("llm_description2") if which == "2" else attributes.get("llm_description")
    return " ".join(str(chosen or "").split()).rstrip(".")
