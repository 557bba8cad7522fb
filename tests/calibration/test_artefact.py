"""The files that a calibration leaves behind."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from calibration.artefact import FrameFile, camera_info_file, frame_file, load_camera_info, load_frame
from calibration.poses import pose_of
from tests.fabricated_boards import BOARD, CAMERA
from vipa.config import from_mapping
from vipa.errors import ConfigurationError
from vipa.hashed_yaml import content_hash, save
from vipa.lab import BASE_FRAME, FLANGE_FRAME, ExtrinsicsConfig, Frame
from vipa_inference.rotations import matrix_from_rotation_vector

POSE = pose_of(matrix_from_rotation_vector([0.1, -2.0, 0.3]), [1.42, 0.0, 0.72])
BENT = dataclasses.replace(CAMERA, coefficients=(0.1, -0.02, 1e-5, 2e-16, 0.3))


def front(parent: Frame = BASE_FRAME) -> FrameFile:
    return frame_file("front", "f0123456", parent, "front_color_optical_frame", POSE, {"residual_mm": 0.21}, BOARD)


def change(path: Path, **values: object) -> None:
    content = yaml.safe_load(path.read_text()) | values
    path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))


@given(
    st.lists(st.floats(-1.0, 1.0), min_size=3, max_size=3),
    st.lists(st.floats(-1.8, 1.8), min_size=3, max_size=3),
)
def test_a_pose_survives_its_file(tmp_path_factory: pytest.TempPathFactory, t: list[float], r: list[float]) -> None:
    path = tmp_path_factory.mktemp("frames") / "camera.yaml"
    pose = pose_of(matrix_from_rotation_vector(r), t)
    save(path, frame_file("front", "f0", FLANGE_FRAME, "x", pose, {}))
    np.testing.assert_allclose(load_frame(path).matrix(), pose, atol=1e-12)


def test_a_file_tells_where_it_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "camera_front.yaml"
    save(path, front())
    loaded = load_frame(path)
    assert dataclasses.replace(loaded, hash="") == front()
    assert loaded.hash.startswith("sha256:")
    assert loaded.date.endswith("+00:00")
    assert (loaded.serial, loaded.residuals, loaded.board) == ("f0123456", {"residual_mm": 0.21}, BOARD)
    assert list(tmp_path.iterdir()) == [path]


def test_the_layout_of_a_file_does_not_matter_but_its_contents_do(tmp_path: Path) -> None:
    path = tmp_path / "camera_front.yaml"
    save(path, front())
    content = yaml.safe_load(path.read_text())
    path.write_text(
        "# looked at on Friday\n" + yaml.safe_dump(dict(reversed(content.items())), default_flow_style=True)
    )
    load_frame(path)
    assert content_hash(content) != content_hash(content | {"serial": "f9"})
    for key, value in {"translation": [1.43, 0.0, 0.72], "serial": "f9", "hash": None, "date": ""}.items():
        save(path, front())
        change(path, **{key: value})
        with pytest.raises(ConfigurationError, match=r"camera_front\.yaml: the contents do not match the hash"):
            load_frame(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"parnet": "fr3_link0"}, "unknown key parnet; known keys here: board, camera"),
        ({"child": None}, "missing key child"),
        ({"parent": "table"}, "parent: 'table' is not one of 'fr3_link0', 'fr3_link8'"),
        ({"translation": [1420.0, 0.0, 720.0]}, "front_color_optical_frame.translation: .* millimetres"),
        ({"translation": [1.42, 0.0]}, "translation: expected 3 values, found 2"),
        ({"quaternion": [1.0, 1.0, 0.0, 0.0]}, "is not of unit length"),
        ({"residuals": {"residual_mm": "small"}}, "residuals.residual_mm: expected float"),
    ],
)
def test_wrong_files_are_refused_by_key(tmp_path: Path, values: dict[str, object], message: str) -> None:
    path = tmp_path / "camera_front.yaml"
    save(path, front())
    change(path, **values)
    with pytest.raises(ConfigurationError, match=message):
        load_frame(path)


@pytest.mark.parametrize("content", ["", "a: [", "- 1", "\x00"])
def test_what_is_no_yaml_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "camera_front.yaml"
    path.write_text(content)
    for load in (load_frame, load_camera_info):
        with pytest.raises(ConfigurationError, match=r"camera_front\.yaml"):
            load(path)
    with pytest.raises(ConfigurationError, match="no such file"):
        load_frame(tmp_path / "none.yaml")


def test_the_lab_takes_the_pose_as_it_is_printed() -> None:
    lines = yaml.safe_load(front().lab_lines())
    extrinsics = from_mapping(ExtrinsicsConfig, lines["cameras"]["front"]["extrinsics"])
    np.testing.assert_allclose(extrinsics.matrix(), POSE, atol=1e-12)
    command = front(FLANGE_FRAME).publisher_command()
    assert "--x 1.42000000 --y 0.00000000 --z 0.72000000" in command
    assert command.endswith("--frame-id fr3_link8 --child-frame-id front_color_optical_frame")


def test_a_frame_on_the_flange_needs_the_pose_of_the_flange() -> None:
    np.testing.assert_allclose(front().in_base(None), POSE, atol=1e-12)
    np.testing.assert_allclose(front(FLANGE_FRAME).in_base(POSE), POSE @ POSE, atol=1e-12)
    with pytest.raises(ConfigurationError, match="front_color_optical_frame moves with the flange"):
        front(FLANGE_FRAME).in_base(None)


def test_intrinsics_survive_their_file_and_are_read_from_those_of_ros(tmp_path: Path) -> None:
    path = tmp_path / "camera_info.yaml"
    save(path, camera_info_file("front", "f0", BENT, {"reprojection_px": 0.1}))
    assert load_camera_info(path).intrinsics() == BENT
    change(path, image_width=1280)
    with pytest.raises(ConfigurationError, match="do not match the hash"):
        load_camera_info(path)
    change(path, hash=None, serial=None, date=None, residuals=None, image_width=640)
    assert load_camera_info(path).intrinsics() == BENT


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"camera_matrix": {"rows": 3, "cols": 3, "data": [1.0]}},
            "camera_matrix: data: 3 x 3 values expected, found 1",
        ),
        ({"camera_matrix": {"rows": 1, "cols": 1, "data": [1.0]}}, "camera_matrix: must be 3 x 3"),
        ({"distortion_model": "fisheye"}, "only plumb_bob"),
        ({"image_width": 0}, "must be positive"),
    ],
)
def test_wrong_intrinsics_are_refused(tmp_path: Path, values: dict[str, object], message: str) -> None:
    path = tmp_path / "camera_info.yaml"
    save(path, camera_info_file("front", "f0", BENT, {}))
    change(path, hash=None, **values)
    with pytest.raises(ConfigurationError, match=message):
        load_camera_info(path)
