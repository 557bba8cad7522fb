"""Camera process of the simulated laboratory: the genuine camera node on a librealsense software device."""

import sys
from typing import Any

from vipa.hardware import realsense
from vipa.lab import split_address
from vipa.nodes import camera
from vipa_sim.camera_feed import FeedDevice


def make_context(node: camera.CameraNode) -> Any:
    """A librealsense context whose only device is the simulated camera that the laboratory feeds."""
    config = node.lab.cameras[node.camera_name]
    device = FeedDevice(split_address(str(config.feed), f"cameras.{node.camera_name}.feed"), config.device.serial)
    context = realsense.load().context()
    device.add_to(context)
    return context


def main() -> int:
    """Run the camera node."""
    return camera.main(make_context)


if __name__ == "__main__":
    sys.exit(main())
