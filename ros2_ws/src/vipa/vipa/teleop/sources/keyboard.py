"""The keyboard of a terminal: each key press is a short push, a key held down a motion. No window system is needed.

A terminal does not tell when a key is let go. So a key counts as held for a moment only, and its repetition goes on.
"""

import atexit
import contextlib
import os
import select
import sys
import termios
import tty
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vipa.errors import ConfigurationError, HardwareError
from vipa.teleop.axes import AxesConfig, AxesMapper
from vipa.teleop.command import TeleopCommand

_KEYS: dict[str, tuple[int, float]] = {
    **{"w": (0, 1.0), "s": (0, -1.0), "a": (1, 1.0), "d": (1, -1.0), "r": (2, 1.0), "f": (2, -1.0)},
    **{"l": (3, 1.0), "j": (3, -1.0), "i": (4, 1.0), "k": (4, -1.0), "u": (5, 1.0), "o": (5, -1.0)},
    **{"c": (6, 1.0), "v": (6, -1.0)},
}
"""Axis and direction of each key: x, y, z, turns about them, closing of the hand."""
_HELP = (
    "w s forward back, a d left right, r f up down; j l roll, i k pitch, u o yaw; c v close and open the hand; "
    "space stops; Ctrl-C ends"
)


@dataclass(frozen=True)
class KeyboardConfig:
    """``key_hold``: s that a key counts as held after each press or repetition; the usual 25 to 30 a second go on."""

    axes: AxesConfig = field(default_factory=lambda: AxesConfig(linear=0.1, angular=0.4, dead_zone=0.0, expo=0.0))
    key_hold: float = 0.12

    def __post_init__(self) -> None:
        if not 0.0 < self.key_hold <= 0.5:
            raise ValueError(f"key_hold: {self.key_hold} is not between 0 and 0.5")


class KeyboardSource:
    """Reads keys from a terminal, which it sets to give them one by one; ``close`` restores it.

    Args:
        config: speeds.
        descriptor: of the terminal; standard input where not given.

    Raises:
        ConfigurationError: it is no terminal.
    """

    def __init__(self, config: KeyboardConfig, descriptor: int | None = None) -> None:
        self._descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        if not os.isatty(self._descriptor):
            raise ConfigurationError("teleop keyboard: standard input is no terminal; run: vipa teleop in a terminal")
        self._hold_ns = round(config.key_hold * 1e9)
        self._mapper = AxesMapper(config.axes)
        self._until_ns: dict[str, int] = {}  # per key: how long it counts as held
        self._before = termios.tcgetattr(self._descriptor)
        tty.setcbreak(self._descriptor)
        atexit.register(self.close)  # also where the program ends by an error
        self.help = _HELP
        self.finished = False

    def read(self, now_ns: int, hand: NDArray[np.float64]) -> TeleopCommand | None:
        """The command of the keys that count as held."""
        for key in self._pressed():
            if key == " ":
                self._until_ns.clear()
            elif key in _KEYS:
                self._until_ns[key] = now_ns + self._hold_ns
        held = [_KEYS[key] for key, until_ns in self._until_ns.items() if now_ns < until_ns <= now_ns + self._hold_ns]
        axes = np.zeros(7)
        for axis, direction in held:
            axes[axis] += direction
        return self._mapper.command(axes[:6], bool(held), float(axes[6]), now_ns, hand)

    def close(self) -> None:
        """Set the terminal as it was."""
        atexit.unregister(self.close)
        with contextlib.suppress(termios.error):  # the terminal may be gone
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)

    def _pressed(self) -> str:
        pressed = b""
        while select.select([self._descriptor], [], [], 0.0)[0]:
            try:
                read = os.read(self._descriptor, 1024)
            except OSError as error:
                raise HardwareError(f"teleop keyboard: the terminal is gone: {error.strerror}") from None
            if not read:
                raise HardwareError("teleop keyboard: the terminal is gone")
            pressed += read
        return pressed.decode(errors="replace").lower()
