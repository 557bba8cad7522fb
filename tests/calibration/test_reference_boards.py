"""The check of drift at start-up, on what the simulated laboratory's cameras see of the boards on its table."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.artefact import FrameFile, frame_file
from calibration.drift import ReferenceWatch, camera_of_lab
from vipa.errors import ConfigurationError
from vipa.hardware.realsense import CameraIntrinsics
from vipa.lab import BASE_FRAME, FLANGE_FRAME, load_lab
from vipa_sim.renderer import Renderer
from vipa_sim.scenes import make_scene
from vipa_sim.scenes.base import displace_camera
from vipa_sim.scenes.boards import REFERENCE_BOARD_TO_BASE, REFERENCE_BOARDS
from vipa_sim.world import World

LAB = load_lab("simulated")
CAMERAS = tuple(REFERENCE_BOARDS)
SEEDS = range(12)
TOLERANCE_MM = LAB.calibration.tolerance_mm


def reference(camera: str) -> FrameFile:
    """Where the laboratory's board stands, as the check reads it."""
    serial, pose = LAB.cameras[camera].device.serial, REFERENCE_BOARD_TO_BASE[camera]
    return frame_file(camera, serial, BASE_FRAME, f"{camera}_reference_board", pose, {}, REFERENCE_BOARDS[camera])


class Cell:
    """The simulated laboratory's world with a task's things, and what its cameras see."""

    def __init__(self) -> None:
        scene = make_scene("put_three_obj")
        scene.has_reference_boards = True
        self.world = World(scene, seed=1)
        self.renderer = Renderer(self.world.model)

    def judge(self, camera: str, seed: int, shift_mm: float) -> ReferenceWatch:
        """The check's verdict where the camera was moved somewhere; the images have the noise of a sensor."""
        rng = np.random.default_rng(seed)
        direction = rng.normal(size=3)
        displace_camera(self.world, camera, 1e-3 * shift_mm * direction / np.linalg.norm(direction), np.zeros(3))
        self.renderer.update(self.world.snapshot())
        color, _ = self.renderer.render(camera)
        watch = ReferenceWatch(camera_of_lab(LAB, camera), reference(camera), TOLERANCE_MM)
        intrinsics = CameraIntrinsics.from_matrix(self.renderer.intrinsics(camera), 640, 480)
        while not watch.done:
            watch.see(noisy(color, rng), intrinsics)
        return watch


def noisy(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    return np.clip(image + rng.normal(0.0, 3.0, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def cell() -> Iterator[Cell]:
    made = Cell()
    yield made
    made.renderer.close()


@pytest.mark.parametrize("camera", CAMERAS)
def test_five_millimetres_are_caught_and_none_are_not(cell: Cell, camera: str) -> None:
    still = [cell.judge(camera, seed, 0.0) for seed in SEEDS]
    moved = [cell.judge(camera, seed, 5.0) for seed in SEEDS]
    assert [watch.trouble() for watch in still] == [""] * len(SEEDS)
    assert all(f"camera {camera} has moved: its reference board appears " in watch.trouble() for watch in moved)
    shifts = [[watch.drift.shift_mm for watch in some if watch.drift] for some in (still, moved)]
    print(camera, "not moved", np.round(shifts[0], 2), "moved", np.round(shifts[1], 2))
    assert max(shifts[0]) < 0.7 * TOLERANCE_MM
    assert np.abs(np.array(shifts[1]) - 5.0).max() < 1.5


def test_a_camera_that_looks_elsewhere_does_not_see_its_board(cell: Cell) -> None:
    watch = ReferenceWatch(camera_of_lab(LAB, "front"), reference("front"), TOLERANCE_MM)
    while not watch.done:
        watch.see(np.full((480, 640, 3), 90, np.uint8), CameraIntrinsics(640, 480, 600.0, 600.0, 319.5, 239.5))
    assert watch.trouble().startswith("camera front does not see its reference board")


def test_a_reference_that_is_none_is_refused() -> None:
    camera = camera_of_lab(LAB, "front")
    for wrong in ({"serial": "f9"}, {"board": None}, {"parent": FLANGE_FRAME}):
        with pytest.raises(
            ConfigurationError, match="not of a board fixed in the cell and seen by its camera f0000001"
        ):
            ReferenceWatch(camera, replace(reference("front"), **wrong), TOLERANCE_MM)
    with pytest.raises(ConfigurationError, match="has no camera top; it has front, side"):
        camera_of_lab(LAB, "top")
