"""Driver of one Intel RealSense L515: newest frame, geometry, aligned depth, diagnostics, bounded recovery."""

import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vipa.errors import HardwareError
from vipa.hardware import realsense
from vipa.hardware.l515_config import L515Config
from vipa.hardware.l515_streams import BagStream, DeviceStream, FrameStream
from vipa.hardware.realsense import CameraIntrinsics

__all__ = ["L515", "CameraIntrinsics", "Frame", "L515Config"]

_log = logging.getLogger(__name__)

_RATE_WINDOW = 30  # frames over which the rate is measured
_RESET_TIME_OUT_S = 10.0  # an L515 is back on USB some 3 s after a reset
_RESET_POLL_S = 0.5
_INTERRUPT_POLL_S = 0.2


@dataclass(frozen=True, eq=False)
class Frame:
    """One exposure. The arrays show librealsense's own memory: a camera stops when some 15 frames are held.

    Attributes:
        exposure_ns: time of the colour image, on the computer's clock (a simulated camera: the laboratory's).
        color: (H, W, 3) uint8, RGB.
        depth: (h, w) uint16, in units of ``depth_scale``; 0 where nothing was measured.
        depth_scale: m.
        frame_number: of the colour image, as counted by the camera.
    """

    exposure_ns: int
    color: NDArray[np.uint8]
    depth: NDArray[np.uint16]
    depth_scale: float
    frame_number: int
    frameset: Any = field(repr=False)


