"""The way of the simulated cameras' frames from the laboratory into librealsense, in the camera processes."""

from vipa_sim.camera_feed.device import FeedDevice
from vipa_sim.camera_feed.server import FeedServer, FeedStatistics

__all__ = ["FeedDevice", "FeedServer", "FeedStatistics"]
