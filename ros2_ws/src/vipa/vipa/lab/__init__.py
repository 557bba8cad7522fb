"""The laboratory's YAML: what a lab changes (addresses, serial numbers, limits, poses), read strictly."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vipa.config import from_mapping, read_yaml
from vipa.console.config import ConsoleConfig
from vipa.control.config import ControlConfig
from vipa.errors import ConfigurationError
from vipa.hardware.fr3 import FR3Config
from vipa.hardware.inspire_hand import InspireHandConfig
from vipa.hardware.l515 import L515Config
from vipa.teleop.config import TeleopConfig
from vipa_inference.rotations import matrix_from_quaternion

LAB_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ExtrinsicsConfig:
    """Pose of a camera's colour optical frame (x right, y down, z forward) in the frame of the arm's base."""

    translation: tuple[float, float, float]  # m
    quaternion: tuple[float, float, float, float]  # x, y, z, w

    def __post_init__(self) -> None:
        if abs(float(np.linalg.norm(self.quaternion)) - 1.0) > 1e-3:
            raise ValueError(f"quaternion {self.quaternion} is not of unit length (order x, y, z, w)")

    def matrix(self) -> NDArray[np.float64]:
        """The pose as a homogeneous matrix (4, 4)."""
        pose = np.eye(4)
        pose[:3, :3] = matrix_from_quaternion(self.quaternion)
        pose[:3, 3] = self.translation
        return pose


@dataclass(frozen=True)
class CameraConfig:
    """One camera of the cell: the device and where it stands."""

    device: L515Config
    extrinsics: ExtrinsicsConfig
    feed: str | None = None  # simulated laboratory only: where its frames come from, "host:port"


@dataclass(frozen=True)
class SupervisorConfig:
    """Watchdogs of the cell; the times are wall time, since they watch processes."""

    heartbeat_time_out: float = 0.5  # s without a heartbeat: the node counts as missing
    state_time_out: float = 0.25  # s without a supervisor state: controller and drivers stop by themselves
    configure_time_out: float = 30.0  # s for one lifecycle transition of one node


@dataclass(frozen=True)
class LabConfig:
    """Everything that distinguishes one laboratory from another."""

    name: str
    arm: FR3Config
    hand: InspireHandConfig
    cameras: dict[str, CameraConfig]
    control: ControlConfig = field(default_factory=ControlConfig)
    supervisor: SupervisorConfig = field(default_factory=SupervisorConfig)
    console: ConsoleConfig = field(default_factory=ConsoleConfig)
    teleop: TeleopConfig = field(default_factory=TeleopConfig)
    simulated: bool = False
    base_frame: str = "fr3_link0"
    referee: str = "operator"  # who scores sub-tasks: "operator", or "host:port" of a laboratory's control port

    def __post_init__(self) -> None:
        if not self.cameras:
            raise ValueError("cameras: at least one camera is needed")
        serials = [camera.device.serial for camera in self.cameras.values() if camera.device.bag is None]
        for serial in serials:
            if serials.count(serial) > 1:
                raise ValueError(f"cameras: two have the serial number {serial}; give each its own")
        for name, camera in self.cameras.items():
            if self.simulated and camera.feed is None:
                raise ValueError(f"missing key cameras.{name}.feed: a simulated camera needs the address of its feed")
        allowed, planned = self.control.gate.velocity_fraction, self.arm.relative_dynamics
        if allowed > planned:
            raise ValueError(
                f"control.gate.velocity_fraction: {allowed} is more than arm.relative_dynamics, {planned}: "
                "the arm would refuse what the gate lets pass"
            )
        if self.simulated and self.referee == "operator":
            raise ValueError("referee: a simulated laboratory needs the address of its control port, host:port")


def load_lab(name_or_path: str) -> LabConfig:
    """Read a laboratory's YAML, by the name of one that is shipped ("simulated") or by path.

    Raises:
        ConfigurationError: no such laboratory, or its YAML has an unknown, missing or wrong key.
    """
    path = Path(name_or_path)
    if not path.suffix:
        path = LAB_FOLDER / f"{name_or_path}.yaml"
        if not path.is_file():
            shipped = ", ".join(sorted(p.stem for p in LAB_FOLDER.glob("*.yaml")))
            raise ConfigurationError(
                f"laboratory {name_or_path}: not one of those shipped ({shipped}); "
                "give one of them or the path of a YAML file"
            )
    try:
        return from_mapping(LabConfig, read_yaml(path))
    except ConfigurationError as error:
        prefix = f"configuration {path}"
        raise ConfigurationError(str(error) if str(error).startswith(prefix) else f"{prefix}: {error}") from None


def split_address(address: str, key: str) -> tuple[str, int]:
    """Split "host:port".

    Raises:
        ConfigurationError: it has no port, or the port is no number from 1 to 65535; the message names ``key``.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigurationError(f"{key}: expected host:port, found {address!r}")
    return host, int(port)
