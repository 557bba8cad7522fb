"""Takes views of the calibration board from a running graph: what ``vipa calibrate collect`` runs. It moves nothing."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image
from vipa_msgs.msg import ArmState

from calibration.board import BoardConfig
from calibration.collection import ViewCollector
from calibration.detection import BoardNotSeenError
from calibration.views import CameraEntry
from vipa.config import from_mapping
from vipa.errors import VipaError
from vipa.hardware.realsense import CameraIntrinsics
from vipa.nodes.base import LATEST
from vipa.nodes.messages import from_camera_info, from_image, to_ns

WAIT_S = 10.0
BACKLOG_S = 0.2  # what had arrived before the operator asked is dropped for so long
REST = 0.01  # rad/s, of the fastest joint
QUESTION = "Enter: take a view; q and Enter: end"


class ArmMovesError(VipaError):
    """The arm did not rest while the image was taken."""


class Camera:
    """One camera and the arm, as the graph publishes them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._node: Any = rclpy.create_node("view_collector")
        self._image: Any = None
        self._info: Any = None
        self._arm: list[Any] = []
        color = f"/camera/{name}/color"
        self._subscriptions_kept = [
            self._node.create_subscription(Image, f"{color}/image_raw", self._see_image, LATEST),
            self._node.create_subscription(CameraInfo, f"{color}/camera_info", self._see_info, LATEST),
            self._node.create_subscription(ArmState, "/fr3/state", self._see_arm, LATEST),
        ]

    def intrinsics(self) -> CameraIntrinsics:
        """Of the camera.

        Raises:
            VipaError: nothing is heard of it.
        """
        self._wait(lambda: self._info is not None, f"/camera/{self._name}/color/camera_info")
        return from_camera_info(self._info)

    def view(self) -> tuple[NDArray[Any], list[float]]:
        """An image (H, W, 3), RGB, exposed from now on while the arm rests, and the joint positions (7,), rad.

        Raises:
            ArmMovesError: the arm moves.
            VipaError: no image or no state of the arm comes.
        """
        deadline = time.monotonic() + BACKLOG_S
        while time.monotonic() < deadline:
            rclpy.spin_once(self._node, timeout_sec=0.02)
        self._image, self._arm = None, self._arm[-1:]
        self._wait(lambda: self._image is not None, f"/camera/{self._name}/color/image_raw")
        exposure_ns = to_ns(self._image.header.stamp)
        image = from_image(self._image)
        self._wait(lambda: bool(self._arm) and to_ns(self._arm[-1].header.stamp) >= exposure_ns, "/fr3/state")
        fastest = np.abs([state.joint_velocities for state in self._arm]).max()
        if not fastest <= REST:  # not a number where the arm is not known
            raise ArmMovesError("the arm moves; wait until it rests")
        nearest = min(self._arm, key=lambda state: abs(to_ns(state.header.stamp) - exposure_ns))
        joints = [float(q) for q in nearest.joint_positions]
        if not np.isfinite(joints).all():
            raise VipaError("the positions of the arm's joints are not known; see: vipa cell status")
        return image, joints

    def _see_image(self, message: Any) -> None:
        self._image = self._image or message

    def _see_info(self, message: Any) -> None:
        self._info = message

    def _see_arm(self, message: Any) -> None:
        self._arm = [*self._arm[-200:], message]

    def _wait(self, is_there: Callable[[], bool], topic: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not is_there():
            if time.monotonic() > deadline:
                raise VipaError(f"nothing new on {topic} within {WAIT_S:.0f} s: does the graph run in this ROS domain?")
            rclpy.spin_once(self._node, timeout_sec=0.1)


def collect(folder: Path, entry: CameraEntry, board: BoardConfig, count: int) -> int:
    """Take ``count`` views at once, or, where it is 0, one for every line on standard input; how many were taken."""
    camera = Camera(entry.name)
    collector = ViewCollector(folder, entry, board, camera.intrinsics())
    taken = 0
    while count == 0 or taken < count:
        if count == 0 and _answer() == "q":
            break
        try:
            print(collector.add(*camera.view()), flush=True)
            taken += 1
        except (BoardNotSeenError, ArmMovesError) as error:
            if count:
                raise
            print(f"not kept: {error}", flush=True)
    return taken


def _answer() -> str:
    """What the operator entered; "q" at the end of the input."""
    print(QUESTION, flush=True)
    line = sys.stdin.readline()
    return line.strip().lower() if line else "q"


def main() -> int:
    """Run the client."""
    parser = argparse.ArgumentParser()
    parser.add_argument("settings", help="JSON: folder, camera, board, count")
    settings = json.loads(parser.parse_args().settings)
    rclpy.init()
    try:
        entry, board = from_mapping(CameraEntry, settings["camera"]), from_mapping(BoardConfig, settings["board"])
        collect(Path(settings["folder"]), entry, board, int(settings["count"]))
    except VipaError as error:
        print(f"vipa: calibrate collect: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0  # every view taken is on the disk
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
