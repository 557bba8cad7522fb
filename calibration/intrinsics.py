"""Do the camera's own intrinsics fit what it sees, and does an estimate of our own differ?

An L515 carries intrinsics from the factory. They are kept unless an estimate from many views fits clearly better.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.detection import Detection, locate
from vipa.errors import VipaError
from vipa.hardware.realsense import CameraIntrinsics

Array = NDArray[np.float64]
FEWEST_VIEWS = 5
LEAST_TILT_DEG = 10.0  # of one view at least: views that all face the board do not determine the focal length


@dataclass(frozen=True)
class IntrinsicsLimits:
    """From where on the device's intrinsics are doubted."""

    error_px: float = 0.5  # root mean square of the corners' distances
    gain: float = 1.25  # how much better the estimate must fit to be worth a warning
    focal_share: float = 0.005  # of the focal length
    deviations: float = 3.0  # standard deviations of the estimate


@dataclass(frozen=True)
class IntrinsicsCheck:
    """The device's intrinsics beside an estimate.

    Attributes:
        device: as the camera gives them.
        estimate: from the views, with all five coefficients of the distortion.
        device_px: root mean square of the corners' distances under ``device``.
        estimate_px: the same under ``estimate``.
        deviations: (4,) standard deviations of the estimate's fx, fy, cx, cy, px.
        warnings: what is to be looked at, one line each; none where the device's intrinsics are good.
    """

    device: CameraIntrinsics
    estimate: CameraIntrinsics
    device_px: float
    estimate_px: float
    deviations: tuple[float, float, float, float]
    warnings: tuple[str, ...]


def check_intrinsics(
    detections: Sequence[Detection], device: CameraIntrinsics, limits: IntrinsicsLimits | None = None
) -> IntrinsicsCheck:
    """Compare the device's intrinsics with an estimate from views of the board.

    Raises:
        VipaError: fewer than five views, or none that is tilted.
    """
    if len(detections) < FEWEST_VIEWS:
        raise VipaError(f"intrinsics: {len(detections)} views of the board, at least {FEWEST_VIEWS} are needed")
    views = [locate(d, device, f"view {i}") for i, d in enumerate(detections)]
    tilts = [float(np.degrees(np.arccos(np.clip(abs(v.board_to_camera[2, 2]), 0.0, 1.0)))) for v in views]
    if max(tilts) < LEAST_TILT_DEG:
        raise VipaError(f"intrinsics: no view is tilted by {LEAST_TILT_DEG:g} degrees; tilt the board in several ways")
    corners = np.array([len(d.points) for d in detections], dtype=np.float64)
    device_px = float(np.sqrt(np.average([v.error_px**2 for v in views], weights=corners)))
    estimate, estimate_px, deviations = _estimate(detections, device)
    warnings = _warnings(device, estimate, device_px, estimate_px, deviations, limits or IntrinsicsLimits())
    return IntrinsicsCheck(device, estimate, device_px, estimate_px, deviations, warnings)


def _estimate(
    detections: Sequence[Detection], start: CameraIntrinsics
) -> tuple[CameraIntrinsics, float, tuple[float, float, float, float]]:
    points = [d.points.astype(np.float32) for d in detections]
    pixels = [d.pixels.astype(np.float32) for d in detections]
    size = start.width, start.height
    error, matrix, distortion, _, _, spread, _, _ = cv2.calibrateCameraExtended(
        points, pixels, size, start.matrix, np.array(start.coefficients), flags=cv2.CALIB_USE_INTRINSIC_GUESS
    )
    k1, k2, p1, p2, k3 = (float(v) for v in np.ravel(distortion)[:5])
    fx, fy, cx, cy = (float(v) for v in np.ravel(spread)[:4])
    found = replace(
        CameraIntrinsics.from_matrix(np.asarray(matrix, dtype=np.float64), *size), coefficients=(k1, k2, p1, p2, k3)
    )
    return found, float(error), (fx, fy, cx, cy)


def _warnings(
    device: CameraIntrinsics,
    estimate: CameraIntrinsics,
    device_px: float,
    estimate_px: float,
    deviations: tuple[float, float, float, float],
    limits: IntrinsicsLimits,
) -> tuple[str, ...]:
    found: list[str] = []
    if device_px > limits.error_px:
        found.append(
            f"the camera's own intrinsics leave {device_px:.2f} px, more than {limits.error_px:g}: wrong image size or "
            "camera, a board that is not flat, or a camera to be replaced"
        )
    if device_px > limits.gain * estimate_px + 0.02:
        found.append(f"an own estimate fits better: {estimate_px:.2f} px instead of {device_px:.2f}")
    # Of the principal point a board tells little; what it tells is in the deviations.
    for name, own, other, deviation in (
        ("fx", device.fx, estimate.fx, deviations[0]),
        ("fy", device.fy, estimate.fy, deviations[1]),
    ):
        if abs(other - own) > max(limits.focal_share * own, limits.deviations * deviation):
            found.append(f"{name} is estimated as {other:.1f} +- {deviation:.1f} px, the camera says {own:.1f}")
    return tuple(found)
