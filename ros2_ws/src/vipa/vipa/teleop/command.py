"""The command of an operator, whatever the device."""

from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from vipa.control.kinematics import is_rigid_pose
from vipa_inference.policy import HAND_DIMENSION

Array = NDArray[np.float64]
Frame = Literal["base", "tool"]
FRAMES: tuple[Frame, ...] = ("base", "tool")
LEAVE = np.full(HAND_DIMENSION, np.nan)
"""The hand values of a command that leaves the hand as it is."""
_LARGEST = 1e3  # m, m/s, rad/s: what is larger is no command of a person
_HAND_SLACK = 1.0  # hand values further than this outside [0, 1] are no hand values


@dataclass(frozen=True)
class TeleopCommand:
    """What the operator wants at one moment: a twist, or a pose that is followed relative to where the clutch closed.

    Attributes:
        stamp_ns: ROS time at which the device was read.
        clutch: the arm and the hand move only while it is held.
        twist: (6,) m/s and rad/s of the end effector, in ``frame``.
        frame: of the twist, with the end effector's position as its origin.
        pose: (4, 4) of what the operator moves, in the axes of the base frame, m; its origin may be anywhere.
        hand: (6,) 0 closed - 1 open; NaN leaves a finger as it is.
    """

    stamp_ns: int
    clutch: bool = False
    twist: Array | None = None
    frame: Frame = "base"
    pose: Array | None = None
    hand: Array = field(default_factory=LEAVE.copy)


def fault(command: TeleopCommand) -> str:
    """Why a command cannot be used; empty where it can."""
    if (command.twist is None) == (command.pose is None):
        return "it needs either a twist or a pose"
    if command.frame not in FRAMES:
        return f"the frame {command.frame!r} is none of {', '.join(FRAMES)}"
    if command.twist is not None:
        twist = _numbers(command.twist)
        if twist is None or twist.shape != (6,) or not np.abs(twist).max() <= _LARGEST:
            return "the twist is not six finite numbers of a possible size"
    if command.pose is not None:
        pose = _numbers(command.pose)
        if pose is None or not is_rigid_pose(pose) or not np.abs(pose[:3, 3]).max() <= _LARGEST:
            return "the pose is no rigid pose (4, 4)"
    hand = _numbers(command.hand)
    if hand is None or hand.shape != (HAND_DIMENSION,):
        return f"the hand needs {HAND_DIMENSION} values"
    known = hand[~np.isnan(hand)]
    if known.size and not (known.min() >= -_HAND_SLACK and known.max() <= 1.0 + _HAND_SLACK):
        return f"hand values from {known.min():.3g} to {known.max():.3g}; 0 to 1 are allowed"
    return ""


def _numbers(values: Any) -> Array | None:
    """The values as floats; None where they are none."""
    array = cast(NDArray[Any], values)
    return array.astype(np.float64) if isinstance(values, np.ndarray) and array.dtype.kind in "fiu" else None
