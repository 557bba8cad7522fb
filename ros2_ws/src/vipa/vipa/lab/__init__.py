"""The laboratory's YAML: what a lab changes (addresses, serial numbers, limits, poses), read strictly."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

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
from vipa.workstation import WorkstationConfig
from vipa_inference.rotations import matrix_from_quaternion

LAB_FOLDER = Path(__file__).parent
BASE_FRAME: Final = "fr3_link0"
FLANGE_FRAME: Final = "fr3_link8"
Frame = Literal["fr3_link0", "fr3_link8"]


@dataclass(frozen=True)
class ExtrinsicsConfig:
    """Pose of a camera's colour optical frame (x right, y down, z forward): in the frame of the arm's base where it
    stands in the cell, in that of the flange where it sits on the wrist."""

    translation: tuple[float, float, float]  # m
    quaternion: tuple[float, float, float, float]  # x, y, z, w
    frame: Frame = "fr3_link0"

    def __post_init__(self) -> None:
        if abs(float(np.linalg.norm(self.quaternion)) - 1.0) > 1e-3:
            raise ValueError(f"quaternion {self.quaternion} is not of unit length (order x, y, z, w)")

    def matrix(self) -> NDArray[np.float64]:
        """The pose in ``frame`` as a homogeneous matrix (4, 4)."""
        pose = np.eye(4)
        pose[:3, :3] = matrix_from_quaternion(self.quaternion)
        pose[:3, 3] = self.translation
        return pose

    @property
    def on_wrist(self) -> bool:
        """Whether the camera moves with the flange."""
        return self.frame == FLANGE_FRAME

    def publisher_arguments(self, child: str) -> tuple[str, ...]:
        """What tf2_ros's static_transform_publisher is told, for the frame ``child``."""
        names = ("x", "y", "z", "qx", "qy", "qz", "qw")
        numbers = zip(names, (*self.translation, *self.quaternion), strict=True)
        pose = [word for name, value in numbers for word in (f"--{name}", f"{value:.8f}")]
        return *pose, "--frame-id", self.frame, "--child-frame-id", child


@dataclass(frozen=True)
class CameraConfig:
    """One camera of the cell: the device and where it stands."""

    device: L515Config
    extrinsics: ExtrinsicsConfig
    feed: str | None = None  # simulated laboratory only: where its frames come from, "host:port"


@dataclass(frozen=True)
class CalibrationConfig:
    """What is watched of the cameras' calibration whenever the graph starts.

    Attributes:
        drift_check: a camera that has moved is told of ("warn"), or also keeps the robot from moving ("refuse").
        tolerance_mm: how far its reference board may appear from where it was.
        references: by camera, the board fixed in the cell, as ``vipa calibrate drift --remember`` writes it; paths are
            relative to the laboratory's YAML.
    """

    drift_check: Literal["off", "warn", "refuse", False] = "off"  # False: what YAML makes of a bare off
    tolerance_mm: float = 3.0
    references: dict[str, Path] = field(default_factory=dict[str, Path])

    def __post_init__(self) -> None:
        if not 0.0 < self.tolerance_mm < 100.0:
            raise ValueError(f"tolerance_mm: {self.tolerance_mm:g} is not between 0 and 100")
        if self.checks_drift and not self.references:
            raise ValueError("references: missing; give a camera's board, as vipa calibrate drift --remember writes it")

    @property
    def checks_drift(self) -> bool:
        """Whether the cameras are looked at when the graph starts."""
        return self.drift_check in ("warn", "refuse")


@dataclass(frozen=True)
class SupervisorConfig:
    """Watchdogs of the cell; the times are wall time, since they watch processes."""

    heartbeat_time_out: float = 0.5  # s without a heartbeat: the node counts as missing
    state_time_out: float = 0.15  # s without a supervisor state: controller and drivers stop by themselves
    configure_time_out: float = 30.0  # s for one lifecycle transition of one node
    policy_time_out: float = 1.5  # s without an answer of the policy server: the cell stops until it is reset


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
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    workstation: WorkstationConfig | None = None  # None: nothing is asked of another machine
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
        for name in self.calibration.references:
            if name not in self.cameras:
                raise ValueError(f"calibration.references: no camera {name}; known: {', '.join(self.cameras)}")
            if self.cameras[name].extrinsics.on_wrist:
                raise ValueError(
                    f"calibration.references: camera {name} sits on the wrist; only standing ones are checked"
                )
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
    path = lab_path(name_or_path)
    try:
        return _with_paths_beside(path, from_mapping(LabConfig, read_yaml(path)))
    except ConfigurationError as error:
        prefix = f"configuration {path}"
        raise ConfigurationError(str(error) if str(error).startswith(prefix) else f"{prefix}: {error}") from None


def lab_path(name_or_path: str) -> Path:
    """The YAML of a laboratory, by the name of one that is shipped or by path.

    Raises:
        ConfigurationError: no laboratory of this name is shipped.
    """
    path = Path(name_or_path)
    if path.suffix:
        return path
    path = LAB_FOLDER / f"{name_or_path}.yaml"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in LAB_FOLDER.glob("*.yaml")))
        raise ConfigurationError(
            f"laboratory {name_or_path}: not one of those shipped ({shipped}); "
            "give one of them or the path of a YAML file"
        )
    return path


def _with_paths_beside(path: Path, lab: LabConfig) -> LabConfig:
    references = {name: path.parent / file for name, file in lab.calibration.references.items()}
    ranges = None if lab.hand.calibration is None else path.parent / lab.hand.calibration
    calibration, hand = replace(lab.calibration, references=references), replace(lab.hand, calibration=ranges)
    return replace(lab, calibration=calibration, hand=hand)


def split_address(address: str, key: str) -> tuple[str, int]:
    """Split "host:port".

    Raises:
        ConfigurationError: it has no port, or the port is no number from 1 to 65535; the message names ``key``.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigurationError(f"{key}: expected host:port, found {address!r}")
    return host, int(port)
