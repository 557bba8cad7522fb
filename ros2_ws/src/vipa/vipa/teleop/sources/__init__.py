"""Where commands come from: one device, one module; each imports its library when it is opened."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vipa.config import from_mapping
from vipa.errors import ConfigurationError
from vipa.teleop.command import TeleopCommand


class Source(Protocol):
    """An open device."""

    help: str  # for the operator: what does what
    finished: bool  # it will give no more commands

    def read(self, now_ns: int, hand: NDArray[np.float64]) -> TeleopCommand | None:
        """The newest command, stamped with when the device was read; None where it says nothing new.

        Args:
            now_ns: ROS time.
            hand: (6,) the hand's present targets.

        Raises:
            VipaError: the device is lost.
        """
        ...

    def close(self) -> None:
        """Let go of the device."""
        ...


def make_source(name: str, options: Mapping[str, Any]) -> Source:
    """Open a device.

    Args:
        name: one of ``SOURCES``.
        options: fields of the configuration of that source.

    Raises:
        ConfigurationError: an unknown source or option, or a package that is not installed.
        HardwareError: no such device, or it cannot be opened.
    """
    if name not in SOURCES:
        raise ConfigurationError(f"teleop: unknown source {name!r}; known: {', '.join(SOURCES)}")
    try:
        return SOURCES[name](options)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"teleop {name}: the package {error.name} is not installed here; pip install '.[teleop]'"
        ) from None


def _keyboard(options: Mapping[str, Any]) -> Source:
    from vipa.teleop.sources.keyboard import KeyboardConfig, KeyboardSource

    return KeyboardSource(from_mapping(KeyboardConfig, options, "teleop keyboard"))


def _gamepad(options: Mapping[str, Any]) -> Source:
    from vipa.teleop.sources.gamepad import GamepadConfig, open_gamepad

    return open_gamepad(from_mapping(GamepadConfig, options, "teleop gamepad"))


def _spacemouse(options: Mapping[str, Any]) -> Source:
    from vipa.teleop.sources.spacemouse import SpaceMouseConfig, open_spacemouse

    return open_spacemouse(from_mapping(SpaceMouseConfig, options, "teleop spacemouse"))


def _xr(options: Mapping[str, Any]) -> Source:
    from vipa.teleop.sources.xr import XrConfig, XrSource

    return XrSource(from_mapping(XrConfig, options, "teleop xr"))


def _scripted(options: Mapping[str, Any]) -> Source:
    from vipa.teleop.sources.scripted import ScriptedConfig, ScriptedSource

    return ScriptedSource(from_mapping(ScriptedConfig, options, "teleop scripted"))


SOURCES: dict[str, Callable[[Mapping[str, Any]], Source]] = {
    "keyboard": _keyboard,
    "gamepad": _gamepad,
    "spacemouse": _spacemouse,
    "xr": _xr,
    "scripted": _scripted,
}
