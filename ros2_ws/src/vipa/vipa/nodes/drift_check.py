"""Drift check: when the graph starts, do the cameras still stand where they were calibrated?

The supervisor activates it after the cameras and before the arm. Where ``calibration.drift_check`` is "refuse", it does
not become active while a camera appears to have moved, and so nothing moves.
"""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from sensor_msgs.msg import CameraInfo, Image
from vipa_msgs.msg import Heartbeat

from calibration.artefact import load_frame
from calibration.drift import ReferenceWatch, camera_of_lab
from vipa.errors import VipaError
from vipa.nodes.base import LATEST, ManagedNode, run_node
from vipa.nodes.messages import from_camera_info, from_image

IMAGE_TIME_OUT_S = 10.0
PAUSE_S = 0.02


class DriftCheckNode(ManagedNode):
    """Looks at each camera's reference board, once, while it is activated."""

    def __init__(self) -> None:
        super().__init__("drift_check", period_s=0.1)
        self._warning = self._found = ""

    def configure(self) -> None:
        """Read the references."""
        self._watches()

    def activate(self) -> None:
        """Look, and judge; heartbeats go on meanwhile."""
        watches = self._watches()
        self._look(watches)
        drifts = {name: watch.drift.shift_mm for name, watch in watches.items() if watch.drift is not None}
        found = "; ".join(f"camera {name}: drift {shift:.1f} mm" for name, shift in drifts.items())
        if found != self._found:  # while it refuses, the supervisor asks again and again
            self.get_logger().info(found)
        self._found = found
        trouble = "; ".join(line for line in (watch.trouble() for watch in watches.values()) if line)
        if trouble and self.lab.calibration.drift_check == "refuse":
            raise VipaError(f"drift check: {trouble}")
        self._warning = f"drift check: {trouble}" if trouble else ""

    def step(self) -> None:
        """Go on telling what was found."""
        if self.active and self._warning:
            self.report(Heartbeat.WARN, self._warning)

    def _watches(self) -> dict[str, ReferenceWatch]:
        config = self.lab.calibration
        return {
            name: ReferenceWatch(camera_of_lab(self.lab, name), load_frame(path), config.tolerance_mm)
            for name, path in config.references.items()
        }

    def _look(self, watches: dict[str, ReferenceWatch]) -> None:
        """Show each watch images of its camera until all have judged."""
        deadline = time.monotonic() + IMAGE_TIME_OUT_S
        with self._subscribed(watches) as subscriptions:
            infos: dict[str, Any] = {}
            while waiting := [name for name, watch in watches.items() if not watch.done]:
                for name in waiting:
                    images, camera_infos = subscriptions[name]
                    infos[name] = self.take_latest(camera_infos) or infos.get(name)
                    image = self.take_latest(images) if infos[name] is not None else None
                    if image is not None:
                        watches[name].see(from_image(image), from_camera_info(infos[name]))
                    self._heartbeat()
                if time.monotonic() > deadline:
                    raise VipaError(f"drift check: no images of camera {waiting[0]} within {IMAGE_TIME_OUT_S:.0f} s")
                time.sleep(PAUSE_S)

    @contextmanager
    def _subscribed(self, names: dict[str, ReferenceWatch]) -> Generator[dict[str, tuple[Any, Any]]]:
        """Subscriptions to images and camera info, by camera, only for as long as they are needed."""
        topics = {name: f"/camera/{name}/color" for name in names}
        made = {
            name: (self.polled(Image, f"{t}/image_raw", LATEST), self.polled(CameraInfo, f"{t}/camera_info", LATEST))
            for name, t in topics.items()
        }
        try:
            yield made
        finally:
            for pair in made.values():
                for subscription in pair:
                    self.destroy_subscription(subscription)


def main() -> int:
    """Run the node."""
    return run_node(DriftCheckNode)


if __name__ == "__main__":
    sys.exit(main())
