"""Views taken without a person, with an arm that does what it is told and what the simulated cameras see of it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from calibration.board import BoardConfig
from calibration.collection import ViewCollector
from calibration.hand_eye import solve
from calibration.planning import HIGHEST_TURN, Workspace
from calibration.poses import Array, displaced, distance, inverse, pose_of
from calibration.tour import CalibrationTour, Shot
from calibration.views import CameraEntry, load_views
from tests.fabricated_boards import BOARD, CAMERA, render
from vipa.control.kinematics import Kinematics
from vipa.errors import VipaError
from vipa.hardware.realsense import CameraIntrinsics
from vipa.lab import load_lab
from vipa.teleop.session import RobotReading
from vipa_inference.rotations import matrix_from_rotation_vector
from vipa_sim.renderer import Renderer
from vipa_sim.scenes import make_scene
from vipa_sim.world import HOME, World

LAB = load_lab("simulated")
WORKSPACE = Workspace.of(LAB)
PERIOD_NS = 50_000_000
FRONT = CameraEntry("front", LAB.cameras["front"].device.serial, "fixed")


class Arm:
    """Follows chunks exactly; its joints tell where it is but for 0.1 mm and 0.01 degrees along and about each axis."""

    def __init__(self, world: World, renderer: Renderer, seed: int = 0) -> None:
        self.world, self.renderer = world, renderer
        self.rng = np.random.default_rng(seed)
        self.kinematics = Kinematics()
        self.now_ns = 1_000_000_000
        self.pose = self.kinematics.forward(HOME) @ WORKSPACE.tool
        self.way: list[Array] = []
        self.visited: list[Array] = []

    def reading(self) -> RobotReading:
        return RobotReading(self.now_ns, self.pose, np.ones(6))

    def shoot(self) -> Shot:
        flange = self.pose @ inverse(WORKSPACE.tool)
        noise = np.concatenate([self.rng.normal(0.0, 2e-4, 3), self.rng.normal(0.0, 1e-4, 3)])
        told, real = (self.kinematics.solve(p, HOME) for p in (flange, displaced(flange, noise)))
        assert told.converged
        assert real.converged
        self.world.data.qpos[:7] = real.q
        self.renderer.update(self.world.snapshot())
        color, _ = self.renderer.render("front")
        return Shot(color, self.now_ns, told.q.tolist(), moved=False)

    def lead(self, tour: CalibrationTour) -> None:
        """Until the tour ends."""
        while tour.phase not in ("done", "failed"):
            self.now_ns += PERIOD_NS
            if self.way:
                self.pose = self.way.pop(0)
                self.visited.append(self.pose)
            tour.update(self.reading(), self.now_ns, motion_allowed=True)
            chunk = tour.chunk(self.reading(), self.now_ns)
            if chunk is not None:
                self.way = list(chunk.target_poses())
            if tour.phase == "looking":
                tour.take(self.shoot())
            for note in tour.take_notes():
                print(note)


@pytest.fixture(scope="module")
def scene() -> Iterator[tuple[World, Renderer]]:
    world = World(make_scene("calibration"))
    renderer = Renderer(world.model)
    yield world, renderer
    renderer.close()


def start(folder: Path, renderer: Renderer, arm: Arm, count: int, board: BoardConfig | None = None) -> CalibrationTour:
    intrinsics = CameraIntrinsics.from_matrix(renderer.intrinsics("front"), 640, 480)
    board = board or BoardConfig()
    collector = ViewCollector(folder, FRONT, board, intrinsics)
    return CalibrationTour(collector, "fixed", board, intrinsics, WORKSPACE, count, arm.reading())


def camera_error(folder: Path, renderer: Renderer) -> tuple[float, float]:
    """mm and degrees from where the camera stands in the world."""
    seen = load_views(folder).see()
    found = solve("fixed", seen.flange_to_base(), seen.boards)
    return distance(found.camera, renderer.camera_to_base("front"))


def test_a_tour_finds_the_camera(tmp_path: Path, scene: tuple[World, Renderer]) -> None:
    world, renderer = scene
    arm = Arm(world, renderer)
    begin = arm.pose
    tour = start(tmp_path, renderer, arm, 9)
    arm.lead(tour)
    assert (tour.phase, tour.failure, tour.views) == ("done", "", 9)
    places = np.array([pose[:3, 3] for pose in arm.visited])
    assert (places >= WORKSPACE.low - 1e-9).all()
    assert (places <= WORKSPACE.high + 1e-9).all()
    assert max((pose @ inverse(WORKSPACE.tool))[2, 2] for pose in arm.visited) <= HIGHEST_TURN
    np.testing.assert_allclose(arm.pose, begin, atol=1e-9)
    shift, turn = camera_error(tmp_path, renderer)
    assert shift < 1.0
    assert turn < 0.1
    again = start(tmp_path, renderer, arm, 10)  # goes on with the folder
    arm.lead(again)
    assert len(load_views(tmp_path).names) == 10


class ArmWithCamera(Arm):
    """Its camera, on the wrist, looks at a board on the table, as rendered with a homography."""

    camera = pose_of(matrix_from_rotation_vector([0.02, -0.03, 1.6]), [0.07, 0.01, 0.04])
    board = pose_of(matrix_from_rotation_vector([np.pi, 0.0, 0.0]), [0.44, 0.09, 0.0])

    def shoot(self) -> Shot:
        flange = self.pose @ inverse(WORKSPACE.tool)
        noise = np.concatenate([self.rng.normal(0.0, 2e-4, 3), self.rng.normal(0.0, 1e-4, 3)])
        seen = inverse(displaced(flange, noise) @ self.camera) @ self.board
        told = self.kinematics.solve(flange, HOME)
        assert told.converged
        return Shot(render(seen, self.rng), self.now_ns, told.q.tolist(), moved=False)


def test_a_tour_finds_a_camera_on_the_wrist(tmp_path: Path, scene: tuple[World, Renderer]) -> None:
    arm = ArmWithCamera(*scene)
    entry = CameraEntry("wrist", "f9", "wrist")
    collector = ViewCollector(tmp_path, entry, BOARD, CAMERA)
    tour = CalibrationTour(collector, "wrist", BOARD, CAMERA, WORKSPACE, 9, arm.reading())
    arm.lead(tour)
    assert (tour.phase, tour.failure, tour.views) == ("done", "", 9)
    seen = load_views(tmp_path).see()
    shift, turn = distance(solve("wrist", seen.flange_to_base(), seen.boards).camera, arm.camera)
    assert shift < 1.0
    assert turn < 0.1


def test_a_board_that_is_nowhere_ends_the_tour(tmp_path: Path, scene: tuple[World, Renderer]) -> None:
    arm = Arm(*scene)
    tour = start(tmp_path, scene[1], arm, 9, BoardConfig(dictionary="6X6_250"))
    arm.lead(tour)
    assert tour.failure.startswith("the board is not seen, neither from where the arm stands nor turned")
    assert tour.views == 0


def test_a_stop_ends_the_tour_and_refusals_a_visit(tmp_path: Path, scene: tuple[World, Renderer]) -> None:
    arm = Arm(*scene)
    tour = start(tmp_path, scene[1], arm, 9)
    tour.update(arm.reading(), arm.now_ns, motion_allowed=True)
    assert tour.chunk(arm.reading(), arm.now_ns) is not None
    for _ in range(5):
        tour.refuse(arm.now_ns + 1, "reach: too far")
    arm.now_ns += PERIOD_NS
    tour.update(arm.reading(), arm.now_ns, motion_allowed=True)
    assert tour.take_notes() == ["no view: the gate refuses the way: reach: too far"]
    for halted_s, phase in ((0, "moving"), (3, "moving"), (6, "failed")):
        tour.update(arm.reading(), arm.now_ns + halted_s * 1_000_000_000, motion_allowed=False)
        assert tour.phase == phase
        assert tour.chunk(arm.reading(), arm.now_ns + halted_s * 1_000_000_000) is None
    assert tour.failure.startswith("the cell is stopped")
    outside = Arm(*scene)
    outside.pose = displaced(outside.pose, np.array([0.0, 0.0, 0.0, 0.6, 0.0, 0.0]))
    with pytest.raises(VipaError, match="begins outside the workspace"):
        start(tmp_path / "other", scene[1], outside, 9)
