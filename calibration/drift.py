"""Has a camera moved since it was calibrated? A board at a known place tells: it must appear where it was.

The board is either fixed in the cell, or on the flange as it was in the calibration.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calibration.artefact import FrameFile, frame_file
from calibration.board import BoardConfig
from calibration.detection import BoardNotSeenError, BoardView, Image, detect, locate, project
from calibration.poses import inverse, middle
from vipa.errors import ConfigurationError
from vipa.hardware.realsense import CameraIntrinsics
from vipa.lab import BASE_FRAME, LabConfig

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


def camera_of_lab(lab: LabConfig, name: str) -> FrameFile:
    """The pose of a camera as the laboratory's YAML has it.

    Raises:
        ConfigurationError: there is no such camera.
    """
    if name not in lab.cameras:
        raise ConfigurationError(f"drift: laboratory {lab.name} has no camera {name}; it has {', '.join(lab.cameras)}")
    camera = lab.cameras[name]
    pose = camera.extrinsics
    return frame_file(name, camera.device.serial, pose.frame, f"{name}_color_optical_frame", pose.matrix(), {})


class ReferenceWatch:
    """Watches a camera's reference board until it is known whether the camera has moved.

    Args:
        camera: pose of a fixed camera.
        reference: pose of a board fixed in the cell, from ``remember_board``.
        tolerance_mm: how far the board may appear from where it was.
        views: wanted before judging.

    Raises:
        ConfigurationError: the reference is no fixed board of this camera.
    """

    def __init__(self, camera: FrameFile, reference: FrameFile, tolerance_mm: float, views: int = 3) -> None:
        if camera.serial != reference.serial or reference.board is None or reference.parent != BASE_FRAME:
            raise ConfigurationError(
                f"drift check: the reference of camera {camera.camera} is not of a board fixed in the cell and seen by "
                f"its camera {camera.serial}; write it anew: vipa calibrate drift --remember"
            )
        self._camera, self._reference, self._board, self._wanted = camera, reference, reference.board, views
        self._limits = DriftLimits(tolerance_mm, tolerance_mm)
        self._views: list[BoardView] = []
        self._missed = 0
        self.drift: Drift | None = None

    @property
    def done(self) -> bool:
        """Whether the camera is judged: the board was seen often enough, or missed as often."""
        return self.drift is not None or self._missed >= self._wanted

    def see(self, image: Image, intrinsics: CameraIntrinsics) -> None:
        """Take an image (H, W, 3) RGB."""
        try:
            self._views.append(locate(detect(self._board, image, self._camera.camera), intrinsics, "image"))
        except BoardNotSeenError:
            self._missed += 1
            return
        if len(self._views) == self._wanted:
            nothing = [None] * self._wanted
            self.drift = check_drift(self._camera, self._reference, self._views, nothing, intrinsics, self._limits)

    def trouble(self) -> str:
        """What is wrong, one line; empty where the camera stands where it was calibrated."""
        if self.drift is None:
            return f"camera {self._camera.camera} does not see its reference board: free the view, or point it there"
        if self.drift.verdict == "ok":
            return ""
        return (
            f"camera {self._camera.camera} has moved: its reference board appears {self.drift.shift_mm:.1f} mm from "
            f"where it was, {self._limits.refuse_mm:g} mm are borne; calibrate it anew, or put it back"
        )


def _judge(shift_mm: float, limits: DriftLimits) -> Verdict:
    if not shift_mm < limits.refuse_mm:  # not a number refuses, too
        return "refuse"
    return "ok" if shift_mm < limits.warn_mm else "warn"


def _root_mean_square(vectors: Array) -> float:
    """Of the lengths of vectors (N, K)."""
    return float(np.sqrt(np.mean(np.sum(vectors**2, axis=-1))))
