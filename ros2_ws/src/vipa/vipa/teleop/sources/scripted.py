"""Commands out of a file, at their times: for tests, benchmarks and demonstrations."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vipa.config import from_mapping, read_yaml
from vipa.teleop.command import LEAVE, TeleopCommand, fault
from vipa_inference.rotations import matrix_from_rotation_vector

_NS = 1_000_000_000
Vector3 = tuple[float, float, float]
Vector6 = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class ScriptedConfig:
    """Which file: YAML or JSON with the fields of ``Script``."""

    file: Path


@dataclass(frozen=True)
class ScriptedCommand:
    """A command that is given from ``time`` on for ``duration``, at every reading; a gap is silence.

    Attributes:
        time, duration: s; the time since the script began.
        clutch: held or not.
        twist: m/s and rad/s in ``frame``.
        position, rotation: m and a rotation vector (rad) of what the operator moves, instead of a twist.
        hand: 0 closed - 1 open; without it the hand stays as it is.
    """

    time: float
    duration: float
    clutch: bool = True
    twist: Vector6 | None = None
    frame: Literal["base", "tool"] = "base"
    position: Vector3 | None = None
    rotation: Vector3 = (0.0, 0.0, 0.0)
    hand: Vector6 | None = None

    def __post_init__(self) -> None:
        if not (self.time >= 0.0 and self.duration > 0.0):
            raise ValueError(f"time: {self.time} with duration {self.duration} is no span of time")
        trouble = fault(self.at(0))
        if trouble:
            raise ValueError(f"the command at {self.time} s: {trouble}")

    def at(self, now_ns: int) -> TeleopCommand:
        """The command, given now."""
        pose = None
        if self.position is not None:
            pose = np.eye(4)
            pose[:3, :3], pose[:3, 3] = matrix_from_rotation_vector(self.rotation), self.position
        twist = np.array(self.twist) if self.twist is not None else np.zeros(6) if pose is None else None
        hand = LEAVE.copy() if self.hand is None else np.array(self.hand)
        return TeleopCommand(now_ns, self.clutch, twist, self.frame, pose, hand)


@dataclass(frozen=True)
class Script:
    """Commands in the order of their times; where two overlap the later one counts."""

    commands: tuple[ScriptedCommand, ...] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        times = [command.time for command in self.commands]
        if not times or times != sorted(times):
            raise ValueError("commands: at least one is needed, in the order of their times")

    @property
    def duration(self) -> float:
        """S until its last command ends."""
        return max(command.time + command.duration for command in self.commands)


class ScriptedSource:
    """Gives the commands of a script, which begins with the first reading.

    Raises:
        ConfigurationError: the file cannot be read, or is no script.
    """

    def __init__(self, config: ScriptedConfig) -> None:
        self._script = from_mapping(Script, read_yaml(config.file.expanduser()), f"teleop scripted {config.file}")
        self._start_ns: int | None = None
        self.help = f"{len(self._script.commands)} commands in {self._script.duration:.1f} s"
        self.finished = False

    def read(self, now_ns: int, hand: NDArray[np.float64]) -> TeleopCommand | None:
        """The command whose time it is."""
        if self._start_ns is None or now_ns < self._start_ns:
            self._start_ns = now_ns
        seconds = (now_ns - self._start_ns) / _NS
        self.finished = seconds >= self._script.duration
        running = [c for c in self._script.commands if c.time <= seconds < c.time + c.duration]
        return running[-1].at(now_ns) if running else None

    def close(self) -> None:
        """Nothing to let go of."""
