"""The camera process's side of the camera feed: a librealsense software device that looks like an L515."""

import contextlib
import ctypes
import json
import logging
import socket
import threading
import time
from typing import Any

import numpy as np

from vipa.errors import HardwareError
from vipa.hardware import realsense
from vipa.hardware.realsense import CameraIntrinsics
from vipa_sim.camera_feed.protocol import ARRIVED, HEADER, MAGIC, CameraDescription, read_line
from vipa_sim.errors import SimulationError

_log = logging.getLogger(__name__)

_CONNECT_TIME_OUT_S = 2.0
_RETRY_S = 0.1
_BYTES_PER_PIXEL = {"depth": 2, "color": 3}

# minimum, maximum, step, default of an L515's options
_DEPTH_OPTIONS = {
    "visual_preset": (0.0, 6.0, 1.0, 4.0),
    "laser_power": (0.0, 100.0, 1.0, 100.0),
    "inter_cam_sync_mode": (0.0, 1.0, 1.0, 0.0),
    "global_time_enabled": (0.0, 1.0, 1.0, 0.0),
}
_COLOR_OPTIONS = {"global_time_enabled": (0.0, 1.0, 1.0, 0.0)}
_LASER_TEMPERATURE = 42.0  # °C


class FeedDevice:
    """A simulated L515 inside this process, fed by the laboratory.

    While the laboratory is away no frames come, as with a hung camera; when it is back, they do.

    Args:
        address: host and port of the laboratory's camera feed.
        serial: serial number of the camera to be.
        connect_time_out_s: how long ``add_to`` waits for the laboratory, s.
    """

    def __init__(self, address: tuple[str, int], serial: str, connect_time_out_s: float = 10.0) -> None:
        self._address = address
        self._serial = serial
        self._connect_time_out_s = connect_time_out_s
        self._where = f"simulated camera {serial} at {address[0]}:{address[1]}"
        self._closing = threading.Event()
        self._connection: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._device: _SoftwareL515 | None = None

    def add_to(self, context: Any) -> None:
        """Connect to the laboratory, add the device to a librealsense context and feed it from now on.

        Raises:
            HardwareError: the laboratory does not answer, or has no such camera.
        """
        connection, description = self._connect_patiently()
        device = _SoftwareL515(realsense.load(), description)
        device.add_to(context)
        self._device = device
        self._thread = threading.Thread(
            target=self._run, args=(connection, device), name=f"camera feed {self._serial}", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Cut the connection; the device stays in its context, without frames."""
        self._closing.set()
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        if self._thread is not None:
            self._thread.join(timeout=_CONNECT_TIME_OUT_S + 1.0)

    def _run(self, connection: socket.socket, device: "_SoftwareL515") -> None:
        while True:
            self._connection = connection
            if self._closing.is_set():
                connection.close()
                return
            try:
                with connection:
                    _feed(connection, device)
            except (OSError, SimulationError) as error:
                if not self._closing.is_set():
                    _log.warning("%s: the feed broke off (%s); waiting for the laboratory", self._where, error)
            back = self._reconnect(device.description)
            if back is None:
                return
            _log.info("%s: the laboratory is back", self._where)
            connection = back

    def _reconnect(self, description: CameraDescription) -> socket.socket | None:
        """A new connection to a laboratory with the same camera; None once the device is stopped."""
        last_reason = ""
        while not self._closing.wait(_RETRY_S):
            try:
                connection, found = self._connect()
            except (OSError, SimulationError) as error:
                reason = str(error)
            else:
                if found == description:
                    return connection
                connection.close()
                reason = "the laboratory is back with another geometry of this camera. Restart the camera process"
            if reason != last_reason:
                _log.warning("%s: %s", self._where, reason)
                last_reason = reason
        return None

    def _connect_patiently(self) -> tuple[socket.socket, CameraDescription]:
        deadline = time.monotonic() + self._connect_time_out_s
        while True:
            try:
                return self._connect()
            except (OSError, SimulationError) as error:
                if time.monotonic() >= deadline or self._closing.wait(_RETRY_S):
                    raise HardwareError(
                        f"{self._where}: {error}. Start the laboratory, or correct the address"
                    ) from None

    def _connect(self) -> tuple[socket.socket, CameraDescription]:
        connection = socket.create_connection(self._address, timeout=_CONNECT_TIME_OUT_S)
        try:
            connection.sendall(json.dumps({"serial": self._serial}).encode() + b"\n")
            description = CameraDescription.from_line(read_line(connection))
        except (OSError, SimulationError):
            connection.close()
            raise
        connection.settimeout(None)
        return connection, description


def _feed(connection: socket.socket, device: "_SoftwareL515") -> None:
    """Push frames into the device until the connection ends.

    Raises:
        OSError: the connection broke.
        SimulationError: the server closed it, or sent something else than this camera's frames.
    """
    start_of_depth = HEADER.size + device.color_bytes
    packet = memoryview(bytearray(start_of_depth + device.depth_bytes))
    color, depth = packet[HEADER.size : start_of_depth], packet[start_of_depth:]
    while True:
        _receive(connection, packet)
        magic, exposure_ns, number, color_bytes, depth_bytes = HEADER.unpack_from(packet)
        if (magic, color_bytes, depth_bytes) != (MAGIC, len(color), len(depth)):
            raise SimulationError("the stream holds no frames of this camera")
        device.push(exposure_ns, number, color, depth)
        connection.sendall(ARRIVED)


def _receive(connection: socket.socket, buffer: memoryview) -> None:
    while buffer:  # one call fills the buffer, unless a signal interrupts it
        received = connection.recv_into(buffer, len(buffer), socket.MSG_WAITALL)
        if not received:
            raise SimulationError("the laboratory closed the connection")
        buffer = buffer[received:]


class _SoftwareL515:
    """A software device with the names, options, geometry and clock of an L515 (rs.software_device)."""

    def __init__(self, rs: Any, description: CameraDescription) -> None:
        self._rs = rs
        self.description = description
        self._device: Any = rs.software_device()
        for key, value in (
            ("name", "Intel RealSense L515"),
            ("serial_number", description.serial),
            ("firmware_version", "01.05.08.01"),
            ("product_id", "0B64"),
            ("product_line", "L500"),
            ("usb_type_descriptor", "3.2"),
            ("physical_port", f"simulated/{description.name}"),
        ):
            info = getattr(rs.camera_info, key)
            write = self._device.update_info if self._device.supports(info) else self._device.register_info
            write(info, value)
        self._depth_sensor = self._add_sensor("L500 Depth Sensor", _DEPTH_OPTIONS)
        self._depth_sensor.add_read_only_option(rs.option.depth_units, description.depth_scale)
        self._depth_sensor.add_read_only_option(rs.option.ldd_temperature, _LASER_TEMPERATURE)
        self._color_sensor = self._add_sensor("RGB Camera", _COLOR_OPTIONS)
        depth_profile = self._add_stream(self._depth_sensor, "depth", 1, rs.format.z16, description.depth)
        color_profile = self._add_stream(self._color_sensor, "color", 2, rs.format.rgb8, description.color)
        transform = np.reshape(description.depth_to_color, (4, 4))
        extrinsics = rs.extrinsics()
        extrinsics.rotation = [float(v) for v in transform[:3, :3].T.ravel()]  # column by column
        extrinsics.translation = [float(v) for v in transform[:3, 3]]
        depth_profile.register_extrinsics_to(color_profile, extrinsics)
        self._depth_profile = depth_profile.as_video_stream_profile()
        self._color_profile = color_profile.as_video_stream_profile()
        self._device.create_matcher(rs.matchers.dic_c)
        self.depth_bytes = description.depth.width * description.depth.height * _BYTES_PER_PIXEL["depth"]
        self.color_bytes = description.color.width * description.color.height * _BYTES_PER_PIXEL["color"]

    def add_to(self, context: Any) -> None:
        """Make the device visible to ``context.query_devices()``."""
        self._device.add_to(context)

    def push(self, exposure_ns: int, number: int, color: memoryview, depth: memoryview) -> None:
        """One exposure into both sensors; librealsense copies the pixels, and drops them while nobody streams."""
        depth_frame = self._frame(
            self._depth_profile, "depth", self.description.depth.width, exposure_ns, number, depth
        )
        _write_depth_units(depth_frame, self.description.depth_scale)
        self._depth_sensor.on_video_frame(depth_frame)
        color_frame = self._frame(
            self._color_profile, "color", self.description.color.width, exposure_ns, number, color
        )
        self._color_sensor.on_video_frame(color_frame)

    def _frame(self, profile: Any, stream: str, width: int, exposure_ns: int, number: int, pixels: memoryview) -> Any:
        frame = self._rs.software_video_frame()  # anew for each push, because librealsense frees its pixels later
        frame.bpp = _BYTES_PER_PIXEL[stream]
        frame.stride = width * frame.bpp
        frame.timestamp = realsense.ns_to_milliseconds(exposure_ns)
        frame.domain = self._rs.timestamp_domain.global_time
        frame.frame_number = number
        frame.profile = profile
        frame.pixels = pixels
        return frame

    def _add_sensor(self, name: str, options: dict[str, tuple[float, float, float, float]]) -> Any:
        sensor = self._device.add_sensor(name)
        for option, (minimum, maximum, step, default) in options.items():
            value_range = self._rs.option_range()
            value_range.min, value_range.max, value_range.step, value_range.default = minimum, maximum, step, default
            sensor.add_option(getattr(self._rs.option, option), value_range, True)
        return sensor

    def _add_stream(self, sensor: Any, stream: str, uid: int, pixel_format: Any, geometry: CameraIntrinsics) -> Any:
        intrinsics = self._rs.intrinsics()
        intrinsics.width, intrinsics.height = geometry.width, geometry.height
        intrinsics.fx, intrinsics.fy = geometry.fx, geometry.fy
        intrinsics.ppx, intrinsics.ppy = geometry.cx, geometry.cy
        models = self._rs.distortion
        intrinsics.model = models.brown_conrady if any(geometry.coefficients) else models.none
        intrinsics.coeffs = list(geometry.coefficients)
        video = self._rs.video_stream()
        video.type, video.index, video.uid = getattr(self._rs.stream, stream), 0, uid
        video.width, video.height, video.fps = geometry.width, geometry.height, self.description.frame_rate
        video.bpp, video.fmt, video.intrinsics = _BYTES_PER_PIXEL[stream], pixel_format, intrinsics
        return sensor.add_video_stream(video, True)


class _NativeVideoFrame(ctypes.Structure):
    """rs2_software_video_frame (librealsense2/h/rs_internal.h, 2.54)."""

    _fields_ = (
        ("pixels", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("stride", ctypes.c_int),
        ("bpp", ctypes.c_int),
        ("timestamp", ctypes.c_double),
        ("domain", ctypes.c_int),
        ("frame_number", ctypes.c_int),
        ("profile", ctypes.c_void_p),
        ("depth_units", ctypes.c_float),
    )


def _write_depth_units(frame: Any, depth_units: float) -> None:
    """Set ``depth_units`` of a software frame: without it rs.align yields nothing, and pyrealsense2 2.54 leaves it out.

    A pybind11 instance holds the pointer to the native struct right after the Python object's header.

    Raises:
        SimulationError: another release of pyrealsense2, with another struct.
    """
    pointer = ctypes.c_void_p.from_address(id(frame) + object.__basicsize__).value
    native = _NativeVideoFrame.from_address(pointer or 0)
    found = (native.stride, native.bpp, native.timestamp, native.frame_number)
    if found != (frame.stride, frame.bpp, frame.timestamp, frame.frame_number):
        raise SimulationError("simulated cameras need pyrealsense2 2.54.2")
    native.depth_units = depth_units
