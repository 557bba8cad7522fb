"""A folder of views: images of the board, and where the arm stood when each was taken.

``views.json`` describes them, ``camera_info.yaml`` has the camera's own intrinsics::

    {"camera": {"name": "front", "serial": "f0123456", "mount": "fixed"},
     "board": {"columns": 7, "rows": 5, "square_length": 0.035, "marker_length": 0.026, "dictionary": "4X4_50"},
     "views": [{"image": "000.png", "joints": [0.0, -0.18, 0.0, -2.14, 0.0, 1.96, 0.0]},
               {"image": "001.png", "flange": {"translation": [0.4, 0.0, 0.5], "quaternion": [1.0, 0.0, 0.0, 0.0]}}]}

``joints`` are rad, ``flange`` is the pose of fr3_link8 in fr3_link0, m and x, y, z, w; a view for the intrinsics or the
drift of a fixed camera needs neither.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from calibration.artefact import load_camera_info
from calibration.board import BoardConfig
from calibration.detection import BoardNotSeenError, BoardView, Detection, detect, locate, read_image
from calibration.poses import Array, pose_from_quaternion
from calibration.refinement import Mount
from vipa.config import from_mapping
from vipa.control.kinematics import Kinematics
from vipa.errors import ConfigurationError
from vipa.hardware.fr3.limits import JOINT_LOWER, JOINT_UPPER
from vipa.hardware.realsense import CameraIntrinsics

VIEWS_FILE, CAMERA_INFO_FILE = "views.json", "camera_info.yaml"
JOINT_TOLERANCE = 0.05  # rad beyond the limits


@dataclass(frozen=True)
class CameraEntry:
    """The camera that took the images."""

    name: str
    serial: str
    mount: Mount


@dataclass(frozen=True)
class FlangeEntry:
    """Pose of the flange in the base frame."""

    translation: tuple[float, float, float]  # m
    quaternion: tuple[float, float, float, float]  # x, y, z, w


@dataclass(frozen=True)
class ViewEntry:
    """One image and, where it matters, where the arm stood."""

    image: str
    joints: tuple[float, float, float, float, float, float, float] | None = None  # rad
    flange: FlangeEntry | None = None

    def __post_init__(self) -> None:
        if self.joints is not None and self.flange is not None:
            raise ValueError(f"joints, flange: give one of them for {self.image}, not both")

    def flange_to_base(self, kinematics: Kinematics, where: str) -> Array | None:
        """(4, 4) pose of the flange, m; None where the view has none.

        Raises:
            ConfigurationError: joints beyond the FR3's limits, or a pose that cannot be one in metres.
        """
        if self.flange is not None:
            return pose_from_quaternion(self.flange.translation, self.flange.quaternion, f"{where}.flange")
        if self.joints is None:
            return None
        q = np.array(self.joints)
        if not ((q >= JOINT_LOWER - JOINT_TOLERANCE) & (q <= JOINT_UPPER + JOINT_TOLERANCE)).all():
            hint = "degrees? write radians" if np.abs(q).max() > 6.5 else "correct them"
            raise ConfigurationError(f"{where}.joints: {q.tolist()} are beyond the limits of the FR3; {hint}")
        return kinematics.forward(q)


@dataclass(frozen=True)
class ViewsFile:
    """The contents of ``views.json``."""

    camera: CameraEntry
    board: BoardConfig
    views: tuple[ViewEntry, ...]


@dataclass(frozen=True, eq=False)
class ViewFolder:
    """A folder of views, checked; the images are read by ``see`` and ``detections``."""

    path: Path
    camera: CameraEntry
    board: BoardConfig
    intrinsics: CameraIntrinsics
    names: tuple[str, ...]  # of the images
    flange_to_base: tuple[Array | None, ...]  # (4, 4) each, m

    def detections(self, progress: "Progress" = iter) -> tuple[list[int], list[Detection], dict[str, str]]:
        """Find the board in every image.

        Returns:
            The numbers of the views in which it is seen, the corners there, and, by image, why it is not seen in the
            others.

        Raises:
            ConfigurationError: an image is missing, cannot be read, or has another size than the intrinsics.
        """
        wanted = self.intrinsics.height, self.intrinsics.width
        numbers: list[int] = []
        found: list[Detection] = []
        unseen: dict[str, str] = {}
        for number in progress(range(len(self.names))):
            name = self.names[number]
            image = read_image(self.path / name)
            if image.shape[:2] != wanted:
                raise ConfigurationError(
                    f"image {self.path / name}: {image.shape[1]} x {image.shape[0]} pixels, but {CAMERA_INFO_FILE} is "
                    f"for {wanted[1]} x {wanted[0]}; take the intrinsics of the size in use"
                )
            try:
                found.append(detect(self.board, image, name))
                numbers.append(number)
            except BoardNotSeenError as error:
                unseen[name] = str(error)
        return numbers, found, unseen

    def see(self, progress: "Progress" = iter) -> "SeenViews":
        """Find the board in every image and locate it.

        Raises:
            ConfigurationError: as ``detections``.
            BoardNotSeenError: it is seen in none.
        """
        numbers, found, unseen = self.detections(progress)
        if not numbers:
            reason = next(iter(unseen.values()), f"{VIEWS_FILE} names no image")
            raise BoardNotSeenError(f"{self.path}: the board is seen in no image; {reason}")
        views = [locate(d, self.intrinsics, self.names[n]) for n, d in zip(numbers, found, strict=True)]
        return SeenViews(
            tuple(self.names[n] for n in numbers), views, tuple(self.flange_to_base[n] for n in numbers), unseen
        )


@dataclass(frozen=True, eq=False)
class SeenViews:
    """The views of a folder in which the board is seen."""

    names: tuple[str, ...]
    boards: Sequence[BoardView]
    poses: tuple[Array | None, ...]  # (4, 4) each: of the flange in the base frame, m
    unseen: dict[str, str] = field(default_factory=dict[str, str])  # why not, by image

    def flange_to_base(self) -> Array:
        """(N, 4, 4) poses of the flange, m.

        Raises:
            ConfigurationError: a view has none; the message names it.
        """
        known = [pose for pose in self.poses if pose is not None]
        if len(known) < len(self.poses):
            names = [name for name, pose in zip(self.names, self.poses, strict=True) if pose is None]
            raise ConfigurationError(f"views: {', '.join(names)}: neither joints nor flange; add where the arm stood")
        return np.stack(known) if known else np.empty((0, 4, 4))


Progress = Callable[[Iterable[int]], Iterable[int]]


def load_views(folder: Path) -> ViewFolder:
    """Read a folder of views.

    Raises:
        ConfigurationError: a file is missing or cannot be read, a key is unknown, missing or wrong, or poses cannot be
            in metres and radians.
    """
    file = folder / VIEWS_FILE
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"views {file}: no such file; make the folder with: vipa calibrate collect") from None
    except OSError as error:
        raise ConfigurationError(f"views {file}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"views {file}: not valid JSON: {error}") from None
    kinematics = Kinematics()
    try:
        described = from_mapping(ViewsFile, content)
        poses = tuple(v.flange_to_base(kinematics, f"views[{i}]") for i, v in enumerate(described.views))
    except ConfigurationError as error:
        raise ConfigurationError(f"views {file}: {error}") from None
    intrinsics = load_camera_info(folder / CAMERA_INFO_FILE).intrinsics()
    names = tuple(view.image for view in described.views)
    return ViewFolder(folder, described.camera, described.board, intrinsics, names, poses)
