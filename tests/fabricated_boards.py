"""Rendered views of a ChArUco board, and arms that hold one or look at one."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.board import BoardConfig
from calibration.poses import displaced, inverse, pose_of
from vipa.hardware.realsense import CameraIntrinsics
from vipa_inference.rotations import matrix_from_rotation_vector

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
BOARD = BoardConfig()
CAMERA = CameraIntrinsics(640, 480, 600.0, 602.0, 322.5, 238.0)  # an L515 at its usual size
PIXELS_PER_SQUARE = 80
SUPERSAMPLING = 3


def render(
    board_to_camera: Array,
    rng: np.random.Generator,
    board: BoardConfig = BOARD,
    camera: CameraIntrinsics = CAMERA,
    noise: float = 3.0,
) -> Image:
    """What an undistorted camera sees: the board's texture through its homography, supersampled, with a little blur of
    the lens and noise of the sensor (grey levels)."""
    texture = board.texture(PIXELS_PER_SQUARE)
    margin = PIXELS_PER_SQUARE // 2
    sheet = cv2.copyMakeBorder(texture, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=255)
    # Pixel i of the sheet has its centre at (i + 0.5 - margin) / pixels per square, in squares.
    pitch = board.square_length / PIXELS_PER_SQUARE
    origin = (0.5 - margin) * pitch
    to_metres = np.array([[pitch, 0.0, origin], [0.0, pitch, origin], [0.0, 0.0, 1.0]])
    s = SUPERSAMPLING
    finer = np.array([[s, 0.0, (s - 1) / 2], [0.0, s, (s - 1) / 2], [0.0, 0.0, 1.0]])
    pose = board_to_camera
    homography = finer @ camera.matrix @ np.column_stack([pose[:3, 0], pose[:3, 1], pose[:3, 3]]) @ to_metres
    # Where the board is far away the texture is smoothed first, as the eye of the camera would.
    shrink = PIXELS_PER_SQUARE / (s * camera.fx * board.square_length / pose[2, 3])
    if shrink > 1.5:
        sheet = cv2.GaussianBlur(sheet, (0, 0), 0.4 * shrink)
    size = s * camera.width, s * camera.height
    fine = cv2.warpPerspective(sheet, homography, size, flags=cv2.INTER_LINEAR, borderValue=140)
    image = cv2.resize(fine, (camera.width, camera.height), interpolation=cv2.INTER_AREA).astype(np.float64)
    image = cv2.GaussianBlur(image, (0, 0), 0.6)
    return np.clip(0.8 * image + 15.0 + rng.normal(0.0, noise, image.shape), 0, 255).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Cell:
    """A camera, a board, and the poses of the flange from which the board is seen."""

    mount: str
    camera: Array  # (4, 4) in the base frame (fixed) or the flange frame (wrist), m
    board: Array  # (4, 4) in the flange frame (fixed) or the base frame (wrist), m
    flange_to_base: Array  # (N, 4, 4), m

    def board_to_camera(self) -> Array:
        """(N, 4, 4) what the camera sees, m."""
        if self.mount == "wrist":
            return inverse(self.flange_to_base @ self.camera) @ self.board
        return inverse(self.camera) @ self.flange_to_base @ self.board

    def measured_flange(self, rng: np.random.Generator, shift: float = 1e-4, turn: float = 2e-4) -> Array:
        """(N, 4, 4) poses of the flange with noise of the arm, m and rad."""
        count = len(self.flange_to_base)
        return displaced(
            self.flange_to_base, np.hstack([rng.normal(0.0, turn, (count, 3)), rng.normal(0.0, shift, (count, 3))])
        )


def make_cell(mount: str, rng: np.random.Generator, count: int = 20, board: BoardConfig = BOARD) -> Cell:
    """A cell whose camera sees the board from many sides."""
    width, height = board.size
    boards = np.stack([_seen_board(rng, width, height) for _ in range(count)])
    if mount == "wrist":
        camera = pose_of(matrix_from_rotation_vector([0.03, -0.02, 1.57]), [0.05, 0.01, 0.04])
        fixed = pose_of(matrix_from_rotation_vector([np.pi, 0.0, 0.0]), [0.4, 0.1, 0.01])
        return Cell(mount, camera, fixed, fixed @ inverse(boards) @ inverse(camera))
    camera = pose_of(matrix_from_rotation_vector([-1.9, 0.1, -0.1]), [0.5, -1.0, 0.4])
    held = pose_of(matrix_from_rotation_vector([0.02, 0.03, 0.8]), [-0.14, -0.10, 0.05])
    return Cell(mount, camera, held, camera @ boards @ inverse(held))


def _seen_board(rng: np.random.Generator, width: float, height: float) -> Array:
    """A pose of the board in the camera's frame in which all of it is seen, tilted by up to 40 degrees."""
    axis = rng.normal(size=2)
    tilt = rng.uniform(0.2, 0.7) * axis / np.linalg.norm(axis)
    turn = matrix_from_rotation_vector([0.0, 0.0, rng.uniform(-0.7, 0.7)])
    rotation = matrix_from_rotation_vector([*tilt, 0.0]) @ turn
    middle = np.array([rng.uniform(-0.08, 0.08), rng.uniform(-0.05, 0.05), rng.uniform(0.45, 0.65)])
    return pose_of(rotation, middle - rotation @ [width / 2, height / 2, 0.0])
