"""librealsense through pyrealsense2: how to load it, and its geometry and time stamps in ROS terms."""

import ctypes
import importlib
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vipa.errors import HardwareError

# sensor_msgs/CameraInfo names of librealsense's distortion models; Brown-Conrady keeps the order k1, k2, p1, p2, k3.
_ROS_DISTORTION_MODELS = {"none": "plumb_bob", "brown_conrady": "plumb_bob"}


@dataclass(frozen=True)
class CameraIntrinsics:
    """Pinhole geometry of one image stream, as sensor_msgs/CameraInfo has it.

    Attributes:
        width: px.
        height: px.
        fx: focal length along x, px.
        fy: focal length along y, px.
        cx: principal point, px from the centre of the left column.
        cy: principal point, px from the centre of the top row.
        distortion_model: ROS name, "plumb_bob".
        coefficients: k1, k2, p1, p2, k3.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion_model: str = "plumb_bob"
    coefficients: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)

    @classmethod
    def from_matrix(cls, matrix: NDArray[np.float64], width: int, height: int) -> "CameraIntrinsics":
        """An undistorted camera from its matrix K (3, 3), px, and its image size, px."""
        return cls(width, height, float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]), float(matrix[1, 2]))

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The camera matrix K (3, 3), px."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])


def load() -> Any:
    """Import pyrealsense2 and return the module.

    Its wheel links libusb without shipping it, so where the system has none the copy of the ``libusb-package`` wheel is
    loaded first. OpenMP gets one thread unless the environment says otherwise: with more, the alignment of two cameras
    halves the frame rate of a small machine.

    Raises:
        HardwareError: pyrealsense2 is not installed, or cannot be loaded.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        return importlib.import_module("pyrealsense2")
    except ModuleNotFoundError:
        raise HardwareError(
            "pyrealsense2 is not installed. Use Python 3.10 or 3.11 on x86_64 and run:"
            " pip install pyrealsense2==2.54.2.5684 libusb-package (later releases cannot drive an L515)"
        ) from None
    except ImportError:
        return _load_with_bundled_libusb()


def _load_with_bundled_libusb() -> Any:
    try:
        libusb_package: Any = importlib.import_module("libusb_package")
        ctypes.CDLL(str(libusb_package.get_library_path()), mode=ctypes.RTLD_GLOBAL)
        return importlib.import_module("pyrealsense2")
    except (ImportError, OSError) as error:
        raise HardwareError(
            f"pyrealsense2 cannot be loaded: {' '.join(str(error).split())}."
            " Install libusb-1.0-0 (apt) or libusb-package (pip)"
        ) from None


def intrinsics_of(profile: Any) -> CameraIntrinsics:
    """The intrinsics of a stream profile.

    Raises:
        HardwareError: a distortion model that no L515 has.
    """
    native = profile.as_video_stream_profile().get_intrinsics()
    if native.model.name not in _ROS_DISTORTION_MODELS:
        raise HardwareError(
            f"{profile.stream_name()} stream: distortion model {native.model.name} is not that of an L515"
        )
    k1, k2, p1, p2, k3 = (float(c) for c in native.coeffs)
    return CameraIntrinsics(
        width=native.width,
        height=native.height,
        fx=native.fx,
        fy=native.fy,
        cx=native.ppx,
        cy=native.ppy,
        distortion_model=_ROS_DISTORTION_MODELS[native.model.name],
        coefficients=(k1, k2, p1, p2, k3),
    )


def extrinsics_between(source: Any, target: Any) -> NDArray[np.float64]:
    """Transform (4, 4) that takes points of the source stream's optical frame to the target's, m.

    librealsense stores the rotation column by column (rs2_extrinsics).
    """
    native = source.get_extrinsics_to(target)
    transform = np.eye(4)
    transform[:3, :3] = np.reshape(native.rotation, (3, 3)).T
    transform[:3, 3] = native.translation
    return transform


def milliseconds_to_ns(stamp_ms: float) -> int:
    """A librealsense time stamp as integer nanoseconds.

    Whole and fractional milliseconds are converted apart, so that nothing is lost beyond the resolution of the float
    itself (0.24 µs at today's epoch).
    """
    whole = int(stamp_ms)
    return whole * 1_000_000 + round((stamp_ms - whole) * 1e6)


def ns_to_milliseconds(stamp_ns: int) -> float:
    """Integer nanoseconds as a librealsense time stamp, to the resolution of the float."""
    return stamp_ns // 1_000_000 + (stamp_ns % 1_000_000) * 1e-6
