"""Calibration and configuration of a laboratory, as they were when an episode was recorded."""

import dataclasses
import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vipa.errors import ConfigurationError
from vipa.lab import LAB_FOLDER, LabConfig, load_lab

PACKAGES = ("vipa", "numpy", "opencv-python", "mcap", "zstandard", "franky-control", "pyrealsense2")


def lab_snapshot(name_or_path: str, settings: Mapping[str, Any]) -> dict[str, bytes]:
    """What is attached to every episode.

    Args:
        name_or_path: of the laboratory, as ``vipa.lab.load_lab`` takes it.
        settings: of the recorder.

    Returns:
        Contents by file name: ``lab.yaml`` as it stands on the disk; ``configuration.json``, all of it with defaults;
        ``calibration.json``, the pose of each camera's colour optical frame in the base frame, or that of the flange
        where it sits on the wrist (4, 4; m); ``software.json``, versions.

    Raises:
        ConfigurationError: the laboratory's YAML cannot be read.
    """
    lab = load_lab(name_or_path)
    path = Path(name_or_path) if Path(name_or_path).suffix else LAB_FOLDER / f"{name_or_path}.yaml"
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"configuration {path}: cannot be read: {error.strerror}") from None
    configuration = {"lab": dataclasses.asdict(lab), "recorder": dict(settings)}
    return {
        "lab.yaml": text,
        "configuration.json": _json(configuration),
        "calibration.json": _json(_calibration(lab)),
        "software.json": _json(_software()),
    }


def _calibration(lab: LabConfig) -> dict[str, Any]:
    standing: dict[str, Any] = {}
    on_wrist: dict[str, Any] = {}
    for name, camera in lab.cameras.items():
        (on_wrist if camera.extrinsics.on_wrist else standing)[name] = camera.extrinsics.matrix().tolist()
    frames = {"color_optical_frame_in_base": standing, "color_optical_frame_in_flange": on_wrist}
    return {"base_frame": lab.base_frame, **frames}


def _software() -> dict[str, Any]:
    return {
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "system": platform.platform(),
        "ros_distro": os.environ.get("ROS_DISTRO", ""),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _json(content: Any) -> bytes:
    return json.dumps(content, indent=2, default=str).encode()
