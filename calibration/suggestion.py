"""Which pose of the arm would help a hand-eye calibration most: the next views, by what they add to what is known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.detection import BoardView, covariance_of, project
from calibration.hand_eye import HandEye, make_problem
from calibration.poses import inverse, pose_of
from calibration.refinement import Noise, Problem, normal_matrix
from vipa.control.kinematics import Kinematics
from vipa.hardware.fr3.limits import JOINT_LOWER, JOINT_UPPER
from vipa.hardware.realsense import CameraIntrinsics
from vipa_inference.rotations import matrix_from_rotation_vector

Array = NDArray[np.float64]
TILTS_DEG, DIRECTIONS, ROLLS_DEG, DISTANCES = (0.0, 20.0, 35.0), 8, (-70.0, 0.0, 70.0), (0.8, 1.0, 1.25)
IMAGE_MARGIN = 0.04  # of the image, that stays free around the board
LEAST_HEIGHT = 0.1  # m of the flange above the base's foot
JOINT_MARGIN = 0.15  # rad from the joints' limits

Allowed = Callable[[Array], NDArray[np.bool_]]
"""Which poses (K, 4, 4) of the flange may be suggested (K,)."""


@dataclass(frozen=True, eq=False)
class Suggestion:
    """A pose from which the next view should be taken.

    Attributes:
        joints: (7,) rad.
        flange_to_base: (4, 4), m.
        error_mm: standard deviation of the camera's place to be expected with this view and those suggested before it.
        error_deg: the same for its rotation.
    """

    joints: Array
    flange_to_base: Array
    error_mm: float
    error_deg: float


def suggest(
    hand_eye: HandEye,
    flange_to_base: Array,
    views: Sequence[BoardView],
    intrinsics: CameraIntrinsics,
    corners: Array,
    count: int = 3,
    noise: Noise | None = None,
    allowed: Allowed | None = None,
) -> list[Suggestion]:
    """Choose poses that the arm can reach and from which the whole board is seen, the most useful first.

    Nothing is known of obstacles: look before you go there.

    Args:
        hand_eye: as solved from the views so far.
        flange_to_base: (N, 4, 4) where they were taken, m.
        views: the board as seen from there.
        intrinsics: of the camera.
        corners: (M, 3) of the board in its frame, m.
        count: how many are wanted; fewer are given where fewer can be reached.
        noise: of arm and corners.
        allowed: where the flange may stand; None: wherever the arm reaches.
    """
    noise = noise or Noise()
    problem = make_problem(hand_eye.mount, flange_to_base, views, noise)
    _, jacobian, _ = problem.linearised(hand_eye.camera, hand_eye.board)
    known = normal_matrix(jacobian, hand_eye.solution.weights)
    distance = float(np.median([view.board_to_camera[2, 3] for view in views]))
    boards, covariances = _seen_boards(distance, intrinsics, corners, noise.least_corner)
    flanges = _flange_poses(hand_eye, boards)
    reachable, joints = _reach(flanges, allowed)
    if not reachable.any():
        return []
    boards, covariances, flanges, joints = (a[reachable] for a in (boards, covariances, flanges, joints))
    motions = flanges if hand_eye.mount == "wrist" else inverse(flanges)
    candidates = Problem(hand_eye.mount, motions, boards, covariances, noise)
    _, jacobian, _ = candidates.linearised(hand_eye.camera, hand_eye.board)
    gains = np.einsum("nik,nil->nkl", jacobian, jacobian)
    found: list[Suggestion] = []
    for _ in range(min(count, len(gains))):
        # A view may be taken once: what it would add again, it does not.
        variances = np.diagonal(np.linalg.pinv(known + gains, hermitian=True), axis1=-2, axis2=-1)
        places, turns = np.sqrt(variances[:, 3:6].sum(axis=-1)), np.sqrt(variances[:, :3].sum(axis=-1))
        best = int(np.argmin(places + 0.1 * turns))  # a radian compares to 0.1 m, as in the condition number
        ratio = hand_eye.solution.noise_ratio
        found.append(
            Suggestion(
                joints[best],
                flanges[best],
                1e3 * ratio * float(places[best]),
                float(np.degrees(ratio * turns[best])),
            )
        )
        known, gains[best] = known + gains[best], 0.0
    return found


def _seen_boards(
    distance: float, intrinsics: CameraIntrinsics, corners: Array, corner_noise: float
) -> tuple[Array, Array]:
    """Poses (K, 4, 4) of the board in which all its corners (M, 3) are in the image, with their covariances."""
    middle = corners.mean(axis=0)
    margin = IMAGE_MARGIN * np.array([intrinsics.width, intrinsics.height])
    upper = np.array([intrinsics.width - 1.0, intrinsics.height - 1.0]) - margin
    poses: list[Array] = []
    covariances: list[Array] = []
    for tilt in np.radians(TILTS_DEG):
        for direction in np.arange(DIRECTIONS if tilt else 1) * (2.0 * np.pi / DIRECTIONS):
            lean = matrix_from_rotation_vector([tilt * np.cos(direction), tilt * np.sin(direction), 0.0])
            for roll in np.radians(ROLLS_DEG):
                rotation = lean @ matrix_from_rotation_vector([0.0, 0.0, roll])
                for factor in DISTANCES:
                    pose = pose_of(rotation, np.array([0.0, 0.0, factor * distance]) - rotation @ middle)
                    pixels, jacobian = project(corners, pose, intrinsics)
                    if ((pixels > margin) & (pixels < upper)).all():
                        poses.append(pose)
                        covariances.append(corner_noise**2 * covariance_of(jacobian))
    return np.array(poses).reshape(-1, 4, 4), np.array(covariances).reshape(-1, 6, 6)


def _flange_poses(hand_eye: HandEye, boards: Array) -> Array:
    """Where the flange must stand (K, 4, 4) so that the camera sees the board at these poses."""
    if hand_eye.mount == "wrist":
        return hand_eye.board @ inverse(boards) @ inverse(hand_eye.camera)
    return hand_eye.camera @ boards @ inverse(hand_eye.board)


def _reach(flanges: Array, allowed: Allowed | None) -> tuple[NDArray[np.bool_], Array]:
    """Which poses (K, 4, 4) of the flange may and can be reached, and the joint positions (K, 7) there."""
    kinematics = Kinematics()
    rest = np.array(kinematics.config.rest_posture)
    reachable, joints = np.zeros(len(flanges), dtype=np.bool_), np.zeros((len(flanges), 7))
    wanted = flanges[:, 2, 3] >= LEAST_HEIGHT
    if allowed is not None:
        wanted &= allowed(flanges)
    low, high = JOINT_LOWER + JOINT_MARGIN, JOINT_UPPER - JOINT_MARGIN
    for i in np.flatnonzero(wanted):
        solution = kinematics.solve(flanges[i], rest)
        reachable[i] = solution.converged and bool(((solution.q >= low) & (solution.q <= high)).all())
        joints[i] = solution.q
    return reachable, joints
