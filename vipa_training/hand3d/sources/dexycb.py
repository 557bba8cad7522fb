"""DexYCB (Chao et al. 2021): one hand that lifts an object, seen by eight fixed cameras.

Format: github.com/NVlabs/dex-ycb-toolkit. Joints and objects are in the camera's frame, in metres; the extrinsics lead
from each camera to the master. A clip is one camera's view; all views of a sequence are one video. The joints are taken
as they are given.
"""

from pathlib import Path

import numpy as np

from vipa_training.hand3d.clip import Array, Clip, Hand, Object
from vipa_training.hand3d.errors import Rejection
from vipa_training.hand3d.frames import ImageFiles
from vipa_training.hand3d.geometry import intrinsics_of, inverse
from vipa_training.hand3d.joints import Side
from vipa_training.hand3d.sources.base import Source, camera_of, homogeneous, load_yaml, spoken

FPS = 30
SIZE = (480, 640)
OBJECTS = (
    "", "master_chef_can", "cracker_box", "sugar_box", "tomato_soup_can", "mustard_bottle", "tuna_fish_can",
    "pudding_box", "gelatin_box", "potted_meat_can", "banana", "pitcher", "bleach_cleanser", "bowl", "mug",
    "power_drill", "wood_block", "scissors", "large_marker", "large_clamp", "extra_large_clamp", "foam_brick",
)  # fmt: skip


class DexYcb(Source):
    """Views such as ``20200709-subject-01/20200709_141754/836212060125``."""

    name = "DexYCB"
    layout = "20200709-subject-01/20200709_141754/836212060125/labels_000000.npz"

    def _identifiers(self) -> list[str]:
        paths = self.root.glob("*-subject-*/*/*/labels_000000.npz")
        return [path.parent.relative_to(self.root).as_posix() for path in paths]

    def _read(self, identifier: str) -> Clip:
        subject, sequence, serial = identifier.split("/")
        folder, calibration = self.root / identifier, self.root / "calibration"
        about = load_yaml(self.root / subject / sequence / "meta.yml")
        count = int(about["num_frames"])
        colour = load_yaml(calibration / "intrinsics" / f"{serial}_{SIZE[1]}x{SIZE[0]}.yml")["color"]
        places = load_yaml(calibration / f"extrinsics_{about['extrinsics']}" / "extrinsics.yml")["extrinsics"]
        to_master = homogeneous(np.asarray(places[serial], np.float64).reshape(3, 4))
        joints, poses = _labels(folder, count, len(about["ycb_ids"]))
        side: Side = "left" if about["mano_sides"][0] == "left" else "right"
        names = [spoken(OBJECTS[int(number)]) for number in about["ycb_ids"]]
        return Clip(
            identifier,
            self.name,
            f"{subject}/{sequence}",
            ImageFiles([folder / f"color_{number:06d}.jpg" for number in range(count)]),
            np.arange(count) / FPS,
            camera_of(
                intrinsics_of(*(float(colour[name]) for name in ("fx", "fy", "ppx", "ppy"))),
                np.tile(inverse(to_master), (count, 1, 1)),
                SIZE,
            ),
            {side: Hand(np.any(joints != -1.0, axis=(1, 2)), joints, frame="camera")},
            tuple(
                Object(name, np.any(poses[:, place, :3, :3] != 0.0, axis=(1, 2)), poses[:, place], frame="camera")
                for place, name in enumerate(names)
            ),
            f"pick up the {names[int(about['ycb_grasp_ind'])]}",
        )


def _labels(folder: Path, count: int, objects: int) -> tuple[Array, Array]:
    """Joints (T, 21, 3), -1 where there is no hand, and poses (T, N, 4, 4), zeros where there is no object."""
    joints, poses = np.zeros((count, 21, 3)), np.zeros((count, objects, 3, 4))
    for number in range(count):
        path = folder / f"labels_{number:06d}.npz"
        with np.load(path, allow_pickle=False) as stored:
            if stored["pose_y"].shape != (objects, 3, 4) or stored["joint_3d"].shape != (1, 21, 3):
                raise Rejection(f"{path}: shapes {stored['pose_y'].shape} and {stored['joint_3d'].shape}")
            joints[number], poses[number] = stored["joint_3d"][0], stored["pose_y"]
    return joints, homogeneous(poses)
