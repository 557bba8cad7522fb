"""Hand-eye calibration: where a camera stands, from views of the board and the poses of the arm's flange.

Both mounts obey one equation, ``motion @ camera @ board = reference`` for every view:

- a camera on the wrist: ``motion`` is the flange in the base frame, ``camera`` the camera in the flange frame,
  ``reference`` the board in the base frame;
- a fixed camera that sees a board on the flange: ``motion`` is the base in the flange frame, ``camera`` the camera in
  the base frame, ``reference`` the board in the flange frame.

OpenCV's closed forms start; ``calibration.refinement`` weighs every view by what it knows and refines.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.artefact import FrameFile, frame_file
from calibration.board import BoardConfig
from calibration.detection import BoardView
from calibration.poses import inverse, middle, pose_of, twist_of
from calibration.refinement import Mount, Noise, Problem, Solution, refine
from vipa.errors import VipaError
from vipa.lab import BASE_FRAME, FLANGE_FRAME, Frame
from vipa_inference.rotations import rotation_vector_from_matrix

Array = NDArray[np.float64]
METHODS = {
    "park": cv2.CALIB_HAND_EYE_PARK,
    "horaud": cv2.CALIB_HAND_EYE_HORAUD,
    "tsai": cv2.CALIB_HAND_EYE_TSAI,
    "daniilidis": cv2.CALIB_HAND_EYE_DANIILIDIS,
    "andreff": cv2.CALIB_HAND_EYE_ANDREFF,
}
FEWEST_VIEWS = 3
LEAST_SPREAD_DEG = 3.0


class DegenerateViewsError(VipaError):
    """Views from which the camera's pose cannot be computed."""


@dataclass(frozen=True, eq=False)
class HandEye:
    """The outcome of a hand-eye calibration.

    Attributes:
        mount: of the camera.
        solution: the refined poses, their uncertainty and the residuals of each view.
        closed_forms: the camera's pose (4, 4) by each method of OpenCV that gave one.
        left_out: the camera's poses (N, 4, 4) with each view left out; none (0, 4, 4) of three views.
        reprojection_px: root mean square of the corners' distances from where each view's own pose puts them.
        spread_deg: how far the flange turned about its second most used axis; see ``rotation_spread``.
    """

    mount: Mount
    solution: Solution
    closed_forms: dict[str, Array]
    left_out: Array
    reprojection_px: float
    spread_deg: float

    @property
    def camera(self) -> Array:
        """(4, 4) pose of the camera's optical frame in the flange frame (wrist) or the base frame (fixed), m."""
        return self.solution.camera

    @property
    def board(self) -> Array:
        """(4, 4) pose of the board in the base frame (wrist) or the flange frame (fixed), m."""
        return self.solution.reference

    def left_out_spread(self) -> tuple[float, float]:
        """The most that leaving out one view moves the camera: mm and degrees; not a number where none can be."""
        if len(self.left_out) == 0:
            return float("nan"), float("nan")
        moved = twist_of(inverse(self.camera) @ self.left_out)
        shift, turn = np.linalg.norm(moved[:, 3:], axis=1), np.linalg.norm(moved[:, :3], axis=1)
        return 1e3 * float(shift.max()), float(np.degrees(turn.max()))

    def figures(self) -> dict[str, float]:
        """How good the calibration is, units in the names."""
        solution = self.solution
        (camera_mm, camera_deg), (left_out_mm, left_out_deg) = solution.camera_error(), self.left_out_spread()
        return {
            "views": float(len(solution.weights)),
            "reprojection_px": self.reprojection_px,
            "residual_mm": float(np.sqrt(np.mean(solution.residual_mm**2))),
            "residual_deg": float(np.sqrt(np.mean(solution.residual_deg**2))),
            "camera_error_mm": camera_mm,
            "camera_error_deg": camera_deg,
            "left_out_mm": left_out_mm,
            "left_out_deg": left_out_deg,
            "rotation_spread_deg": self.spread_deg,
            "condition": solution.condition,
            "noise_ratio": solution.noise_ratio,
            "board_scale_off_percent": 100.0 * abs(solution.board_scale - 1.0),
        }

    def files(self, name: str, serial: str, board: BoardConfig) -> tuple[FrameFile, FrameFile]:
        """What is kept of the calibration of a camera with this name and serial number: its pose, and the board's."""
        fixed = self.mount == "fixed"
        parents: tuple[Frame, Frame] = (BASE_FRAME, FLANGE_FRAME) if fixed else (FLANGE_FRAME, BASE_FRAME)
        figures = self.figures()
        return (
            frame_file(name, serial, parents[0], f"{name}_color_optical_frame", self.camera, figures),
            frame_file(name, serial, parents[1], f"{name}_board", self.board, figures, board),
        )