class L515:
    """One camera. All calls come from one thread, save ``interrupt``.

    Args:
        name: the camera's name in the configuration, for messages.
        config: its settings.
        context: the librealsense context whose devices are searched; None: the devices on USB.
    """

    def __init__(self, name: str, config: L515Config, context: Any | None = None) -> None:
        self.name = name
        self._config = config
        self._context = context
        self._where = f"camera {name}"
        self._stream: FrameStream | None = None
        self._depth_scale = 0.0
        self._aligner: Any | None = None
        self._overdue_at = math.inf
        self._last: tuple[int, float] | None = None
        self._arrivals: deque[float] = deque(maxlen=_RATE_WINDOW)
        self._dropped = 0
        self._interrupted = threading.Event()

    @property
    def finished(self) -> bool:
        """A recording has been played to its end."""
        return self._stream is not None and self._stream.finished

    def start(self) -> None:
        """Find the camera by its serial number, set its options and start it; also starts it anew.

        Raises:
            HardwareError: no such camera, a stream it does not have, or librealsense refused.
        """
        self.stop()
        rs = realsense.load()
        if self._config.bag is not None:
            if not self._config.bag.is_file():
                raise HardwareError(f"{self._where}: no recording {self._config.bag}. Correct cameras.{self.name}.bag")
            with self._translated("cannot play its recording", f"Record {self._config.bag} again"):
                self._stream = BagStream(rs, self._where, self._config)
        else:
            device = self._find_device(rs)
            with self._translated("cannot be started", "Close other programs that use it, or replug it"):
                self._stream = DeviceStream(rs, self._where, device, self._config)
        self._adopt(rs, self._stream)

    def stop(self) -> None:
        """Stop streaming; harmless when stopped."""
        if self._stream is not None:
            self._stream.close()
        self._stream = self._aligner = None
        self._overdue_at = math.inf
        self._last = None
        self._arrivals.clear()

    def read(self, time_out_s: float) -> Frame | None:
        """The newest complete frame that has not been read yet; waits for one if need be.

        A camera that is lost stays so until a frame comes: every call waits for one, and raises otherwise.

        Returns:
            None on time-out, and at the end of a recording (see ``finished``).

        Raises:
            HardwareError: the camera was not started, is gone, or has been silent for longer than its time-out.
        """
        stream = self._started()
        now = time.monotonic()
        deadline = now + time_out_s
        until = min(deadline, self._overdue_at) if now < self._overdue_at else deadline
        frameset: Any | None = None
        while True:
            with self._translated("cannot be read", "Check the USB 3 cable"):
                frame = self._newest(stream, frameset)
                if frame is not None:
                    return frame
                now = time.monotonic()
                if now >= until and now >= self._overdue_at:
                    raise HardwareError(self._silence())
                if now >= until or stream.finished or self._interrupted.is_set():
                    return None
                frameset = stream.wait(min(until - now, _INTERRUPT_POLL_S))

    def align(self, frame: Frame) -> NDArray[np.uint16]:
        """The frame's depth (H, W) as the colour camera would see it, in the same unit, 0 where unknown.

        Free where both streams share their geometry; otherwise librealsense's own alignment.

        Raises:
            HardwareError: the camera was not started, or librealsense refused.
        """
        self._started()
        if self._aligner is None:
            return frame.depth
        with self._translated("cannot align depth to colour", "Restart the camera"):
            aligned = self._aligner.process(frame.frameset).get_depth_frame()
            return np.asanyarray(aligned.get_data())

    def color_info(self) -> CameraIntrinsics:
        """Intrinsics of the colour images.

        Raises:
            HardwareError: the camera was not started.
        """
        return realsense.intrinsics_of(self._started().color_profile)

    def depth_info(self) -> CameraIntrinsics:
        """Intrinsics of the depth images.

        Raises:
            HardwareError: the camera was not started.
        """
        return realsense.intrinsics_of(self._started().depth_profile)

    def depth_to_color(self) -> NDArray[np.float64]:
        """Transform (4, 4) of points from the depth to the colour camera's optical frame, m.

        Raises:
            HardwareError: the camera was not started.
        """
        stream = self._started()
        return realsense.extrinsics_between(stream.depth_profile, stream.color_profile)

    def recover(self) -> None:
        """Bring a silent camera back: restarts, and a hardware reset before the last of them.

        Returns early, with the camera stopped, where ``interrupt`` is called.

        Raises:
            HardwareError: no frame came after any attempt. Somebody has to look at the camera.
        """
        if self._config.bag is not None:
            raise HardwareError(f"{self._where}: a recording cannot be recovered. Start it anew")
        attempts = self._config.recovery_attempts
        reason = "no frame"
        for attempt in range(1, attempts + 1):
            _log.warning("%s: recovery attempt %d of %d", self._where, attempt, attempts)
            try:
                if attempt == attempts > 1:
                    self._reset()
                self.start()
                if self.read(self._config.start_time_out_s) is not None:
                    return
            except HardwareError as error:
                reason = str(error)
                _log.warning("%s: attempt %d failed: %s", self._where, attempt, reason)
            if self._interrupted.is_set():
                self.stop()
                return
        self.stop()
        raise HardwareError(
            f"{self._where}: not recovered in {attempts} attempts; replug it and restart (last: {reason})"
        )

    def interrupt(self) -> None:
        """End for good what waits for the camera, from another thread: it is not needed any more."""
        self._interrupted.set()

    def diagnostics(self) -> dict[str, float | str]:
        """State of the camera for people: never raises; empty while stopped.

        Returns:
            ``frame_rate`` as read, Hz; ``dropped_frames``, the frame numbers that never reached ``read``, for whatever
            reason, since this object was made; ``temperature`` of the laser driver, °C, NaN if unknown;
            ``temperature_limit``; ``serial``; ``firmware``; ``usb_type``.
        """
        if self._stream is None:
            return {}
        rs = realsense.load()
        temperature = self._temperature(rs, self._stream.device)
        if temperature > self._config.temperature_limit:
            _log.warning(
                "%s: laser driver at %.0f °C, above %.0f °C. Lower laser_power or improve the air flow",
                self._where,
                temperature,
                self._config.temperature_limit,
            )
        return {
            "frame_rate": self._frame_rate(),
            "dropped_frames": float(self._dropped),
            "temperature": temperature,
            "temperature_limit": self._config.temperature_limit,
            "serial": _info(self._stream.device, rs.camera_info.serial_number),
            "firmware": _info(self._stream.device, rs.camera_info.firmware_version),
            "usb_type": _info(self._stream.device, rs.camera_info.usb_type_descriptor),
        }

    def _started(self) -> FrameStream:
        if self._stream is None:
            raise HardwareError(f"{self._where}: not started. Call start()")
        return self._stream

    def _adopt(self, rs: Any, stream: FrameStream) -> None:
        """Read what stays the same while the camera streams."""
        with self._translated("does not tell its geometry", "Replug it"):
            self._depth_scale = round(stream.device.first_depth_sensor().get_depth_scale(), 9)
            same_intrinsics = self.color_info() == self.depth_info()
            same_place = np.allclose(self.depth_to_color(), np.eye(4), atol=1e-6)
            self._aligner = None if same_intrinsics and same_place else rs.align(rs.stream.color)
        usb_type = _info(stream.device, rs.camera_info.usb_type_descriptor)
        if usb_type.startswith("2"):
            _log.warning(
                "%s: on USB %s, where an L515 is slow and small. Use a USB 3 port and cable", self._where, usb_type
            )
        if self._config.bag is None:
            self._overdue_at = time.monotonic() + self._config.start_time_out_s

    def _find_device(self, rs: Any) -> Any:
        if self._context is None:
            self._context = rs.context()
        serial = self._config.serial
        with self._translated("cannot list the cameras", "Check the udev rules of librealsense"):
            devices = {_info(d, rs.camera_info.serial_number): d for d in self._context.query_devices()}
        if serial not in devices:
            raise HardwareError(
                f"{self._where}: no L515 with serial {serial}; found: {', '.join(sorted(devices)) or 'none'}."
                f" Check the USB 3 cable or set cameras.{self.name}.serial"
            )
        product = _info(devices[serial], rs.camera_info.name)
        if "L515" not in product:
            raise HardwareError(f"{self._where}: {serial} is a {product}, not an L515. Set cameras.{self.name}.serial")
        return devices[serial]

    def _newest(self, stream: FrameStream, newest: Any | None) -> Frame | None:
        """Take every waiting frameset; the last one that is complete, dated and new becomes the frame."""
        chosen = self._usable(stream, newest)
        while (frameset := stream.poll()) is not None:
            chosen = self._usable(stream, frameset) or chosen
        if chosen is None:
            return None
        depth, color = chosen.get_depth_frame(), chosen.get_color_frame()
        number, stamp_ms = int(color.get_frame_number()), float(color.get_timestamp())
        if self._last is not None and number > self._last[0]:
            self._dropped += number - self._last[0] - 1
        self._last = number, stamp_ms
        now = time.monotonic()
        self._arrivals.append(now)
        if self._config.bag is None:
            self._overdue_at = now + self._config.frame_time_out_s
        return Frame(
            exposure_ns=realsense.milliseconds_to_ns(stamp_ms),
            color=np.asanyarray(color.get_data()),
            depth=np.asanyarray(depth.get_data()),
            depth_scale=self._depth_scale,
            frame_number=number,
            frameset=chosen,
        )

    def _usable(self, stream: FrameStream, frameset: Any | None) -> Any | None:
        if frameset is None or not frameset.get_depth_frame():
            return None
        color = frameset.get_color_frame()
        if not color or not stream.is_dated(color):
            return None
        return None if self._last == (color.get_frame_number(), color.get_timestamp()) else frameset

    def _silence(self) -> str:
        rs = realsense.load()
        try:
            self._find_device(rs)
        except HardwareError as error:
            return str(error)
        silent_s = self._config.frame_time_out_s if self._last else self._config.start_time_out_s
        return f"{self._where}: no frame from L515 {self._config.serial} for {silent_s:g} s. Restart it, or replug it"

    def _reset(self) -> None:
        """Reset the hardware and wait until it is back on the bus."""
        rs = realsense.load()
        self.stop()
        device = self._find_device(rs)
        with self._translated("cannot be reset", "Replug it"):
            device.hardware_reset()
        deadline = time.monotonic() + _RESET_TIME_OUT_S
        gone = False
        while time.monotonic() < deadline and not self._interrupted.wait(_RESET_POLL_S):
            try:
                self._find_device(rs)
            except HardwareError:
                gone = True
                continue
            if gone:
                return

    def _frame_rate(self) -> float:
        """Mean rate over the last frames, and over the silence since where that is longer than usual, Hz."""
        intervals = len(self._arrivals) - 1
        if intervals < 1:
            return 0.0
        busy = self._arrivals[-1] - self._arrivals[0]
        overdue = max(0.0, time.monotonic() - self._arrivals[-1] - busy / intervals)
        return intervals / max(busy + overdue, 1e-6)

    def _temperature(self, rs: Any, device: Any) -> float:
        try:
            sensor = device.first_depth_sensor()
            return (
                float(sensor.get_option(rs.option.ldd_temperature))
                if sensor.supports(rs.option.ldd_temperature)
                else math.nan
            )
        except RuntimeError as error:
            _log.warning("%s: cannot read its temperature: %s", self._where, error)
            return math.nan

    @contextlib.contextmanager
    def _translated(self, failure: str, cure: str) -> Generator[None]:
        """Turn what librealsense raises into a HardwareError of one line."""
        try:
            yield
        except RuntimeError as error:
            raise HardwareError(f"{self._where}: {failure}: {' '.join(str(error).split())}. {cure}") from error


def _info(device: Any, key: Any) -> str:
    return str(device.get_info(key)) if device.supports(key) else "unknown"
