"""From the axes and buttons of a device to a command."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vipa.teleop.command import TeleopCommand
from vipa_inference.policy import HAND_DIMENSION

Array = NDArray[np.float64]
_LONGEST_STEP_NS = 100_000_000  # that one reading may move the hand


@dataclass(frozen=True)
class AxesConfig:
    """How far a full deflection leads, and the shape of the way there.

    Attributes:
        linear, angular: m/s, rad/s at full deflection.
        dead_zone: share of the deflection around the centre that counts as none.
        expo: 0 linear to 1 cubic; the higher, the finer near the centre.
        hand_rate: full strokes a second while a button of the hand is held.
        frame: of the twist.
    """

    linear: float = 0.15
    angular: float = 0.6
    dead_zone: float = 0.1
    expo: float = 0.5
    hand_rate: float = 0.8
    frame: str = "base"

    def __post_init__(self) -> None:
        for name in ("linear", "angular", "hand_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive")
        if not 0.0 <= self.dead_zone < 1.0:
            raise ValueError(f"dead_zone: {self.dead_zone} is not from 0 to below 1")
        if not 0.0 <= self.expo <= 1.0:
            raise ValueError(f"expo: {self.expo} is not between 0 and 1")
        if self.frame not in ("base", "tool"):
            raise ValueError(f"frame: {self.frame!r} is none of base, tool")


def shape(deflection: Array, dead_zone: float, expo: float) -> Array:
    """Deflections (N,) in -1 to 1 behind a dead zone, finer near the centre; continuous, odd and increasing."""
    size = np.clip((np.abs(np.clip(deflection, -1.0, 1.0)) - dead_zone) / (1.0 - dead_zone), 0.0, 1.0)
    return np.sign(deflection) * ((1.0 - expo) * size + expo * size**3)


class AxesMapper:
    """Makes commands of deflections, and of buttons that open and close the hand."""

    def __init__(self, config: AxesConfig) -> None:
        self._config = config
        self._hand: Array | None = None  # None: the hand was not touched yet, and is left as it is
        self._last_ns = 0

    def command(
        self, deflection: Array, clutch: bool, closing: float, now_ns: int, hand: Array, slow: bool = False
    ) -> TeleopCommand:
        """The command of one reading.

        Args:
            deflection: (6,) in -1 to 1: x, y, z, and the turns about them.
            clutch: whether it is held.
            closing: 1 closes the hand, -1 opens it, 0 leaves it.
            now_ns: when the device was read.
            hand: (6,) the hand's present targets, from which the first opening or closing starts.
            slow: at a quarter of the speed.
        """
        config = self._config
        shaped = shape(deflection, config.dead_zone, config.expo) * (0.25 if slow else 1.0)
        twist = shaped * np.array([config.linear] * 3 + [config.angular] * 3)
        seconds = min(max(now_ns - self._last_ns, 0), _LONGEST_STEP_NS) * 1e-9
        self._last_ns = now_ns
        if not clutch:
            self._hand = None
        elif closing:
            present = hand if self._hand is None else self._hand
            self._hand = np.clip(present - closing * config.hand_rate * seconds, 0.0, 1.0)
        values = np.full(HAND_DIMENSION, np.nan) if self._hand is None else self._hand.copy()
        frame = "tool" if config.frame == "tool" else "base"
        return TeleopCommand(now_ns, clutch, twist=twist, frame=frame, hand=values)
