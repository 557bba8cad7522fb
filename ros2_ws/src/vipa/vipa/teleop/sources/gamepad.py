"""A gamepad, through the kernel's input devices (evdev); axes and buttons as the kernel's gamepad document has them."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import evdev
import numpy as np
from evdev import ecodes
from numpy.typing import NDArray

from vipa.errors import HardwareError
from vipa.teleop.axes import AxesConfig, AxesMapper
from vipa.teleop.command import TeleopCommand

_HELP = (
    "hold the left shoulder button (clutch); left stick x y, right stick up down and yaw, directional pad roll and "
    "pitch; right trigger closes the hand, left trigger opens it; right shoulder button: slowly"
)


@dataclass(frozen=True)
class GamepadConfig:
    """``device``: such as /dev/input/event5; without it the first gamepad that is found."""

    device: str = ""
    axes: AxesConfig = field(default_factory=AxesConfig)


class GamepadDevice(Protocol):
    """What is used of ``evdev.InputDevice``."""

    def read(self) -> Iterable[Any]:
        """The waiting events; BlockingIOError where there are none."""
        ...

    def absinfo(self, axis_num: int) -> Any:
        """Range and value of an axis."""
        ...

    def active_keys(self) -> list[int]:
        """The buttons that are held."""
        ...

    def capabilities(self) -> dict[int, Any]:
        """The codes that the device has, by type."""
        ...

    def close(self) -> None:
        """Close the device."""
        ...


def open_gamepad(config: GamepadConfig) -> "GamepadSource":
    """The gamepad, opened.

    Raises:
        HardwareError: none is there, or it cannot be opened.
    """
    for path in [config.device] if config.device else evdev.list_devices():
        try:
            device = evdev.InputDevice(path)
        except OSError as error:
            raise HardwareError(
                f"teleop gamepad {path}: {error.strerror}; may this user read it (group input)?"
            ) from None
        if ecodes.BTN_GAMEPAD in device.capabilities().get(ecodes.EV_KEY, []):
            return GamepadSource(device, config.axes)
        device.close()
        if config.device:
            raise HardwareError(f"teleop gamepad {path}: it has no buttons of a gamepad; see: python -m evdev.evtest")
    raise HardwareError("teleop gamepad: none found; is it connected, and may this user read it (group input)?")


class GamepadSource:
    """Keeps the state of sticks and buttons. The kernel tells changes only: a stick that is held still says nothing.

    Args:
        device: an ``evdev.InputDevice``.
        axes: speeds.
    """

    def __init__(self, device: GamepadDevice, axes: AxesConfig) -> None:
        self._device = device
        self._mapper = AxesMapper(axes)
        self._values: dict[int, float] = {}  # per axis, -1 to 1; triggers 0 to 1
        self._ranges: dict[int, Any] = {}
        self._keys: set[int] = set()
        known = device.capabilities().get(ecodes.EV_ABS, [])
        self._axes = {entry[0] if isinstance(entry, tuple) else entry for entry in known}
        self._lost_events = False
        self._read_state()
        self.help = _HELP
        self.finished = False

    def read(self, now_ns: int, hand: NDArray[np.float64]) -> TeleopCommand | None:
        """The command of the present state."""
        try:
            with contextlib.suppress(BlockingIOError):  # no event waits
                for event in self._device.read():
                    self._take(event)
        except OSError as error:
            raise HardwareError(f"teleop gamepad: lost: {error.strerror}") from None
        value, keys = self._values.get, self._keys
        turns = (-value(ecodes.ABS_HAT0X, 0.0), -value(ecodes.ABS_HAT0Y, 0.0), -value(ecodes.ABS_RX, 0.0))
        moves = (-value(ecodes.ABS_Y, 0.0), -value(ecodes.ABS_X, 0.0), -value(ecodes.ABS_RY, 0.0))
        closing = self._trigger(ecodes.ABS_RZ, ecodes.BTN_TR2) - self._trigger(ecodes.ABS_Z, ecodes.BTN_TL2)
        return self._mapper.command(
            np.array((*moves, *turns)), ecodes.BTN_TL in keys, closing, now_ns, hand, slow=ecodes.BTN_TR in keys
        )

    def close(self) -> None:
        """Close the device."""
        self._device.close()

    def _trigger(self, axis: int, button: int) -> float:
        """How far a trigger is pressed, 0 to 1, whether it is an axis or a button."""
        pressed = self._values.get(axis, 0.0) if axis in self._axes else float(button in self._keys)
        return pressed if pressed > 0.05 else 0.0

    def _take(self, event: Any) -> None:
        if event.type == ecodes.EV_SYN:
            if event.code == ecodes.SYN_DROPPED:
                self._lost_events = True
            elif self._lost_events:  # after the kernel's buffer overflowed: ask for the state anew
                self._lost_events = False
                self._read_state()
        elif self._lost_events:
            return
        elif event.type == ecodes.EV_ABS and event.code in self._axes:
            self._values[event.code] = _normalised(event.code, event.value, self._ranges[event.code])
        elif event.type == ecodes.EV_KEY and event.value in (0, 1):
            (self._keys.add if event.value else self._keys.discard)(event.code)

    def _read_state(self) -> None:
        self._keys = set(self._device.active_keys())
        for axis in self._axes:
            info = self._ranges[axis] = self._device.absinfo(axis)
            self._values[axis] = _normalised(axis, info.value, info)


def _normalised(axis: int, value: int, info: Any) -> float:
    """A value of an axis, -1 to 1; of a trigger, which rests at its minimum, 0 to 1."""
    span = info.max - info.min
    share = (value - info.min) / span if span > 0 else 0.5
    share = min(max(share, 0.0), 1.0)
    return share if axis in (ecodes.ABS_Z, ecodes.ABS_RZ) else 2.0 * share - 1.0
