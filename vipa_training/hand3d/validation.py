"""Whether a clip can be used, and if not, why not: the reasons that a report counts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vipa_training.hand3d.clip import Array, Camera, Clip, Hand, Object
from vipa_training.hand3d.errors import Rejection
from vipa_training.hand3d.geometry import in_camera
from vipa_training.hand3d.joints import COUNT, KNUCKLES, WRIST

_UNITS = (("mm", 1000.0), ("cm", 100.0))
_MANO_FIELDS = {"orientation": 3, "pose": None, "shape": 10, "translation": 3}


@dataclass(frozen=True)
class ValidationConfig:
    """What counts as a hand before a camera."""

    shortest_palm: float = 0.04  # m, wrist to the knuckle of the middle finger; a child's is longer
    longest_palm: float = 0.16  # m
    farthest: float = 10.0  # m, of hands and objects from the camera
    rotation_error: float = 1e-3  # of R R^T from the identity


def validate(clip: Clip, config: ValidationConfig | None = None) -> None:
    """Let a usable clip pass.

    Args:
        clip: any.
        config: bounds.

    Raises:
        Rejection: with the reason.
    """
    bounds = config or ValidationConfig()
    _check_times(clip)
    _check_camera(clip.camera, len(clip), bounds)
    if not any(hand.valid.any() for hand in clip.hands.values()):
        raise Rejection("no hand in any frame")
    for side, hand in clip.hands.items():
        _check_hand(f"{side} hand", hand, clip.camera, len(clip), bounds)
    for item in clip.objects:
        _check_object(item, clip.camera, len(clip), bounds)


def _check_times(clip: Clip) -> None:
    if not len(clip.frames) or not len(clip):
        raise Rejection("no frames")
    if len(clip.frames) != len(clip):
        raise Rejection(f"{len(clip.frames)} frames, but {len(clip)} time stamps")
    if not np.isfinite(clip.times).all():
        raise Rejection("a time stamp is not finite")
    if (np.diff(clip.times) <= 0.0).any():
        raise Rejection(f"time stamps do not ascend at frame {int(np.argmax(np.diff(clip.times) <= 0.0)) + 1}")


def _check_camera(camera: Camera, count: int, bounds: ValidationConfig) -> None:
    _check_shape("intrinsics", camera.intrinsics, (count, 3, 3))
    _check_shape("extrinsics", camera.extrinsics, (count, 4, 4))
    if min(camera.size) < 1:
        raise Rejection(f"pictures of {camera.size[0]} x {camera.size[1]} px")
    _check_finite("intrinsics", camera.intrinsics)
    if (camera.intrinsics[:, (0, 1), (0, 1)] <= 0.0).any():
        raise Rejection("intrinsics: a focal length is not positive")
    _check_poses("extrinsics", camera.extrinsics, bounds)


def _check_hand(name: str, hand: Hand, camera: Camera, count: int, bounds: ValidationConfig) -> None:
    _check_shape(f"{name}: valid", hand.valid, (count,))
    if hand.joints is None and hand.mano is None:
        raise Rejection(f"{name}: neither joints nor MANO parameters")
    if not hand.valid.any():
        return
    if hand.mano is not None:
        for field, width in _MANO_FIELDS.items():
            values: Array = getattr(hand.mano, field)
            if values.ndim != 2 or len(values) != count or (width is not None and values.shape[1] != width):
                raise Rejection(f"{name}: MANO {field} of shape {values.shape}")
            _check_finite(f"{name}: MANO {field}", values, hand.valid)
    if hand.joints is not None:
        _check_shape(f"{name}: joints", hand.joints, (count, COUNT, 3))
        _check_finite(f"{name}: joints", hand.joints, hand.valid)
        palm = np.linalg.norm(hand.joints[:, KNUCKLES[1]] - hand.joints[:, WRIST], axis=-1)[hand.valid]
        _check_size(f"{name}: wrist to knuckle", float(np.median(palm)), bounds.shortest_palm, bounds.longest_palm)
        distances = np.linalg.norm(in_camera(hand.joints, hand.frame, camera)[:, WRIST], axis=-1)
        _check_distance(name, distances[hand.valid], bounds)


def _check_object(item: Object, camera: Camera, count: int, bounds: ValidationConfig) -> None:
    _check_shape(f"{item.name}: valid", item.valid, (count,))
    if not item.valid.any():
        return
    if item.poses is not None:
        _check_shape(f"{item.name}: poses", item.poses, (count, 4, 4))
        _check_poses(f"{item.name}: poses", item.poses[item.valid], bounds)
        positions = in_camera(item.poses[:, None, :3, 3], item.frame, camera)[item.valid, 0]
        _check_distance(item.name, np.linalg.norm(positions, axis=-1), bounds)
    if item.boxes is not None:
        _check_shape(f"{item.name}: boxes", item.boxes, (count, 4))
        boxes = item.boxes[item.valid]
        _check_finite(f"{item.name}: boxes", boxes)
        if (boxes[:, 2:] <= boxes[:, :2]).any():
            raise Rejection(f"{item.name}: a box has no area")


def _check_shape(name: str, values: NDArray[np.generic], shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise Rejection(f"{name}: shape {values.shape}, expected {shape}")


def _check_finite(name: str, values: Array, rows: NDArray[np.bool_] | None = None) -> None:
    bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if rows is not None:
        bad &= rows
    if bad.any():
        raise Rejection(f"{name}: not a number in frame {int(np.argmax(bad))}, {int(bad.sum())} in all")


def _check_poses(name: str, poses: Array, bounds: ValidationConfig) -> None:
    _check_finite(name, poses)
    rotations = poses[:, :3, :3]
    sizes = np.cbrt(np.linalg.det(rotations))
    if (sizes <= 0.0).any():
        raise Rejection(f"{name}: negative or no scale, {sizes.min():.3g}: the axes are mirrored")
    error = np.abs(rotations @ np.swapaxes(rotations, 1, 2) - np.eye(3)).max()
    if error > bounds.rotation_error:
        raise Rejection(f"{name}: no rotation: scale {np.median(sizes):.4g}, off by {error:.2g}")


def _check_size(name: str, size: float, low: float, high: float) -> None:
    if low <= size <= high:
        return
    for unit, factor in _UNITS:
        if low <= size / factor <= high:
            raise Rejection(f"{name}: {size:.4g} m: the joints are in {unit}, not in m")
    raise Rejection(f"{name}: {size:.4g} m, expected {low}-{high} m")


def _check_distance(name: str, distances: Array, bounds: ValidationConfig) -> None:
    distance = float(np.median(distances))
    if distance <= bounds.farthest:
        return
    for unit, factor in _UNITS:
        if distance / factor <= bounds.farthest / 2.0:
            raise Rejection(f"{name}: {distance:.4g} m from the camera: a translation is in {unit}, not in m")
    raise Rejection(f"{name}: {distance:.4g} m from the camera, expected at most {bounds.farthest} m")
