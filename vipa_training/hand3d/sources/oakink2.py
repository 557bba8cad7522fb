"""OakInk2 (Zhan et al. 2024): both hands and objects of long tasks by motion capture, seen by four cameras.

Format: github.com/oakink/OakInk2. Motion capture runs at 120 frames a second, pictures at 30; both are numbered by
motion capture. Hands are quaternions w, x, y, z relative to the flat hand, with the wrist at the translation.
"""

import ast
import json
from typing import Any

import numpy as np

from vipa_inference.rotations import matrix_from_quaternion, rotation_vector_from_matrix
from vipa_training.hand3d.clip import Array, Camera, Clip, Hand, ManoParameters, Object
from vipa_training.hand3d.errors import Rejection
from vipa_training.hand3d.frames import ImageFiles
from vipa_training.hand3d.joints import Side
from vipa_training.hand3d.sources.base import Source
from vipa_training.hand3d.unpickling import load_pickle

MOTION_FPS = 120
HEAD_CAMERA = "egocentric"
SIZE = (480, 848)
_PREFIXES: dict[Side, str] = {"left": "lh", "right": "rh"}


class OakInk2(Source):
    """The head camera's view of sequences."""

    name = "OakInk2"
    layout = "anno_preview/scene_0x__y00z++...pkl"

    def _identifiers(self) -> list[str]:
        return [path.stem for path in (self.root / "anno_preview").glob("*.pkl")]

    def _read(self, identifier: str) -> Clip:
        stored = load_pickle(self.root / "anno_preview" / f"{identifier}.pkl")
        numbers = [int(number) for number in stored["frame_id_list"]]
        if not numbers:
            raise Rejection("no frames")
        serial = next((key for key, name in stored["cam_def"].items() if name == HEAD_CAMERA), None)
        if serial is None:
            raise Rejection(f"no camera {HEAD_CAMERA}")
        pictures = {path.stem: path for path in (self.root / "data" / identifier / serial).glob("*.*")}
        missing = self.root / "data" / identifier / serial
        names = [f"{number:06d}" for number in numbers]
        extrinsics, intrinsics = (
            np.array([stored[key][HEAD_CAMERA][number] for number in numbers], np.float64)
            for key in ("cam_extr", "cam_intr")
        )
        return Clip(
            identifier,
            self.name,
            identifier,
            ImageFiles([pictures.get(name, missing / f"{name}.jpg") for name in names]),
            (np.array(numbers) - numbers[0]) / MOTION_FPS,
            Camera(intrinsics, extrinsics, SIZE),
            {side: _hand(stored["raw_mano"], prefix, numbers) for side, prefix in _PREFIXES.items()},
            self._objects(stored, numbers),
            self._text(identifier),
        )

    def _objects(self, stored: dict[str, Any], numbers: list[int]) -> tuple[Object, ...]:
        path = self.root / "object_raw" / "obj_desc.json"
        names = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        found: list[Object] = []
        for key in stored["obj_list"]:
            poses = stored["obj_transf"][key]
            valid = np.array([number in poses for number in numbers])
            matrices = np.array([poses.get(number, np.eye(4)) for number in numbers], np.float64)
            found.append(Object(str(names.get(key, {}).get("obj_name", key)), valid, matrices))
        return tuple(found)

    def _text(self, identifier: str) -> str:
        """What the segments of the sequence are called, in order of time."""
        path = self.root / "program" / "desc_info" / f"{identifier}.json"
        if not path.is_file():
            return ""
        segments = json.loads(path.read_text(encoding="utf-8"))
        begins = {key: min(span[0] for span in ast.literal_eval(key) if span is not None) for key in segments}
        ordered = sorted(segments, key=lambda key: begins[key])
        return ", then ".join(str(segments[key]["seg_desc"]).strip().rstrip(".") for key in ordered)


def _hand(stored: dict[int, dict[str, Any]], prefix: str, numbers: list[int]) -> Hand:
    valid = np.array([number in stored and f"{prefix}__pose_coeffs" in stored[number] for number in numbers])

    def rows(name: str, width: int) -> Array:
        out = np.zeros((len(numbers), width))
        for row in np.flatnonzero(valid):
            out[row] = np.asarray(stored[numbers[row]][f"{prefix}__{name}"]).reshape(width)
        return out

    quaternions = rows("pose_coeffs", 64).reshape(-1, 16, 4)
    quaternions[~valid] = [1.0, 0.0, 0.0, 0.0]
    turns = rotation_vector_from_matrix(matrix_from_quaternion(quaternions[..., [1, 2, 3, 0]]))
    parameters = ManoParameters(
        turns[:, 0],
        turns[:, 1:].reshape(-1, 45),
        rows("betas", 10),
        rows("tsl", 3),
        is_flat=True,
        is_wrist_centred=True,
        tips="manopth",
    )
    return Hand(valid, mano=parameters)