def solve(mount: Mount, flange_to_base: Array, views: Sequence[BoardView], noise: Noise | None = None) -> HandEye:
    """Compute where the camera stands.

    Args:
        mount: of the camera.
        flange_to_base: (N, 4, 4) poses of the flange in the base frame, m.
        views: the board as seen from there.
        noise: how well arm and corners are known.

    Raises:
        DegenerateViewsError: fewer than three views, the flange turned about one axis only, or the views contradict
            each other.
    """
    spread = check_views(flange_to_base)
    problem = make_problem(mount, flange_to_base, views, noise or Noise())
    closed_forms = solve_closed_forms(problem.motions, problem.boards)
    start = _best_start(problem, closed_forms)
    solution = refine(problem, *start)
    fewer = range(len(views) if len(views) > FEWEST_VIEWS else 0)
    left_out = [refine(problem.without(i), solution.camera, solution.reference).camera for i in fewer]
    reprojection_px = float(np.sqrt(np.mean([view.error_px**2 for view in views])))
    return HandEye(mount, solution, closed_forms, np.array(left_out).reshape(-1, 4, 4), reprojection_px, spread)


def check_views(flange_to_base: Array) -> float:
    """See that the poses (N, 4, 4) of the flange determine the camera's; the spread of their rotations, degrees.

    Raises:
        DegenerateViewsError: they do not.
    """
    if len(flange_to_base) < FEWEST_VIEWS:
        raise DegenerateViewsError(
            f"hand-eye: {len(flange_to_base)} views of the board, at least {FEWEST_VIEWS} are needed; 15 to 20 are good"
        )
    spread, axis = rotation_spread(flange_to_base)
    if spread < LEAST_SPREAD_DEG:
        names = ", ".join(f"{v:.2f}" for v in axis)
        raise DegenerateViewsError(
            f"hand-eye: between the views the flange turned about a single axis (in its own frame {names}), or hardly "
            "at all; add views that are turned by 20 degrees and more about other axes"
        )
    return spread


def rotation_spread(flange_to_base: Array) -> tuple[float, Array]:
    """How far the flange turned about its second most used axis (root mean square between views, degrees), and the
    most used axis (3,) in its own frame. The camera's pose is undetermined where the first is zero."""
    rotations = flange_to_base[:, :3, :3]
    first, second = np.triu_indices(len(rotations), 1)
    turns = rotation_vector_from_matrix(np.swapaxes(rotations[first], -1, -2) @ rotations[second])
    values, vectors = np.linalg.eigh(turns.T @ turns / max(len(turns), 1))
    return float(np.degrees(np.sqrt(max(float(values[1]), 0.0)))), vectors[:, 2]


def make_problem(mount: Mount, flange_to_base: Array, views: Sequence[BoardView], noise: Noise) -> Problem:
    """The equation of the mount for these views."""
    return Problem(
        mount,
        flange_to_base if mount == "wrist" else inverse(flange_to_base),
        np.stack([view.board_to_camera for view in views]),
        np.stack([corner_noise(view, noise) ** 2 * view.covariance for view in views]),
        noise,
    )


def corner_noise(view: BoardView, noise: Noise) -> float:
    """Standard deviation of a corner along x or y in one view, px, as well as its corners fit."""
    coordinates = 2 * len(view.detection.points)
    return max(noise.least_corner, view.error_px * float(np.sqrt(0.5 * coordinates / (coordinates - 6))))


def solve_closed_forms(motions: Array, boards: Array) -> dict[str, Array]:
    """The camera's pose (4, 4) by each method of OpenCV; one that fails on these views is left out."""
    solver: Any = cv2.calibrateHandEye
    arguments = [list(a) for p in (motions, boards) for a in (p[:, :3, :3], p[:, :3, 3])]
    found: dict[str, Array] = {}
    for name, method in METHODS.items():
        try:
            rotation, translation = solver(*arguments, method=method)
        except cv2.error:
            continue
        camera = pose_of(rotation, translation)
        if np.isfinite(camera).all() and abs(float(np.linalg.det(camera[:3, :3])) - 1.0) < 1e-3:
            found[name] = camera
    return found


def _best_start(problem: Problem, closed_forms: dict[str, Array]) -> tuple[Array, Array]:
    """The closed form, and the board's pose that goes with it, under which the middle view fits best."""
    if not closed_forms:
        raise DegenerateViewsError("hand-eye: no method of OpenCV solves these views; add views with other rotations")

    def misfit(start: tuple[Array, Array]) -> float:
        return float(np.median(problem.distances(*start)))

    starts = [(camera, middle(problem.motions @ camera @ problem.boards)) for camera in closed_forms.values()]
    return min(starts, key=misfit)
