"""ARCTIC (Fan et al. 2023): both hands and an articulated object by motion capture, seen by a head camera.

Format: github.com/zc-alexfan/arctic, docs/data. The world is that of the motion capture, in metres; objects are in
millimetres. The head camera's lens bends lines (``dist8``); joints are projected without that.
"""

import json
import re
from typing import Any

import numpy as np

from vipa_inference.rotations import matrix_from_rotation_vector
from vipa_training.hand3d.clip import Clip, Hand, ManoParameters, Object
from vipa_training.hand3d.errors import Rejection
from vipa_training.hand3d.frames import ImageFiles
from vipa_training.hand3d.geometry import pose_of
from vipa_training.hand3d.joints import SIDES
from vipa_training.hand3d.sources.base import Source, camera_of, spoken
from vipa_training.hand3d.unpickling import load_array

FPS = 30
HEAD_VIEW = 0  # folder of the head camera's pictures


class Arctic(Source):
    """Sequences such as ``s01/box_grab_01``."""

    name = "ARCTIC"
    layout = "raw_seqs/s01/box_grab_01.mano.npy"

    def _identifiers(self) -> list[str]:
        paths = (self.root / "raw_seqs").glob("s*/*.mano.npy")
        return [f"{path.parent.name}/{path.name.removesuffix('.mano.npy')}" for path in paths]

    def _read(self, identifier: str) -> Clip:
        subject, sequence = identifier.split("/")
        stem = self.root / "raw_seqs" / subject / sequence
        hands = load_array(stem.with_name(f"{sequence}.mano.npy"))
        head = load_array(stem.with_name(f"{sequence}.egocam.dist.npy"))
        moves = np.asarray(load_array(stem.with_name(f"{sequence}.object.npy")), np.float64)
        extrinsics = pose_of(head["R_k_cam_np"], np.asarray(head["T_k_cam_np"]).reshape(-1, 3))
        count = len(extrinsics)
        if not len(moves) == count == len(hands["right"]["rot"]):
            raise Rejection(f"{len(hands['right']['rot'])} hands, {len(moves)} objects, {count} cameras")
        misc = json.loads((self.root / "meta" / "misc.json").read_text(encoding="utf-8"))[subject]
        folder = self.root / "images" / subject / sequence / str(HEAD_VIEW)
        width, height = misc["image_size"][HEAD_VIEW]
        numbers = np.arange(count) + int(misc["ioi_offset"])
        item = sequence.split("_")[0]
        poses = pose_of(matrix_from_rotation_vector(moves[:, 1:4]), moves[:, 4:7] / 1000.0)
        return Clip(
            identifier,
            self.name,
            identifier,
            ImageFiles([folder / f"{number:05d}.jpg" for number in numbers]),
            np.arange(count) / FPS,
            camera_of(np.asarray(head["intrinsics"]), extrinsics, (height, width)),
            {side: _hand(hands[side]) for side in SIDES},
            (Object(spoken(item), np.ones(count, np.bool_), poses),),
            _text(sequence),
        )


def _hand(stored: dict[str, Any]) -> Hand:
    count = len(stored["rot"])
    shape = np.broadcast_to(np.asarray(stored["shape"], np.float64).reshape(-1, 10), (count, 10))
    rotation, pose, translation = (np.asarray(stored[name], np.float64) for name in ("rot", "pose", "trans"))
    parameters = ManoParameters(rotation, pose, shape, translation)
    return Hand(np.all(np.isfinite(np.concatenate([rotation, pose, translation], axis=1)), axis=1), mano=parameters)


def _text(sequence: str) -> str:
    match = re.fullmatch(r"([a-z]+)_([a-z]+)_\d+(?:_retake)?", sequence)
    return f"{match[2]} the {match[1]}" if match else spoken(sequence)
