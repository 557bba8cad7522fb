"""Finding the board in an image, and where it stands in the camera's optical frame."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.board import BoardConfig
from calibration.poses import pose_of
from vipa.errors import ConfigurationError, VipaError
from vipa.hardware.realsense import CameraIntrinsics

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
FEWEST_CORNERS = 6


class BoardNotSeenError(VipaError):
    """The board is not, or not well enough, in the image."""


@dataclass(frozen=True, eq=False)
class Detection:
    """The board's inner corners as found in one image."""

    points: Array  # (N, 3) in the board's frame, m
    pixels: Array  # (N, 2)


@dataclass(frozen=True, eq=False)
class BoardView:
    """Where the board stands in one image.

    Attributes:
        detection: the corners from which this was computed.
        board_to_camera: (4, 4) pose of the board in the camera's optical frame, m.
        covariance: (6, 6) of the pose as a twist in the camera's frame, for corners that are uncertain by 1 px.
        error_px: root mean square of the corners' distances from where this pose puts them.
    """

    detection: Detection
    board_to_camera: Array
    covariance: Array
    error_px: float


def read_image(path: Path) -> Image:
    """An image as grey values (H, W).

    Raises:
        ConfigurationError: the file is missing or holds no image.
    """
    if not path.is_file():
        raise ConfigurationError(f"image {path}: no such file")
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise ConfigurationError(f"image {path}: not an image that OpenCV can read")
    return np.asarray(image, dtype=np.uint8)


def detect(board: BoardConfig, image: Image, where: str) -> Detection:
    """Find the board's corners in grey values (H, W) or RGB (H, W, 3).

    Raises:
        BoardNotSeenError: fewer than six corners are found, or all of them lie on one line.
    """
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8) if image.ndim == 3 else image
    detector: Any = cv2.aruco.CharucoDetector(board.opencv())
    corners, ids, _, _ = detector.detectBoard(grey)
    found = 0 if ids is None else len(ids)
    if ids is None or found < FEWEST_CORNERS:
        raise BoardNotSeenError(
            f"{where}: {found} corners of the board seen, at least {FEWEST_CORNERS} are needed; look at all of it in "
            f"even light, and check that it is the one described ({board.columns} x {board.rows}, {board.dictionary})"
        )
    rim = 0.5 * (1.0 - board.marker_length / board.square_length)
    pixels = _sharpened(grey, np.asarray(corners, dtype=np.float32).reshape(-1, 2), rim)
    points = board.corners[np.ravel(ids)]
    if np.linalg.matrix_rank(points[:, :2] - points[0, :2]) < 2:
        raise BoardNotSeenError(f"{where}: all {found} corners seen lie on one line; show more of the board")
    return Detection(points, pixels)


def locate(detection: Detection, intrinsics: CameraIntrinsics, where: str) -> BoardView:
    """Where the board stands in the camera's frame.

    Raises:
        BoardNotSeenError: the corners fit no pose.
    """
    matrix, distortion = intrinsics.matrix, np.array(intrinsics.coefficients)
    found, rotations, translations, errors = cv2.solvePnPGeneric(
        detection.points, detection.pixels, matrix, distortion, flags=cv2.SOLVEPNP_IPPE
    )
    if not found or not np.isfinite(errors).all():
        raise BoardNotSeenError(f"{where}: the corners fit no pose of the board; check the camera's intrinsics")
    rotation, translation = cv2.solvePnPRefineLM(
        detection.points, detection.pixels, matrix, distortion, rotations[0], translations[0]
    )
    pose = pose_of(cv2.Rodrigues(rotation)[0], translation)
    pixels, jacobian = project(detection.points, pose, intrinsics)
    error_px = float(np.sqrt(np.mean(np.sum((pixels - detection.pixels) ** 2, axis=1))))
    return BoardView(detection, pose, covariance_of(jacobian), error_px)


def project(points: Array, board_to_camera: Array, intrinsics: CameraIntrinsics) -> tuple[Array, Array]:
    """The pixels (N, 2) of points (N, 3), m, on the board, and their derivative (2 N, 6) by a twist in the camera's
    frame."""
    seen = points @ board_to_camera[:3, :3].T + board_to_camera[:3, 3]
    pixels, jacobian = cv2.projectPoints(
        seen, np.zeros(3), np.zeros(3), intrinsics.matrix, np.array(intrinsics.coefficients)
    )
    return np.asarray(pixels, dtype=np.float64).reshape(-1, 2), np.asarray(jacobian, dtype=np.float64)[:, :6]


def covariance_of(jacobian: Array) -> Array:
    """The covariance (6, 6) of a twist from the pixels' derivative (2 N, 6) by it, for corners uncertain by 1 px."""
    return np.asarray(np.linalg.inv(jacobian.T @ jacobian), dtype=np.float64)


def _sharpened(grey: Image, corners: NDArray[np.float32], rim: float) -> Array:
    """The corners to a fraction of a pixel, in windows that reach no marker.

    Args:
        grey: (H, W).
        corners: (N, 2) px, nearly right.
        rim: white around a marker, as a share of the square's length.
    """
    apart = np.linalg.norm(corners[:, None] - corners[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    half = int(np.clip(rim * apart.min() - 0.5, 2, 10))
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 50, 1e-4)
    refined = cv2.cornerSubPix(grey, corners.reshape(-1, 1, 2).copy(), (half, half), (-1, -1), criteria)
    return np.asarray(refined, dtype=np.float64).reshape(-1, 2)
