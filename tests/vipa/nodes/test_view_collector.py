"""Views of the board taken from what a graph publishes."""

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.views import load_views
from tests.fabricated_boards import BOARD, CAMERA, make_cell, render
from vipa.control.kinematics import Kinematics
from vipa.environment import ros_environment

pytest.importorskip("vipa_msgs", reason="needs ROS 2 and the built vipa_msgs")
pytestmark = pytest.mark.ros

JOINTS = [0.1, -0.18, 0.2, -2.14, 0.3, 1.96, 0.4]
GRAPH = """
import sys, time, cv2, rclpy
from pathlib import Path
from sensor_msgs.msg import CameraInfo, Image
from vipa_msgs.msg import ArmState
from tests.fabricated_boards import CAMERA
from vipa.nodes.base import LATEST
from vipa.nodes.messages import to_camera_info, to_image, to_time
folder = Path(sys.argv[1])
rclpy.init()
node = rclpy.create_node("graph")
image = node.create_publisher(Image, "/camera/front/color/image_raw", LATEST)
info = node.create_publisher(CameraInfo, "/camera/front/color/camera_info", LATEST)
arm = node.create_publisher(ArmState, "/fr3/state", LATEST)
pixels = cv2.cvtColor(cv2.imread(str(folder / "board.png")), cv2.COLOR_BGR2RGB)
while True:
    stamp = to_time(time.time_ns())
    image.publish(to_image(pixels, "rgb8", stamp, "front"))
    info.publish(to_camera_info(CAMERA, stamp, "front"))
    state = ArmState(joint_positions=%s, joint_velocities=[0.2 * (folder / "moves").exists()] * 7)
    state.header.stamp = stamp
    arm.publish(state)
    time.sleep(0.03)
"""


class Graph:
    """A camera that sees a board, and an arm, in a ROS domain of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.domain = str(random.randint(101, 200))
        rng = np.random.default_rng(0)
        cv2.imwrite(str(folder / "board.png"), render(make_cell("fixed", rng, 1).board_to_camera()[0], rng))
        environment = ros_environment() | {"ROS_DOMAIN_ID": self.domain}
        paths = (str(Path(__file__).parents[3]), environment.get("PYTHONPATH", ""))
        environment["PYTHONPATH"] = ":".join(path for path in paths if path)
        self.process = subprocess.Popen(
            [sys.executable, "-c", GRAPH % JOINTS, str(folder)], env=environment, stdin=subprocess.DEVNULL
        )

    def collect(self, *arguments: str, keys: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "vipa.cli", "calibrate", "collect", str(self.folder / "views")]
        command += ["--camera", "front", "--domain", self.domain, *arguments]
        return subprocess.run(command, input=keys, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[Graph]:
    instance = Graph(tmp_path)
    yield instance
    instance.process.kill()
    instance.process.wait()


def test_views_are_taken_while_the_arm_rests_and_are_ready_to_be_solved(graph: Graph) -> None:
    done = graph.collect(keys="\n\nq\n")
    assert done.returncode == 0, done.stderr
    assert "001.png: 24 corners; 2 views, turned about two axes by 0 degrees" in done.stdout
    (graph.folder / "moves").touch()
    moving = graph.collect("--count", "1")
    assert (moving.returncode, "the arm moves" in moving.stderr) == (1, True), moving.stderr
    views = load_views(graph.folder / "views")
    assert (views.camera.serial, views.board, views.intrinsics) == ("f0000001", BOARD, CAMERA)
    assert views.names == ("000.png", "001.png")
    np.testing.assert_allclose(views.flange_to_base[1], Kinematics().forward(JOINTS))
    assert len(views.see().names) == 2
