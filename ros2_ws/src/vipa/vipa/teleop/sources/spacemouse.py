"""A SpaceMouse of 3Dconnexion, through pyspacemouse (and the system's hidapi library)."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyspacemouse
from easyhid import HIDException
from numpy.typing import NDArray

from vipa.errors import HardwareError
from vipa.teleop.axes import AxesConfig, AxesMapper
from vipa.teleop.command import TeleopCommand

_REPORTS = 32  # at most that one reading takes


@dataclass(frozen=True)
class SpaceMouseConfig:
    """Which device, and what is the clutch.

    Attributes:
        device: name as pyspacemouse knows it; without it the first that is found.
        clutch_button: number of the button that is the clutch; -1: the cap itself is, since it springs back, and so
            are the buttons of the hand.
        close_button, open_button: of the hand.
    """

    device: str = ""
    clutch_button: int = -1
    close_button: int = 0
    open_button: int = 1
    axes: AxesConfig = field(default_factory=AxesConfig)


def open_spacemouse(config: SpaceMouseConfig) -> "SpaceMouseSource":
    """The SpaceMouse, opened.

    Raises:
        HardwareError: none is there, it cannot be opened, or the system has no hidapi library.
    """
    try:
        device = pyspacemouse.open(
            device=config.device or None, axis_convention=pyspacemouse.AxisConvention.ROS, nonblocking=True
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise HardwareError(
            f"teleop spacemouse: {error} (it needs the system package libhidapi-hidraw0 and the right to read hidraw)"
        ) from None
    return SpaceMouseSource(device, config)


class SpaceMouseSource:
    """Keeps the state of cap and buttons.

    Args:
        device: a ``pyspacemouse.SpaceMouseDevice`` with the axis convention of ROS: x forward, y left, z up.
        config: clutch, buttons and speeds.
    """

    def __init__(self, device: Any, config: SpaceMouseConfig) -> None:
        self._device = device
        self._config = config
        self._mapper = AxesMapper(config.axes)
        clutch = "push the cap" if config.clutch_button < 0 else f"hold button {config.clutch_button} (clutch)"
        self.help = f"{clutch}; button {config.close_button} closes the hand, button {config.open_button} opens it"
        self.finished = False

    def read(self, now_ns: int, hand: NDArray[np.float64]) -> TeleopCommand | None:
        """The command of the present state."""
        state = self._newest()
        config = self._config
        deflection = np.array([state.x, state.y, state.z, state.roll, state.pitch, state.yaw], dtype=np.float64)
        pressed = {number for number, value in enumerate(state.buttons) if value}
        closing = float(config.close_button in pressed) - float(config.open_button in pressed)
        if config.clutch_button < 0:
            clutch = bool((np.abs(deflection) > config.axes.dead_zone).any()) or closing != 0.0
        else:
            clutch = config.clutch_button in pressed
        return self._mapper.command(deflection, clutch, closing, now_ns, hand)

    def close(self) -> None:
        """Close the device."""
        self._device.close()

    def _newest(self) -> Any:
        """The state after all waiting reports; the device sends shifts and turns in separate ones."""
        try:
            state = self._device.read()
            for _ in range(_REPORTS):
                before = state.t
                state = self._device.read()
                if state.t == before:
                    break
        except (HIDException, OSError) as error:
            raise HardwareError(f"teleop spacemouse: lost: {error}") from None
        return state
