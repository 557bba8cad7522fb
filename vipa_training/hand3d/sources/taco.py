"""TACO (Liu et al. 2024): two hands with a tool and a target by motion capture, seen by a head camera.

Format: github.com/leolyliu/TACO-Instructions. All in metres; hands are parameters of manopth relative to the flat hand,
with the wrist at the translation. Folders are named after action, tool and target, such as ``(stir, spoon, bowl)``.
"""

from pathlib import Path

import numpy as np

from vipa_training.hand3d.clip import Clip, Hand, ManoParameters, Object
from vipa_training.hand3d.errors import Rejection
from vipa_training.hand3d.frames import VideoFile
from vipa_training.hand3d.joints import SIDES, Side
from vipa_training.hand3d.sources.base import Source, camera_of, load_table
from vipa_training.hand3d.unpickling import load_array, load_pickle

FPS = 30
SIZE = (1080, 1920)


class Taco(Source):
    """The head camera's view of sequences such as ``(stir, spoon, bowl)/20231105_019``."""

    name = "TACO"
    layout = "Hand_Poses/(stir, spoon, bowl)/20231105_019/right_hand.pkl"

    def _identifiers(self) -> list[str]:
        folder = self.root / "Hand_Poses"
        return [path.parent.relative_to(folder).as_posix() for path in folder.glob("*/*/right_hand.pkl")]

    def _read(self, identifier: str) -> Clip:
        camera = self.root / "Egocentric_Camera_Parameters" / identifier
        extrinsics = np.asarray(load_array(camera / "egocentric_frame_extrinsic.npy"), np.float64)
        count = len(extrinsics)
        action, tool, target = (part.strip() for part in identifier.split("/", maxsplit=1)[0].strip("()").split(","))
        return Clip(
            identifier,
            self.name,
            identifier,
            VideoFile(self.root / "Egocentric_RGB_Videos" / identifier / "color.mp4", range(count), FPS),
            np.arange(count) / FPS,
            camera_of(load_table(camera / "egocentric_intrinsic.txt").reshape(3, 3), extrinsics, SIZE),
            {side: _hand(self.root / "Hand_Poses" / identifier, side, count) for side in SIDES},
            _objects(self.root / "Object_Poses" / identifier, {"tool": tool, "target": target}, count),
            f"{action} the {target} with the {tool}",
        )


def _hand(folder: Path, side: Side, count: int) -> Hand:
    stored = load_pickle(folder / f"{side}_hand.pkl")
    keys = sorted(stored)
    if len(keys) != count:
        raise Rejection(f"{side} hand: {len(keys)} frames, the camera has {count}")
    poses, moves = (np.array([stored[key][name] for key in keys], np.float64) for name in ("hand_pose", "hand_trans"))
    shape_file = folder / f"{side}_hand_shape.pkl"
    shape = np.asarray(load_pickle(shape_file)["hand_shape"], np.float64) if shape_file.is_file() else np.zeros(10)
    parameters = ManoParameters(
        poses.reshape(count, 48)[:, :3],
        poses.reshape(count, 48)[:, 3:],
        np.tile(shape.reshape(1, 10), (count, 1)),
        moves.reshape(count, 3),
        is_flat=True,
        is_wrist_centred=True,
        tips="manopth",
    )
    return Hand(np.ones(count, np.bool_), mano=parameters)


def _objects(folder: Path, names: dict[str, str], count: int) -> tuple[Object, ...]:
    found: list[Object] = []
    for role, name in names.items():
        for path in sorted(folder.glob(f"{role}_*.npy")):
            poses = np.asarray(load_array(path), np.float64)
            if len(poses) != count:
                raise Rejection(f"{name}: {len(poses)} frames, the camera has {count}")
            found.append(Object(name, np.ones(count, np.bool_), poses))
    return tuple(found)
