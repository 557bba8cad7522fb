"""What a calibration leaves behind: YAML files with date, serial number, residuals, and a hash over their contents."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from calibration.board import BoardConfig
from calibration.poses import Array, pose_from_quaternion, quaternion_of
from vipa.errors import ConfigurationError
from vipa.hardware.realsense import CameraIntrinsics
from vipa.hashed_yaml import load, now
from vipa.lab import BASE_FRAME, ExtrinsicsConfig, Frame


@dataclass(frozen=True)
class MatrixEntry:
    """A matrix as ROS writes it, row by row."""

    rows: int
    cols: int
    data: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.data) != self.rows * self.cols:
            raise ValueError(f"data: {self.rows} x {self.cols} values expected, found {len(self.data)}")


@dataclass(frozen=True)
class CameraInfoFile:
    """Intrinsics of a camera for one image size, in the YAML of ROS's camera_calibration_parsers and, beyond it, where
    they come from. A file that another program wrote has no hash."""

    image_width: int  # px
    image_height: int  # px
    camera_name: str
    camera_matrix: MatrixEntry
    distortion_model: str
    distortion_coefficients: MatrixEntry
    rectification_matrix: MatrixEntry | None = None
    projection_matrix: MatrixEntry | None = None
    serial: str = ""
    date: str = ""
    residuals: dict[str, float] = field(default_factory=dict[str, float])
    hash: str = ""

    def __post_init__(self) -> None:
        if (self.camera_matrix.rows, self.camera_matrix.cols) != (3, 3):
            raise ValueError("camera_matrix: must be 3 x 3")
        if self.distortion_model != "plumb_bob" or len(self.distortion_coefficients.data) != 5:
            raise ValueError("distortion_model: only plumb_bob with its five coefficients is known")
        if min(self.image_width, self.image_height, self.camera_matrix.data[0], self.camera_matrix.data[4]) <= 0:
            raise ValueError("image_width, image_height, camera_matrix: sizes and focal lengths must be positive")

    def intrinsics(self) -> CameraIntrinsics:
        """The same as the stack has it."""
        fx, _, cx, _, fy, cy, *_ = self.camera_matrix.data
        k1, k2, p1, p2, k3 = self.distortion_coefficients.data
        size = self.image_width, self.image_height
        return CameraIntrinsics(*size, fx, fy, cx, cy, self.distortion_model, (k1, k2, p1, p2, k3))


@dataclass(frozen=True)
class FrameFile:
    """Where a calibrated frame stands: a camera's optical frame (x right, y down, z forward), or a board's.

    Attributes:
        camera: name of the camera that this was measured with.
        serial: its serial number.
        date: ISO 8601, UTC.
        parent: frame in which the pose is given, that of the base or of the flange.
        child: the frame itself.
        translation: m.
        quaternion: x, y, z, w.
        residuals: of the calibration, units in their names.
        board: what the board looks like, where the frame is a board's.
        hash: over everything else.
    """

    camera: str
    serial: str
    date: str
    parent: Frame
    child: str
    translation: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]
    residuals: dict[str, float] = field(default_factory=dict[str, float])
    board: BoardConfig | None = None
    hash: str = ""

    def __post_init__(self) -> None:
        try:
            self.matrix()
        except ConfigurationError as error:
            raise ValueError(str(error)) from None

    def matrix(self) -> Array:
        """(4, 4) pose of the frame in its parent, m."""
        return pose_from_quaternion(self.translation, self.quaternion, self.child)

    def in_base(self, flange_to_base: Array | None) -> Array:
        """(4, 4) pose in the base frame, m, where the flange stands at ``flange_to_base``.

        Raises:
            ConfigurationError: it moves with the flange, whose pose is not known.
        """
        if self.parent == BASE_FRAME:
            return self.matrix()
        if flange_to_base is None:
            raise ConfigurationError(f"{self.child} moves with the flange: views need joints or flange")
        return flange_to_base @ self.matrix()

    def lab_lines(self) -> str:
        """What belongs into the laboratory's YAML for a camera."""
        pose = {"frame": self.parent, "translation": list(self.translation), "quaternion": list(self.quaternion)}
        return yaml.safe_dump(
            {"cameras": {self.camera: {"extrinsics": pose}}}, sort_keys=False, default_flow_style=None, width=200
        )

    def publisher_command(self) -> str:
        """The command that publishes the pose as a static transform of ROS."""
        pose = ExtrinsicsConfig(self.translation, self.quaternion, self.parent)
        return " ".join(("ros2 run tf2_ros static_transform_publisher", *pose.publisher_arguments(self.child)))


def frame_file(
    camera: str, serial: str, parent: Frame, child: str, pose: Array, residuals: Mapping[str, float],
    board: BoardConfig | None = None,
) -> FrameFile:  # fmt: skip
    """The file of a pose (4, 4), m, measured now."""
    x, y, z = (float(v) for v in pose[:3, 3])
    return FrameFile(camera, serial, now(), parent, child, (x, y, z), quaternion_of(pose), dict(residuals), board)


def camera_info_file(
    camera: str, serial: str, intrinsics: CameraIntrinsics, residuals: Mapping[str, float]
) -> CameraInfoFile:
    """The file of a camera's intrinsics."""
    fx, fy, cx, cy = intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy
    return CameraInfoFile(
        intrinsics.width,
        intrinsics.height,
        camera,
        MatrixEntry(3, 3, (fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0)),
        intrinsics.distortion_model,
        MatrixEntry(1, 5, intrinsics.coefficients),
        MatrixEntry(3, 3, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)),
        MatrixEntry(3, 4, (fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0)),
        serial,
        now(),
        dict(residuals),
    )


def load_camera_info(path: Path) -> CameraInfoFile:
    """Read a camera's intrinsics; a file without a hash is taken as it is.

    Raises:
        ConfigurationError: as ``load_frame``.
    """
    return load(path, CameraInfoFile, needs_hash=False)


def load_frame(path: Path) -> FrameFile:
    """Read the pose of a camera or a board.

    Raises:
        ConfigurationError: the file is missing, is no YAML, has an unknown, missing or wrong key, or its contents do
            not match its hash.
    """
    return load(path, FrameFile)
