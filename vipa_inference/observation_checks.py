"""Checks of an observation before a policy uses it: everything that is wrong with it, in one line."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vipa_inference.policy import HAND_DIMENSION, CameraView, CommittedPlan, Observation, PolicyError

MAX_EXPOSURE_SPREAD_NS = 100_000_000
"""The frames of one observation may be exposed this far apart."""


def check_observation(observation: Observation, cameras: Sequence[str]) -> None:
    """Refuse an observation that a policy cannot use.

    Args:
        observation: what the policy node assembled.
        cameras: names of the cameras that the policy needs.

    Raises:
        PolicyError: a camera is missing, an image or a state has the wrong type or shape, a number is not finite, a
            pose is no rigid transform, or the exposures lie more than 100 ms apart; the message names it.
    """
    for name in cameras:
        if name not in observation.views:
            present = ", ".join(sorted(observation.views)) or "none"
            raise PolicyError(
                f"observation: no frame of camera {name} (present: {present}). Check that its driver is running"
            )
        _check_view(name, observation.views[name])
    exposures = {name: observation.views[name].exposure_ns for name in cameras}
    if exposures:
        oldest, newest = min(exposures, key=exposures.__getitem__), max(exposures, key=exposures.__getitem__)
        spread_ns = exposures[newest] - exposures[oldest]
        if spread_ns > MAX_EXPOSURE_SPREAD_NS:
            raise PolicyError(
                f"observation: the frame of camera {oldest} is {spread_ns / 1e6:.0f} ms older than that of {newest} "
                f"(allowed: {MAX_EXPOSURE_SPREAD_NS / 1e6:.0f} ms). Check the frame rate of camera {oldest}"
            )
    _check_pose("end-effector pose", observation.end_effector_pose)
    _check_numbers("joint positions", observation.joint_positions, (7,))
    _check_numbers("hand positions", observation.hand_positions, (HAND_DIMENSION,))
    if observation.committed is not None:
        _check_committed(observation.committed)


def check_image(image: NDArray[np.generic], where: str) -> None:
    """Refuse what is no RGB image; ``where`` says who gave it.

    Raises:
        PolicyError: the image is empty, or not uint8 (height, width, 3).
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise PolicyError(
            f"{where} gave an image of {image.dtype} {image.shape}, expected uint8 (height, width, 3) RGB"
        )


def _check_view(name: str, view: CameraView) -> None:
    check_image(view.image, f"observation: camera {name}")
    _check_numbers(f"intrinsics of camera {name}", view.intrinsics, (3, 3))
    if view.intrinsics[0, 0] <= 0 or view.intrinsics[1, 1] <= 0:
        raise PolicyError(f"observation: the focal lengths of camera {name} are not positive. Check its camera_info")
    _check_pose(f"pose of camera {name}", view.camera_to_base)


def _check_committed(plan: CommittedPlan) -> None:
    times_ns = plan.times_ns
    if times_ns.ndim != 1 or not times_ns.size or np.any(np.diff(times_ns) <= 0):
        raise PolicyError(f"observation: the times {times_ns.shape} of the committed plan do not increase, or are none")
    _check_pose("committed plan", plan.poses, (times_ns.size, 4, 4))
    _check_numbers("hand targets of the committed plan", plan.hand, (times_ns.size, HAND_DIMENSION))


def _check_pose(what: str, pose: NDArray[np.float64], shape: tuple[int, ...] = (4, 4)) -> None:
    _check_numbers(what, pose, shape)
    rotation = pose[..., :3, :3]
    is_orthogonal = np.allclose(rotation @ rotation.swapaxes(-1, -2), np.eye(3), atol=1e-3)
    if not is_orthogonal or np.any(np.linalg.det(rotation) < 0):
        raise PolicyError(f"observation: the {what} is no rigid transform: its rotation part is not a rotation")


def _check_numbers(what: str, values: NDArray[np.float64], shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise PolicyError(f"observation: {what} of shape {values.shape}, expected {shape}")
    if not np.all(np.isfinite(values)):
        raise PolicyError(f"observation: {what} not finite: {str(values.tolist())[:200]}")
