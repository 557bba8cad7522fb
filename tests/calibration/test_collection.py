"""Folders of views, filled one by one."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from calibration.collection import ViewCollector
from calibration.detection import BoardNotSeenError
from calibration.views import CameraEntry, load_views
from tests.fabricated_boards import BOARD, CAMERA, Image, make_cell, render
from vipa.control.kinematics import Kinematics
from vipa.errors import ConfigurationError

FRONT = CameraEntry("front", "f0", "wrist")
JOINTS = np.array([0.0, -0.18, 0.0, -2.14, 0.0, 1.96, 0.0])
BENT = np.array([0.0, -0.18, 0.0, -2.14, 0.0, 2.26, 0.0])
TURNED = np.array([0.0, -0.18, 0.0, -2.14, 0.0, 1.96, 0.5])


def images(count: int) -> list[Image]:
    rng = np.random.default_rng(0)
    return [np.repeat(render(p, rng)[..., None], 3, axis=2) for p in make_cell("wrist", rng, count).board_to_camera()]


def test_a_folder_is_whole_after_every_view_and_can_be_gone_on_with(tmp_path: Path) -> None:
    folder, seen = tmp_path / "views" / "front", images(3)
    collector = ViewCollector(folder, FRONT, BOARD, CAMERA)
    assert collector.add(seen[0], JOINTS.tolist()) == "000.png: 24 corners; 1 view"
    assert collector.add(seen[1], BENT.tolist()).endswith("2 views, turned about two axes by 0 degrees")
    assert len(load_views(folder).names) == 2
    again = ViewCollector(folder, FRONT, BOARD, CAMERA)
    assert again.count == 2
    line = again.add(seen[2], TURNED.tolist())
    assert line.startswith("002.png: 24 corners; 3 views, turned about two axes by 1")
    views = load_views(folder)
    np.testing.assert_allclose(views.flange_to_base[0], Kinematics().forward(JOINTS))
    assert views.see().names == ("000.png", "001.png", "002.png")
    assert sorted(p.suffix for p in folder.iterdir()) == [".json", ".png", ".png", ".png", ".yaml"]


def test_an_image_without_the_board_is_not_kept(tmp_path: Path) -> None:
    collector = ViewCollector(tmp_path, FRONT, BOARD, CAMERA)
    with pytest.raises(BoardNotSeenError, match=r"000\.png: 0 corners"):
        collector.add(np.zeros((480, 640, 3), np.uint8), JOINTS.tolist())
    assert [p.name for p in tmp_path.iterdir()] == ["camera_info.yaml"]


def test_a_folder_of_another_camera_is_left_alone(tmp_path: Path) -> None:
    ViewCollector(tmp_path, FRONT, BOARD, CAMERA).add(images(1)[0], JOINTS.tolist())
    for camera, intrinsics in (
        (dataclasses.replace(FRONT, serial="f1"), CAMERA),
        (FRONT, dataclasses.replace(CAMERA, fx=1.0)),
    ):
        with pytest.raises(ConfigurationError, match="another camera, board or image size"):
            ViewCollector(tmp_path, camera, BOARD, intrinsics)
