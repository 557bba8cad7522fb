"""Camera node: one L515, published under the topic names of realsense-ros."""

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from sensor_msgs.msg import CameraInfo, Image
from vipa_msgs.msg import Heartbeat

from vipa.errors import ConfigurationError, HardwareError
from vipa.hardware.l515 import L515, Frame
from vipa.nodes.base import LATEST, RELIABLE, ManagedNode, run_node
from vipa.nodes.messages import to_camera_info, to_image, to_time
from vipa.scheduling import CHAIN_PRIORITY

DIAGNOSTICS_PERIOD_S = 1.0
RECOVERY_PERIOD_S = 10.0


class CameraNode(ManagedNode):
    """Streams colour, depth and, where somebody listens, depth aligned to colour.

    Args:
        make_context: gives the librealsense context with the devices; None: the devices on USB.
    """

    def __init__(self, make_context: Callable[["CameraNode"], Any] | None = None) -> None:
        super().__init__("camera", period_s=0.0)
        self.declare_parameter("camera", "front")
        self._make_context = make_context
        self._camera: L515 | None = None
        self._next_diagnostics = 0.0
        self._next_recovery = 0.0
        self._recovery: threading.Thread | None = None
        name = self.camera_name
        self._color = self.create_publisher(Image, f"/camera/{name}/color/image_raw", LATEST)
        self._color_info = self.create_publisher(CameraInfo, f"/camera/{name}/color/camera_info", LATEST)
        self._depth = self.create_publisher(Image, f"/camera/{name}/depth/image_rect_raw", LATEST)
        self._depth_info = self.create_publisher(CameraInfo, f"/camera/{name}/depth/camera_info", LATEST)
        self._aligned = self.create_publisher(Image, f"/camera/{name}/aligned_depth_to_color/image_raw", LATEST)
        self._aligned_info = self.create_publisher(
            CameraInfo, f"/camera/{name}/aligned_depth_to_color/camera_info", LATEST
        )
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", RELIABLE)

    @property
    def camera_name(self) -> str:
        """Key of this camera in the laboratory's YAML."""
        return str(self.get_parameter("camera").value)

    def configure(self) -> None:
        """Find the device by its serial number."""
        cameras = self.lab.cameras
        if self.camera_name not in cameras:
            raise ConfigurationError(
                f"camera {self.camera_name}: not in the laboratory's YAML; known: {', '.join(cameras)}"
            )
        context = self._make_context(self) if self._make_context else None
        self._camera = L515(self.camera_name, cameras[self.camera_name].device, context)
        self._camera.start()

    def step(self) -> None:
        """Publish the newest frame; look after a lost device, without missing a heartbeat."""
        if self._camera is None or (self._recovery is not None and self._recovery.is_alive()):
            time.sleep(0.02)
            return
        try:
            frame = self._camera.read(0.05)
        except HardwareError as error:
            self.report(Heartbeat.ERROR, str(error))
            self._recover()
            return
        if frame is not None:
            self.report(Heartbeat.OK, "")
            if self.active:
                self._publish(frame)
        if time.monotonic() >= self._next_diagnostics:
            self._next_diagnostics = time.monotonic() + DIAGNOSTICS_PERIOD_S
            self._publish_diagnostics()

    def cleanup(self) -> None:
        """Let go of the device."""
        if self._camera is not None:
            self._camera.interrupt()
        if self._recovery is not None:
            self._recovery.join()
            self._recovery = None
        if self._camera is not None:
            self._camera.stop()
            self._camera = None

    def _recover(self) -> None:
        """Restart a lost device in a thread, since that takes seconds; once in ``RECOVERY_PERIOD_S``."""
        assert self._camera is not None
        if time.monotonic() < self._next_recovery:
            return
        self._next_recovery = time.monotonic() + RECOVERY_PERIOD_S
        self._recovery = threading.Thread(target=self._try_recovery, args=(self._camera,), name="recovery")
        self._recovery.start()

    def _try_recovery(self, camera: L515) -> None:
        try:
            camera.recover()
        except HardwareError as error:
            self.get_logger().error(str(error))

    def _publish(self, frame: Frame) -> None:
        assert self._camera is not None
        stamp = to_time(frame.exposure_ns)
        color_frame = f"{self.camera_name}_color_optical_frame"
        depth_frame = f"{self.camera_name}_depth_optical_frame"
        self._color.publish(to_image(frame.color, "rgb8", stamp, color_frame))
        self._color_info.publish(to_camera_info(self._camera.color_info(), stamp, color_frame))
        if self._depth.get_subscription_count():
            self._depth.publish(to_image(frame.depth, "16UC1", stamp, depth_frame))
            self._depth_info.publish(to_camera_info(self._camera.depth_info(), stamp, depth_frame))
        if self._aligned.get_subscription_count():
            self._aligned.publish(to_image(self._camera.align(frame), "16UC1", stamp, color_frame))
            self._aligned_info.publish(to_camera_info(self._camera.color_info(), stamp, color_frame))

    def _publish_diagnostics(self) -> None:
        assert self._camera is not None
        status = DiagnosticStatus(
            name=f"camera {self.camera_name}", hardware_id=self.lab.cameras[self.camera_name].device.serial
        )
        status.level = DiagnosticStatus.ERROR if self.level == Heartbeat.ERROR else DiagnosticStatus.OK
        status.values = [KeyValue(key=k, value=str(v)) for k, v in self._camera.diagnostics().items()]
        message = DiagnosticArray(status=[status])
        message.header.stamp = to_time(self.clock.now_ns())
        self._diagnostics.publish(message)


def main(make_context: Callable[[CameraNode], Any] | None = None) -> int:
    """Run the node."""
    return run_node(lambda: CameraNode(make_context), CHAIN_PRIORITY)


if __name__ == "__main__":
    sys.exit(main())
