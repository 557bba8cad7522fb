"""Has a camera moved since it was calibrated? A board at a known place tells: it must appear where it was.

The board is either fixed in the cell, or on the flange as it was in the calibration.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calibration.artefact import BASE_FRAME, FrameFile, frame_file
from calibration.board import BoardConfig
from calibration.detection import BoardView, project
from calibration.poses import inverse, middle
from vipa.errors import ConfigurationError
from vipa.hardware.realsense import CameraIntrinsics

Array = NDArray[np.float64]
Verdict = Literal["ok", "warn", "refuse"]


@dataclass(frozen=True)
class DriftLimits:
    """How far the board may appear from where it was."""

    warn_mm: float = 2.0
    refuse_mm: float = 4.0

    def __post_init__(self) -> None:
        if not 0.0 < self.warn_mm <= self.refuse_mm:
            raise ValueError(f"warn_mm, refuse_mm: {self.warn_mm:g} and {self.refuse_mm:g} must be positive and rise")


@dataclass(frozen=True)
class Drift:
    """How far the board appears from where it was.

    Attributes:
        shift_mm: of the board's corners in space, root mean square; the middle of all views.
        shift_px: the same in the image.
        verdict: "ok", "warn": calibrate soon, or "refuse": do not move the robot by this camera.
        each_mm: of the single views.
    """

    shift_mm: float
    shift_px: float
    verdict: Verdict
    each_mm: tuple[float, ...]


def check_drift(
    camera: FrameFile,
    board: FrameFile,
    views: Sequence[BoardView],
    flange_to_base: Sequence[Array | None],
    intrinsics: CameraIntrinsics,
    limits: DriftLimits | None = None,
) -> Drift:
    """Compare where the board appears with where the calibration puts it.

    Args:
        camera: pose of the camera, from the calibration.
        board: pose of the board, from the calibration or from ``remember_board``.
        views: the board as it is seen now, at least once.
        flange_to_base: (4, 4) of each view, m; None where neither camera nor board moves with the flange.
        intrinsics: of the camera.
        limits: of the verdict.

    Raises:
        ConfigurationError: the board was measured with another camera, there is no view, or the pose of the flange is
            needed and not given.
    """
    if camera.serial != board.serial:
        raise ConfigurationError(
            f"drift: {camera.child} is that of camera {camera.serial}, {board.child} was measured with {board.serial}"
        )
    if not views:
        raise ConfigurationError("drift: no view of the board")
    limits = limits or DriftLimits()
    in_space: list[float] = []
    in_image: list[float] = []
    for view, flange in zip(views, flange_to_base, strict=True):
        expected = inverse(camera.in_base(flange)) @ board.in_base(flange)
        points = np.column_stack([view.detection.points, np.ones(len(view.detection.points))])
        shift = points @ (view.board_to_camera - expected)[:3].T
        in_space.append(1e3 * _root_mean_square(shift))
        in_image.append(
            _root_mean_square(project(view.detection.points, expected, intrinsics)[0] - view.detection.pixels)
        )
    shift_mm = float(np.median(in_space))
    return Drift(shift_mm, float(np.median(in_image)), _judge(shift_mm, limits), tuple(in_space))


def remember_board(
    camera: FrameFile, board: BoardConfig, views: Sequence[BoardView], flange_to_base: Sequence[Array | None]
) -> FrameFile:
    """Where a board that is fixed in the cell stands, as the calibrated camera sees it now: the reference for later.

    Raises:
        ConfigurationError: there is no view, or the camera moves with the flange and a view has no pose of it.
    """
    if not views:
        raise ConfigurationError("drift: no view of the board")
    poses = np.stack(
        [camera.in_base(flange) @ v.board_to_camera for v, flange in zip(views, flange_to_base, strict=True)]
    )
    place = middle(poses)
    residuals = {"views": float(len(views)), "spread_mm": 1e3 * _root_mean_square((poses - place)[:, :3, 3])}
    return frame_file(
        camera.camera, camera.serial, BASE_FRAME, f"{camera.camera}_reference_board", place, residuals, board
    )


def _judge(shift_mm: float, limits: DriftLimits) -> Verdict:
    if not shift_mm < limits.refuse_mm:  # not a number refuses, too
        return "refuse"
    return "ok" if shift_mm < limits.warn_mm else "warn"


def _root_mean_square(vectors: Array) -> float:
    """Of the lengths of vectors (N, K)."""
    return float(np.sqrt(np.mean(np.sum(vectors**2, axis=-1))))
