"""A hand of capsules with kinematics of its own: 21 joints from a pose of the wrist and from how far it is closed.

In the hand's frame the fingers point along +y and the back of the hand along +z; the right thumb is at -x. Figures are
those of an adult's hand, in metres.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vipa_training.hand3d.joints import COUNT, FINGERS, Side

Array = NDArray[np.float64]
_KNUCKLES = np.array([[-0.027, 0.092, 0.0], [-0.006, 0.096, 0.003], [0.014, 0.089, 0.0], [0.032, 0.078, -0.004]])
_BONES = np.array([[0.044, 0.026, 0.022], [0.048, 0.030, 0.023], [0.044, 0.028, 0.022], [0.034, 0.020, 0.019]])
_SPREAD = np.array([-0.12, -0.02, 0.08, 0.2])  # rad about z, of the open hand
_CLOSED = np.array([1.15, 1.25, 0.7])  # rad of the three joints of a finger when it is closed
_THUMB_ROOT = np.array([-0.024, 0.022, -0.008])
_THUMB_BONES = (0.042, 0.034, 0.027)
_THUMB_OPEN = np.array([-0.70, 0.70, -0.15])
_THUMB_TOWARDS = np.array([0.75, 0.35, -0.75])  # where closing turns it: before the palm
_THUMB_CLOSED = (0.75, 0.35, 0.35)  # rad


@dataclass(frozen=True)
class HandShape:
    """What distinguishes hands.

    Attributes:
        side: of the body.
        size: as a share of an adult's.
        colour: of the skin, RGB 0-1.
        fingers: (5,) how far each finger, the thumb first, closes as a share of what the whole hand does.
    """

    side: Side
    size: float
    colour: tuple[float, float, float]
    fingers: tuple[float, float, float, float, float]


BONES = tuple(
    (0 if step == 0 else 4 * finger + step, 4 * finger + step + 1)
    for finger in range(len(FINGERS))
    for step in range(4)
)
"""Pairs of joints between which there is a bone."""
RADII = tuple(0.0125 if step == 0 else (0.0105, 0.009, 0.008)[step - 1] for _ in FINGERS for step in range(4))
"""m, of the capsule of each bone of an adult's hand: those within the palm first of each finger."""


def joints_of(shape: HandShape, rotations: ArrayLike, wrists: ArrayLike, closed: ArrayLike) -> Array:
    """Joints (T, 21, 3) m in the world.

    Args:
        shape: of the hand.
        rotations: (T, 3, 3) hand to world.
        wrists: (T, 3) m in the world.
        closed: (T,) from 0, open, to 1, a fist.
    """
    amount = np.asarray(closed, np.float64)
    local = np.zeros((len(amount), COUNT, 3))
    share = amount[:, None] * np.array(shape.fingers)
    for finger in range(4):
        first = 4 * finger + 5
        spread = _SPREAD[finger] * (1.0 - share[:, finger + 1])
        bend = np.cumsum(share[:, finger + 1, None] * _CLOSED, axis=1)
        along = np.stack([np.cos(bend) * np.sin(spread)[:, None], np.cos(bend) * np.cos(spread)[:, None]], axis=-1)
        steps = np.concatenate([along, -np.sin(bend)[..., None]], axis=-1) * _BONES[finger][:, None]
        local[:, first] = _KNUCKLES[finger]
        local[:, first + 1 : first + 4] = _KNUCKLES[finger] + np.cumsum(steps, axis=1)
    begin = _THUMB_OPEN / np.linalg.norm(_THUMB_OPEN)
    towards = _THUMB_TOWARDS - begin * (begin @ _THUMB_TOWARDS)
    towards /= np.linalg.norm(towards)
    bend = np.cumsum(share[:, :1] * np.array(_THUMB_CLOSED), axis=1)[..., None]
    steps = (np.cos(bend) * begin + np.sin(bend) * towards) * np.array(_THUMB_BONES)[:, None]
    local[:, 1] = _THUMB_ROOT
    local[:, 2:5] = _THUMB_ROOT + np.cumsum(steps, axis=1)
    local *= shape.size * np.array([-1.0 if shape.side == "left" else 1.0, 1.0, 1.0])
    turned = local @ np.swapaxes(np.asarray(rotations, np.float64), 1, 2)
    return turned + np.asarray(wrists, np.float64)[:, None]


def grip(shape: HandShape, width: float) -> tuple[float, Array]:
    """How far to close the hand around something, and where that is.

    Args:
        shape: of the hand.
        width: m, of what is grasped.

    Returns:
        How far, 0-1, and the middle (3,) m between thumb and finger tips in the hand's frame.
    """
    amounts = np.linspace(0.0, 1.0, 101)
    eye = np.broadcast_to(np.eye(3), (len(amounts), 3, 3))
    joints = joints_of(shape, eye, np.zeros((len(amounts), 3)), amounts)
    fingers = joints[:, [8, 12]].mean(axis=1)
    gap = np.linalg.norm(joints[:, 4] - fingers, axis=1) - 0.016 * shape.size  # flesh of both
    chosen = int(np.argmin(np.abs(gap - width)))
    return float(amounts[chosen]), (joints[chosen, 4] + fingers[chosen]) / 2.0
