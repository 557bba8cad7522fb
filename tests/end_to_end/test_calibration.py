"""The graph and the calibration: a camera that moved keeps the robot from moving; views taken without a person."""

from typing import Any

import pytest
from end_to_end.cell import Cell, stop

from calibration.artefact import frame_file
from calibration.poses import distance
from calibration.views import load_views
from vipa.hashed_yaml import save
from vipa.lab import BASE_FRAME
from vipa.laboratory_client import LaboratoryError
from vipa_sim.scenes.boards import REFERENCE_BOARD_TO_BASE, REFERENCE_BOARDS

pytestmark = pytest.mark.end_to_end


def check_drift(cell: Cell) -> None:
    """Turn the check on, with the boards where they stand."""

    def change(lab: dict[str, Any]) -> None:
        for camera, board in REFERENCE_BOARDS.items():
            serial, pose = lab["cameras"][camera]["device"]["serial"], REFERENCE_BOARD_TO_BASE[camera]
            file = frame_file(camera, serial, BASE_FRAME, f"{camera}_reference_board", pose, {}, board)
            save(cell.folder / "calibrated" / f"reference_{camera}.yaml", file)
        references = {camera: f"calibrated/reference_{camera}.yaml" for camera in REFERENCE_BOARDS}
        lab["calibration"] = {"drift_check": "refuse", "references": references}

    cell.edit(change)


def test_a_camera_that_moved_keeps_the_cell_from_getting_ready(cell: Cell) -> None:
    check_drift(cell)
    graph = cell.start("bringup", "--policy", "none", "--task", "calibration")
    try:
        cell.laboratory().request("move_camera", name="side", shift=[0.0, 0.003, 0.004])
        log = cell.wait_for_log("supervisor", "cell FAULT")
        assert "drift check: camera side has moved: its reference board appears " in log
        assert "camera front: drift 0." in cell.log("drift_check")
        assert "cell READY" not in log
        cell.laboratory().request("move_camera", name="side", shift=[0.0, 0.0, 0.0])
        cell.wait_for_log("supervisor", "cell READY")
        with pytest.raises(LaboratoryError, match="nothing is judged in it"):
            cell.laboratory().request("reset", task="calibration", seed=0)
        views = cell.folder / "views"
        lab = ("--lab", str(cell.yaml))
        cell.ask("calibrate", "collect", str(views), *lab, "--camera", "front", "--auto", "--count", "3")
        flanges = load_views(views).see().flange_to_base()
        assert distance(flanges[0], flanges[1])[1] == pytest.approx(12.0, abs=1.0)
        assert len(flanges) == 3
    finally:
        status, output = stop(graph)
    assert status == 0, output
