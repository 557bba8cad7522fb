"""FPHA (Garcia-Hernando et al. 2018): one hand with magnetic sensors, seen by a camera on the shoulder.

Format: github.com/guiggh/hand_pose_action. Joints are in millimetres, in the frame of the depth camera, which moves
with the person: movements of the camera are not known. The constants below come with the data set.
"""

import numpy as np

from vipa_training.hand3d.clip import Clip, Hand, Object
from vipa_training.hand3d.errors import Rejection
from vipa_training.hand3d.frames import ImageFiles
from vipa_training.hand3d.geometry import intrinsics_of
from vipa_training.hand3d.sources.base import Source, camera_of, load_table, spoken

FPS = 30
SIZE = (1080, 1920)
INTRINSICS = intrinsics_of(1395.749023, 1395.749268, 935.732544, 540.681030)
EXTRINSICS = np.array(
    [
        [0.999988496304, -0.00468848412856, 0.000982563360594, 0.0257],
        [0.00469115935266, 0.999985218048, -0.00273845880292, 0.00122],
        [-0.000969709653873, 0.00274303671904, 0.99999576807, 0.003902],
        [0.0, 0.0, 0.0, 1.0],
    ]
)  # world to colour camera, m
ORDER = (0, 1, 6, 7, 8, 2, 9, 10, 11, 3, 12, 13, 14, 4, 15, 16, 17, 5, 18, 19, 20)
"""Where each joint is in a line: wrist, the five knuckles, then three more of each finger."""
_OBJECTS = {"juice": "juice carton", "milk": "milk bottle", "salt": "salt", "liquid_soap": "liquid soap"}


class Fpha(Source):
    """Sequences such as ``Subject_1/put_salt/1``."""

    name = "FPHA"
    layout = "Hand_pose_annotation_v1*/Subject_1/put_salt/1/skeleton.txt"

    def _identifiers(self) -> list[str]:
        paths = self.root.glob("Hand_pose_annotation_v1*/Subject_*/*/*/skeleton.txt")
        return sorted({"/".join(path.parts[-4:-1]) for path in paths})

    def _read(self, identifier: str) -> Clip:
        paths = sorted(self.root.glob(f"Hand_pose_annotation_v1*/{identifier}/skeleton.txt"))
        if not paths:
            raise Rejection("no skeleton.txt")
        path = paths[-1]
        rows = load_table(path)
        if rows.shape[1] != 64:
            raise Rejection(f"{path}: {rows.shape[1]} numbers a line, expected 64")
        numbers = rows[:, 0].astype(np.int64)
        joints = rows[:, 1:].reshape(-1, 21, 3)[:, ORDER] / 1000.0
        colour = self.root / "Video_files" / identifier / "color"
        action = identifier.split("/")[1]
        return Clip(
            identifier,
            self.name,
            identifier,
            ImageFiles([colour / f"color_{number:04d}.jpeg" for number in numbers]),
            (numbers - numbers[0]) / FPS,
            camera_of(INTRINSICS, np.tile(EXTRINSICS, (len(rows), 1, 1)), SIZE),
            {"right": Hand(np.isfinite(joints).all(axis=(1, 2)) & (np.ptp(joints, axis=1) > 0.0).any(axis=1), joints)},
            self._objects(identifier, action, numbers),
            spoken(action),
        )

    def _objects(
        self, identifier: str, action: str, numbers: np.ndarray[tuple[int], np.dtype[np.int64]]
    ) -> tuple[Object, ...]:
        path = self.root / "Object_6D_pose_annotation_v1" / identifier / "object_pose.txt"
        name = next((name for key, name in _OBJECTS.items() if key in action), None)
        if not path.is_file() or name is None:
            return ()
        rows = load_table(path)
        known = {int(row[0]): row[1:].reshape(4, 4).T for row in rows}
        poses = np.array([known.get(int(number), np.eye(4)) for number in numbers])
        poses[:, :3, 3] /= 1000.0
        return (Object(name, np.array([int(number) in known for number in numbers]), poses),)
