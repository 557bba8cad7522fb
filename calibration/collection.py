"""Taking views one by one into a folder; each is whole on the disk before the next."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from calibration.artefact import camera_info_file
from calibration.board import BoardConfig
from calibration.detection import Image, detect
from calibration.hand_eye import rotation_spread
from calibration.views import CAMERA_INFO_FILE, VIEWS_FILE, CameraEntry, load_views
from vipa.control.kinematics import Kinematics
from vipa.errors import ConfigurationError
from vipa.hardware.realsense import CameraIntrinsics
from vipa.hashed_yaml import save


class ViewCollector:
    """Fills a folder with views, or goes on with one that was begun.

    Args:
        folder: made where it is missing.
        camera: that takes the images.
        board: that is seen.
        intrinsics: of the camera, as it gives them.

    Attributes:
        folder: as given.

    Raises:
        ConfigurationError: the folder cannot be written, or has views of another camera, board or image size.
    """

    def __init__(self, folder: Path, camera: CameraEntry, board: BoardConfig, intrinsics: CameraIntrinsics) -> None:
        self.folder, self._camera, self._board = folder, camera, board
        self._kinematics = Kinematics()
        self._views: list[dict[str, Any]] = []
        if (folder / VIEWS_FILE).exists():
            begun = load_views(folder)
            if (begun.camera, begun.board, begun.intrinsics) != (camera, board, intrinsics):
                raise ConfigurationError(
                    f"views {folder}: has views of another camera, board or image size; take another folder"
                )
            self._views = json.loads((folder / VIEWS_FILE).read_text(encoding="utf-8"))["views"]
        else:
            save(folder / CAMERA_INFO_FILE, camera_info_file(camera.name, camera.serial, intrinsics, {}))

    @property
    def count(self) -> int:
        """Views in the folder."""
        return len(self._views)

    def add(self, image: Image, joints: Sequence[float]) -> str:
        """Keep one view.

        Args:
            image: (H, W, 3) RGB.
            joints: (7,) rad, at rest.

        Returns:
            What a person wants to know of it, one line.

        Raises:
            BoardNotSeenError: the board is not in the image; nothing is kept.
            ConfigurationError: the folder cannot be written.
        """
        name = f"{self.count:03}.png"
        corners = len(detect(self._board, image, name).points)
        views = [*self._views, {"image": name, "joints": [float(q) for q in joints]}]
        content = {
            "camera": dataclasses.asdict(self._camera),
            "board": dataclasses.asdict(self._board),
            "views": views,
        }
        _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        try:
            _write(self.folder / name, encoded.tobytes())
            _write(self.folder / VIEWS_FILE, json.dumps(content, indent=1).encode())
        except OSError as error:
            raise ConfigurationError(f"views {self.folder}: cannot be written: {error.strerror or error}") from None
        self._views = views
        return f"{name}: {corners} corners; {self._progress()}"

    def _progress(self) -> str:
        flange = self._kinematics.forward([v["joints"] for v in self._views if v.get("joints") is not None])
        if len(flange) < 2:
            return f"{self.count} view"
        return f"{self.count} views, turned about two axes by {rotation_spread(flange)[0]:.0f} degrees"


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(content)
    partial.replace(path)
