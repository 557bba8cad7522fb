"""``vipa calibrate`` from a folder of views to the files, and what it says of bad input."""

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from calibration.artefact import camera_info_file, load_camera_info, load_frame
from calibration.board import BoardConfig
from calibration.poses import displaced, distance, quaternion_of
from tests.fabricated_boards import BOARD, CAMERA, Array, Cell, make_cell, render
from vipa import cli
from vipa.hashed_yaml import save

SERIAL = "f0123456"


def write_views(folder: Path, cell: Cell, rng: np.random.Generator, moved: Array | None = None) -> dict[str, Any]:
    """Images of the cell's board and the poses of its flange; the camera moved by a twist (6,) before."""
    folder.mkdir()
    seen = Cell(
        cell.mount, displaced(cell.camera, np.zeros(6) if moved is None else moved), cell.board, cell.flange_to_base
    )
    views: list[dict[str, Any]] = []
    for number, (pose, flange) in enumerate(zip(seen.board_to_camera(), seen.measured_flange(rng), strict=True)):
        cv2.imwrite(str(folder / f"{number:03}.png"), render(pose, rng))
        entry = {"translation": flange[:3, 3].tolist(), "quaternion": list(quaternion_of(flange))}
        views.append({"image": f"{number:03}.png", "flange": entry})
    content = {
        "camera": {"name": "front", "serial": SERIAL, "mount": cell.mount},
        "board": asdict(BOARD),
        "views": views,
    }
    (folder / "views.json").write_text(json.dumps(content))
    save(folder / "camera_info.yaml", camera_info_file("front", SERIAL, CAMERA, {}))
    return content


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Cell]:
    """A folder with views of a fixed camera, ``views``, and the files of its calibration, ``calibrated``."""
    folder, rng = tmp_path_factory.mktemp("cell"), np.random.default_rng(21)
    cell = make_cell("fixed", rng, 12)
    write_views(folder / "views", cell, rng)
    arguments = ["calibrate", "solve", str(folder / "views"), "--out", str(folder / "calibrated")]
    assert cli.main([*arguments, "--json", str(folder / "result.json")]) == 0
    return folder, cell


def copy_of(calibrated: tuple[Path, Cell], target: Path) -> Path:
    shutil.copytree(calibrated[0] / "views", target / "views")
    return target / "views"


def change(folder: Path, key: str, value: object) -> None:
    """Set a value of views.json, such as "views.0.image"."""
    content = json.loads((folder / "views.json").read_text())
    *path, last = (int(name) if name.isdigit() else name for name in key.split("."))
    place: Any = content
    for name in path:
        place = place[name]
    place[last] = value
    (folder / "views.json").write_text(json.dumps(content))


@pytest.mark.parametrize("action", ["board", "collect", "intrinsics", "solve", "suggest", "drift", "hand"])
def test_every_action_has_an_example(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["calibrate", action, "--help"])
    assert stop.value.code == 0
    assert f"example:\n  vipa calibrate {action} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["collect", "views", "--camera", "top"], "laboratory simulated has no camera top; it has front, side"),
        (["collect", "views", "--camera", "front", "--count", "-1"], "--count: must not be negative"),
        (["suggest", "views", "--count", "0"], "--count: must be at least 1"),
        (["drift", "views", "--lab", "simulated", "--board", "b", "--warn-mm", "5"], "warn_mm, refuse_mm: 5 and 4"),
    ],
)
def test_impossible_arguments_give_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["calibrate", *arguments]) == 1
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


def test_solve_writes_what_the_laboratory_needs(calibrated: tuple[Path, Cell]) -> None:
    folder, cell = calibrated
    result = json.loads((folder / "result.json").read_text())
    assert result["ok"]
    assert result["figures"]["camera_error_mm"] < 0.5
    assert result["figures"]["board_scale_off_percent"] < 0.2
    camera = load_frame(folder / "calibrated" / "camera_front.yaml")
    board = load_frame(folder / "calibrated" / "board_front.yaml")
    assert (camera.parent, camera.child) == ("fr3_link0", "front_color_optical_frame")
    assert (board.parent, board.board) == ("fr3_link8", BOARD)
    for found, planted in ((camera, cell.camera), (board, cell.board)):
        shift, turn = distance(found.matrix(), planted)
        assert shift < 1.0
        assert turn < 0.06
    assert camera.residuals["views"] == 12.0
    info = load_camera_info(folder / "calibrated" / f"camera_info_{SERIAL}_640x480.yaml")
    assert info.intrinsics() == CAMERA


