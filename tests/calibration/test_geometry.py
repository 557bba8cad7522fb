"""The geometry of hand-eye calibration, without images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from calibration.detection import BoardView, Detection, covariance_of, project
from calibration.hand_eye import DegenerateViewsError, HandEye, rotation_spread, solve
from calibration.poses import adjoint, displaced, distance, inverse, middle, pose_from_quaternion, pose_of, twist_of
from calibration.refinement import Mount, Noise
from calibration.suggestion import suggest
from tests.fabricated_boards import BOARD, CAMERA, Cell, make_cell
from vipa.control.kinematics import Kinematics
from vipa.errors import ConfigurationError, VipaError
from vipa_inference.rotations import matrix_from_rotation_vector

Array = NDArray[np.float64]
MOUNTS = st.sampled_from(["fixed", "wrist"])
SEEDS = st.integers(0, 2**32 - 1)


def ideal_views(boards: Array, pixel_noise: float = 0.0, rng: np.random.Generator | None = None) -> list[BoardView]:
    """Views whose poses are exact, or as wrong as corners with this noise make them."""
    views: list[BoardView] = []
    for pose in boards:
        pixels, jacobian = project(BOARD.corners, pose, CAMERA)
        covariance = covariance_of(jacobian)
        twist = np.zeros(6) if rng is None else rng.multivariate_normal(np.zeros(6), pixel_noise**2 * covariance)
        seen = displaced(np.eye(4), twist) @ pose
        views.append(BoardView(Detection(BOARD.corners, pixels), seen, covariance, np.sqrt(2.0) * pixel_noise))
    return views


def solve_cell(cell: Cell, mount: Mount, flange_to_base: Array | None = None) -> HandEye:
    return solve(mount, cell.flange_to_base if flange_to_base is None else flange_to_base,
                 ideal_views(cell.board_to_camera()))  # fmt: skip


def random_pose(rng: np.random.Generator) -> Array:
    return pose_of(matrix_from_rotation_vector(rng.normal(size=3)), rng.normal(size=3))


@given(SEEDS)
@settings(max_examples=50)
def test_poses_are_undone_by_their_inverse_and_twists_change_frames(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, twist = random_pose(rng), random_pose(rng), 1e-6 * rng.normal(size=6)
    np.testing.assert_allclose(inverse(a) @ a, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(twist_of(displaced(np.eye(4), twist)), twist, atol=1e-15)
    moved = displaced(np.eye(4), adjoint(a) @ twist) @ a
    np.testing.assert_allclose(moved, displaced(a, twist), atol=1e-10)
    np.testing.assert_allclose(middle(np.stack([a, a, b])), a, atol=1e-6)


@given(MOUNTS, SEEDS, st.integers(4, 12))
@settings(max_examples=40)
def test_exact_views_give_the_planted_camera(mount: Mount, seed: int, count: int) -> None:
    cell = make_cell(mount, np.random.default_rng(seed), count)
    found = solve_cell(cell, mount)
    np.testing.assert_allclose(found.camera, cell.camera, atol=1e-6)
    np.testing.assert_allclose(found.board, cell.board, atol=1e-6)
    assert abs(found.solution.board_scale - 1.0) < 1e-6
    assert found.solution.distrusted() == ()
    assert max(found.left_out_spread()) < 1e-3


def test_three_views_are_enough_but_none_of_them_can_be_left_out() -> None:
    cell = make_cell("fixed", np.random.default_rng(0), 3)
    found = solve_cell(cell, "fixed")
    np.testing.assert_allclose(found.camera, cell.camera, atol=1e-6)
    assert np.isnan(found.left_out_spread()).all()


@given(MOUNTS, SEEDS, st.integers(3, 12))
@settings(max_examples=25)
def test_turning_about_one_axis_is_refused(mount: Mount, seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    axis, start = rng.normal(size=3), random_pose(rng)
    axis /= np.linalg.norm(axis)
    poses = np.stack([
        pose_of(start[:3, :3] @ matrix_from_rotation_vector(angle * axis), rng.uniform(-0.5, 0.5, 3))
        for angle in rng.uniform(-1.5, 1.5, count)
    ])  # fmt: skip
    boards = make_cell(mount, rng, count).board_to_camera()
    assert rotation_spread(poses)[0] < 1e-4
    with pytest.raises(DegenerateViewsError, match="single axis"):
        solve(mount, poses, ideal_views(boards))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_views_are_refused(count: int) -> None:
    cell = make_cell("wrist", np.random.default_rng(0), 3)
    with pytest.raises(DegenerateViewsError, match=f"{count} views of the board, at least 3"):
        solve("wrist", cell.flange_to_base[:count], ideal_views(cell.board_to_camera()[:count]))


@pytest.mark.parametrize("mount", ["fixed", "wrist"])
def test_views_that_contradict_the_others_lose_their_weight(mount: Mount) -> None:
    rng = np.random.default_rng(3)
    cell = make_cell(mount, rng)
    flange = cell.measured_flange(rng)
    flange[[4, 11], :3, 3] += [[0.03, 0.0, 0.0], [0.0, 0.02, -0.02]]  # the arm still moved
    found = solve(mount, flange, ideal_views(cell.board_to_camera(), 0.05, rng))
    assert found.solution.distrusted() == (4, 11)
    shift, turn = distance(found.camera, cell.camera)
    assert shift < 1.0
    assert turn < 0.05


@pytest.mark.parametrize("mount", ["fixed", "wrist"])
def test_the_uncertainty_told_is_that_of_the_errors(mount: Mount) -> None:
    ratios: list[float] = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        cell = make_cell(mount, rng)
        found = solve(mount, cell.measured_flange(rng), ideal_views(cell.board_to_camera(), 0.1, rng))
        ratios.append(distance(found.camera, cell.camera)[0] / found.solution.camera_error()[0])
    assert 0.5 < float(np.sqrt(np.mean(np.square(ratios)))) < 1.5


@pytest.mark.parametrize("scale", [0.97, 1.03])
def test_a_board_printed_too_small_or_too_large_is_noticed(scale: float) -> None:
    rng = np.random.default_rng(5)
    cell = make_cell("wrist", rng)
    boards = cell.board_to_camera()
    boards[:, :3, 3] /= scale  # what a board that is `scale` times as large as believed looks like
    found = solve("wrist", cell.measured_flange(rng), ideal_views(boards))
    assert abs(found.solution.board_scale - scale) < 0.002


@pytest.mark.parametrize("mount", ["fixed", "wrist"])
def test_poses_that_do_not_belong_to_their_images_are_not_taken_for_good(mount: Mount) -> None:
    cell = make_cell(mount, np.random.default_rng(7))
    shuffled = cell.flange_to_base[np.random.default_rng(8).permutation(20)]
    with pytest.raises(VipaError, match="contradict each other"):
        solve_cell(cell, mount, shuffled)


def test_the_suggested_pose_helps_more_than_another_like_those_taken() -> None:
    rng = np.random.default_rng(11)
    cell = make_cell("wrist", rng, 4)
    views = ideal_views(cell.board_to_camera(), 0.05, rng)
    found = solve("wrist", cell.flange_to_base, views)
    poses = suggest(found, cell.flange_to_base, views, CAMERA, BOARD.corners, count=3)
    errors = [found.solution.camera_error()[0], *(pose.error_mm for pose in poses)]
    assert len(poses) == 3
    assert errors == sorted(errors, reverse=True)
    for pose in poses:
        np.testing.assert_allclose(Kinematics().forward(pose.joints), pose.flange_to_base, atol=2e-3)
        seen = inverse(pose.flange_to_base @ cell.camera) @ cell.board
        pixels, _ = project(BOARD.corners, seen, CAMERA)
        assert ((pixels > 0) & (pixels < [CAMERA.width, CAMERA.height])).all()

    def error_with(added: Array) -> float:
        flange = np.concatenate([cell.flange_to_base, added[None]])
        boards = np.concatenate([cell.board_to_camera(), inverse(added @ cell.camera)[None] @ cell.board])
        return solve("wrist", flange, ideal_views(boards, 0.05)).solution.camera_error()[0]

    assert error_with(poses[0].flange_to_base) < 0.8 * error_with(cell.flange_to_base[0])


def test_poses_in_millimetres_or_with_a_wrong_quaternion_are_named() -> None:
    with pytest.raises(ConfigurationError, match=r"views\[0\]\.translation: 412\.\d+ m away.*millimetres"):
        pose_from_quaternion([400.0, 0.0, 100.0], [0.0, 0.0, 0.0, 1.0], "views[0]")
    with pytest.raises(ConfigurationError, match="unit length"):
        pose_from_quaternion([0.4, 0.0, 0.1], [0.0, 0.0, 0.0, 2.0], "x")
    with pytest.raises(ConfigurationError, match="not finite"):
        pose_from_quaternion([np.nan, 0.0, 0.1], [0.0, 0.0, 0.0, 1.0], "x")
    with pytest.raises(ValueError, match="arm_rotation must be positive"):
        Noise(arm_rotation=0.0)
