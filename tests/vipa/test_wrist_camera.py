"""A camera on the wrist: from the laboratory's YAML into the policy's observation, recordings and static transforms."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml

from calibration.artefact import frame_file
from calibration.poses import pose_of
from vipa.control.kinematics import Kinematics
from vipa.lab import FLANGE_FRAME, LAB_FOLDER, load_lab
from vipa.observing import Frame, make_observation
from vipa.recording.snapshot import lab_snapshot
from vipa.replay.layout import check_layout
from vipa_inference.policy import CommittedPlan
from vipa_inference.rotations import matrix_from_rotation_vector

ON_WRIST = pose_of(matrix_from_rotation_vector([0.1, 0.0, 1.57]), [0.06, 0.0, 0.03])
JOINTS = np.array([0.2, -0.18, 0.0, -2.14, 0.0, 1.96, 0.4])


def write_lab(folder: Path) -> str:
    """The simulated laboratory, its front camera on the wrist by the lines that ``vipa calibrate solve`` prints."""
    lab: dict[str, Any] = yaml.safe_load((LAB_FOLDER / "simulated.yaml").read_text())
    found = frame_file("front", "f0000001", FLANGE_FRAME, "front_color_optical_frame", ON_WRIST, {})
    lab["cameras"]["front"] |= yaml.safe_load(found.lab_lines())["cameras"]["front"]
    (folder / "lab.yaml").write_text(yaml.safe_dump(lab))
    return str(folder / "lab.yaml")


def test_a_camera_on_the_wrist_moves_with_the_flange(tmp_path: Path) -> None:
    lab = load_lab(write_lab(tmp_path))
    assert [camera.extrinsics.on_wrist for camera in lab.cameras.values()] == [True, False]
    pose = SimpleNamespace(
        position=SimpleNamespace(x=0.4, y=0.0, z=0.3), orientation=SimpleNamespace(x=1.0, y=0.0, z=0.0, w=0.0)
    )
    arm = SimpleNamespace(joint_positions=JOINTS.tolist(), end_effector_pose=pose)
    info = SimpleNamespace(k=np.eye(3).ravel().tolist())
    frames = {name: Frame(np.zeros((2, 2, 3), np.uint8), 1, info) for name in lab.cameras}
    seen = make_observation(lab, frames, arm, SimpleNamespace(positions=[1.0] * 6), "wave").views
    np.testing.assert_allclose(seen["front"].camera_to_base, Kinematics().forward(JOINTS) @ ON_WRIST, atol=1e-9)
    np.testing.assert_allclose(seen["side"].camera_to_base, lab.cameras["side"].extrinsics.matrix())


def test_recordings_and_replays_know_it(tmp_path: Path) -> None:
    path = write_lab(tmp_path)
    calibration = json.loads(lab_snapshot(path, {})["calibration.json"])
    assert set(calibration["color_optical_frame_in_base"]) == {"side"}
    np.testing.assert_allclose(calibration["color_optical_frame_in_flange"]["front"], ON_WRIST, atol=1e-9)
    lab = load_lab(path)
    front = lab.cameras["front"]
    standing = replace(front, extrinsics=replace(front.extrinsics, frame="fr3_link0"))
    place = pose_of(np.eye(3), [0.5, 0.0, 0.3])
    targets = CommittedPlan(np.arange(2), np.stack([place, place]), np.ones((2, 6)))
    other = replace(lab, cameras={**lab.cameras, "front": standing})
    assert check_layout(lab, lab, targets) == ()
    assert check_layout(lab, other, targets) == ("camera front stands elsewhere than in the recording",)


def test_its_static_transform_is_below_the_flange(tmp_path: Path) -> None:
    lab = load_lab(write_lab(tmp_path))
    words = lab.cameras["front"].extrinsics.publisher_arguments("front_color_optical_frame")
    given = dict(zip(words[::2], words[1::2], strict=True))
    assert given["--frame-id"] == FLANGE_FRAME
    assert given["--child-frame-id"] == "front_color_optical_frame"
    np.testing.assert_allclose([float(given[f"--{axis}"]) for axis in "xyz"], ON_WRIST[:3, 3], atol=1e-8)
    side = lab.cameras["side"].extrinsics.publisher_arguments("side_color_optical_frame")
    assert side[side.index("--frame-id") + 1] == "fr3_link0"