def test_what_solve_prints_fits_the_laboratory(
    calibrated: tuple[Path, Cell], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["calibrate", "solve", str(calibrated[0] / "views"), "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().err
    lines = yaml.safe_load(shown[shown.index("cameras:") : shown.index("as a static transform")])
    np.testing.assert_allclose(
        lines["cameras"]["front"]["extrinsics"]["translation"], load_frame(tmp_path / "camera_front.yaml").translation
    )
    assert "--frame-id fr3_link0 --child-frame-id front_color_optical_frame" in shown


@pytest.mark.parametrize(("moved_mm", "verdict", "status"), [(0.0, "ok", 0), (3.0, "warn", 0), (5.0, "refuse", 1)])
def test_drift(calibrated: tuple[Path, Cell], tmp_path: Path, moved_mm: float, verdict: str, status: int) -> None:
    rng = np.random.default_rng(22)
    later = make_cell("fixed", rng, 2)
    later = Cell("fixed", calibrated[1].camera, calibrated[1].board, later.flange_to_base)
    write_views(tmp_path / "today", later, rng, np.array([0.0, 0.0, 0.0, 1e-3 * moved_mm, 0.0, 0.0]))
    files, result = calibrated[0] / "calibrated", tmp_path / "drift.json"
    source = ["--camera", str(files / "camera_front.yaml"), "--board", str(files / "board_front.yaml")]
    assert cli.main(["calibrate", "drift", str(tmp_path / "today"), *source, "--json", str(result)]) == status
    content = json.loads(result.read_text())
    assert content["details"]["verdict"] == verdict
    assert abs(content["figures"]["shift_mm"] - moved_mm) < 1.0


def test_drift_against_a_remembered_board_and_the_laboratory(
    calibrated: tuple[Path, Cell], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    views = copy_of(calibrated, tmp_path)
    content = json.loads((views / "views.json").read_text())
    change(views, "views", [{"image": content["views"][0]["image"]}])  # a board that stands on the table
    change(views, "camera.serial", "f0000001")
    reference = str(tmp_path / "reference.yaml")
    arguments = ["calibrate", "drift", str(views), "--lab", "simulated", "--board", reference]
    assert cli.main([*arguments, "--remember"]) == 0
    assert cli.main(arguments) == 0
    assert "ok: the camera stands where it was calibrated" in capsys.readouterr().err
    change(views, "board.rows", 6)
    assert cli.main(arguments) == 1
    change(views, "camera.serial", SERIAL)
    assert cli.main(arguments) == 1
    assert f"the views are of camera {SERIAL}, the calibration is that of f0000001" in capsys.readouterr().err
    change(views, "camera.name", "top")
    assert cli.main(arguments) == 1
    assert "laboratory simulated has no camera top; it has front, side" in capsys.readouterr().err


def test_suggest_names_poses(calibrated: tuple[Path, Cell], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["calibrate", "suggest", str(calibrated[0] / "views"), "--count", "2"]) == 0
    shown = capsys.readouterr()
    assert "2. joints [" in shown.err
    assert "expected_error_mm" in shown.out


def test_intrinsics(calibrated: tuple[Path, Cell], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["calibrate", "intrinsics", str(calibrated[0] / "views"), "--out", str(tmp_path)]) == 0
    assert "device_px" in capsys.readouterr().out
    found = load_camera_info(tmp_path / f"camera_info_{SERIAL}_640x480_estimate.yaml")
    assert abs(found.intrinsics().fx - CAMERA.fx) < 10.0
    assert found.residuals["views"] == 12.0


def test_board(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "sheets" / "board.pdf"
    assert cli.main(["calibrate", "board", str(output), "--columns", "9", "--rows", "6", "--square", "0.028"]) == 0
    assert output.is_file()
    assert "the board must measure 252 x 168 mm" in capsys.readouterr().err
    assert cli.main(["calibrate", "board", str(output), "--square", "35"]) == 1
    assert "millimetres? write 0.035" in capsys.readouterr().err


def test_a_view_without_the_board_is_left_out_and_named(
    calibrated: tuple[Path, Cell], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    views = copy_of(calibrated, tmp_path)
    cv2.imwrite(str(views / "003.png"), np.full((480, 640), 90, np.uint8))
    assert cli.main(["calibrate", "solve", str(views), "--out", str(tmp_path / "out")]) == 0
    assert "003.png: 0 corners of the board seen" in capsys.readouterr().err


def test_a_result_that_breaks_a_bound_is_written_only_when_accepted(
    calibrated: tuple[Path, Cell], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    views, out = copy_of(calibrated, tmp_path), tmp_path / "out"
    change(views, "board", asdict(BoardConfig(square_length=0.034, marker_length=0.0253)))
    assert cli.main(["calibrate", "solve", str(views), "--out", str(out)]) == 1
    shown = capsys.readouterr().err
    told = re.search(r"the board measures ([\d.]+) % of what views\.json says", shown)
    assert told is not None
    assert abs(float(told[1]) - 100 * 35 / 34) < 0.3
    assert "not written" in shown
    assert not out.exists()
    assert cli.main(["calibrate", "solve", str(views), "--out", str(out), "--accept"]) == 1
    load_frame(out / "camera_front.yaml")


MOVED = {"translation": [400.0, 0.0, 300.0], "quaternion": [1.0, 0.0, 0.0, 0.0]}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("views.0.image", "none.png", "none.png: no such file"),
        ("views.0.image", "views.json", "views.json: not an image"),
        (
            "views.0.flange",
            MOVED,
            r"views[0].flange.translation: 500 m away, which no camera of the cell is; millimetres?",
        ),
        ("views.0.flange", None, "000.png: neither joints nor flange"),
        ("views.0.joints", [0.0] * 7, "joints, flange: give one of them for 000.png"),
        ("views.0", {"image": "000.png", "joints": [0, -10, 0, -122, 0, 112, 0]}, "degrees? write radians"),
        ("views.0", {"image": "000.png", "joints": [0, 0, 0, 0.5, 0, 2, 0]}, "beyond the limits of the FR3; correct"),
        ("views", [], "the board is seen in no image; views.json names no image"),
        ("views.0.pose", [1], "unknown key views[0].pose"),
        ("board.square_length", 35.0, "millimetres? write 0.035"),
        ("board.dictionary", "5X5_100", "the board is seen in no image; 000.png"),
        ("camera.mount", "table", "camera.mount: 'table' is not one of"),
    ],
)
def test_bad_views_give_one_line(
    calibrated: tuple[Path, Cell], tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, value: object,
    message: str,
) -> None:  # fmt: skip
    views = copy_of(calibrated, tmp_path)
    change(views, key, value)
    if "dictionary" in key:
        change(views, "views", json.loads((views / "views.json").read_text())["views"][:2])
    assert cli.main(["calibrate", "solve", str(views), "--out", str(tmp_path / "out")]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("vipa: ")
    assert message in last


def test_files_that_cannot_be_read_give_one_line(
    calibrated: tuple[Path, Cell], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    views = copy_of(calibrated, tmp_path)
    solve = ["calibrate", "solve", str(views)]
    save(views / "camera_info.yaml", camera_info_file("front", SERIAL, CAMERA, {}))
    text = (views / "camera_info.yaml").read_text()
    for file, content, message in (
        ("camera_info.yaml", text.replace("image_width: 640", "image_width: 1280"), "do not match the hash"),
        ("camera_info.yaml", "a: [", "not valid YAML"),
        ("views.json", "{", "not valid JSON"),
    ):
        (views / file).write_text(content)
        assert cli.main(solve) == 1
        assert message in capsys.readouterr().err
        if file == "camera_info.yaml":
            (views / file).write_text(text)
    shutil.rmtree(views)
    assert cli.main(solve) == 1
    assert "views.json: no such file" in capsys.readouterr().err


def test_images_of_another_size_than_the_intrinsics_are_refused(
    calibrated: tuple[Path, Cell], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    views = copy_of(calibrated, tmp_path)
    cv2.imwrite(str(views / "000.png"), np.zeros((720, 1280), np.uint8))
    assert cli.main(["calibrate", "solve", str(views)]) == 1
    assert "1280 x 720 pixels, but camera_info.yaml is for 640 x 480" in capsys.readouterr().err
