"""Turns of a camera as words and back: axis and angle, and what it looks like."""

import re

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vipa_inference.rotations import rotation_vector_from_matrix
from vipa_training.hand3d.geometry import inverse

Array = NDArray[np.float64]
ANGLE_STEP = 0.1  # degrees that are written
AXIS_STEP = 0.01  # of each component of the axis
_LOOKS = (("tilts down", "tilts up"), ("pans left", "pans right"), ("rolls anticlockwise", "rolls clockwise"))
_NUMBER = r"([+-]?\d*\.?\d+)"
_AXIS = re.compile(rf"\(\s*{_NUMBER}\s*,\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\)")
_ANGLE = re.compile(rf"{_NUMBER}\s*(?:degrees?|deg|°)")


def camera_motion(first: ArrayLike, second: ArrayLike) -> tuple[Array, Array]:
    """How a camera moved, in its own frame before.

    Args:
        first: (4, 4) world to camera, before.
        second: after.

    Returns:
        Rotation vector (3,) rad and translation (3,) m.
    """
    pose = np.asarray(first, np.float64) @ inverse(second)
    return rotation_vector_from_matrix(pose[:3, :3]), pose[:3, 3]


def rotation_words(vector: ArrayLike) -> str:
    """A turn (3,) rad such as "pans right: 12.3 degrees about the axis (0.02, 0.99, -0.05)"."""
    v = np.asarray(vector, np.float64)
    angle = float(np.linalg.norm(v))
    axis = v / angle
    main = int(np.argmax(np.abs(axis)))
    looks = _LOOKS[main][int(axis[main] > 0.0)]
    numbers = ", ".join(f"{part + 0.0:.2f}" for part in axis)
    return f"{looks}: {np.degrees(angle):.1f} degrees about the axis ({numbers})"


def parse_rotation(text: str) -> Array | None:
    """The turn (3,) rad that a text names by angle and axis, if it does."""
    angle, axis = _ANGLE.search(text), _AXIS.search(text)
    if angle is None or axis is None:
        return None
    direction = np.array([float(part) for part in axis.groups()])
    length = float(np.linalg.norm(direction))
    return direction / length * np.radians(float(angle[1])) if length > 0.0 else None


def rotation_agrees(found: Array | None, vector: ArrayLike) -> bool:
    """Whether a parsed turn is one (3,) rad, up to rounding of its angle and axis."""
    v = np.asarray(vector, np.float64)
    if found is None:
        return False
    angle, said = float(np.linalg.norm(v)), float(np.linalg.norm(found))
    if abs(angle - said) > np.radians(ANGLE_STEP / 2.0) + 1e-9 or said == 0.0:
        return False
    return float(np.linalg.norm(v / angle - found / said)) <= AXIS_STEP * np.sqrt(3.0)
