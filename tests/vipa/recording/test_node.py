"""The recorder as a node: real messages over ROS, led from the command line."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml
from fabricated_recordings import file_of
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from vipa.environment import ros_environment
from vipa.recording.store import list_episodes

pytest.importorskip("vipa_msgs", reason="needs ROS 2 and the built vipa_msgs")
pytestmark = pytest.mark.ros

PUBLISHER = """
import time
import numpy as np
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String
from vipa.nodes.base import LATCHED, LATEST, RELIABLE
from vipa.nodes.messages import to_image, to_time
rclpy.init()
node = rclpy.create_node("cell")
images = {}
for camera in ("front", "side"):
    images[camera] = (node.create_publisher(Image, f"/camera/{camera}/color/image_raw", LATEST),
                      node.create_publisher(Image, f"/camera/{camera}/depth/image_rect_raw", LATEST))
states = node.create_publisher(JointState, "/joint_states", RELIABLE)
instruction = node.create_publisher(String, "/policy/instruction", LATCHED)
instruction.publish(String(data="wipe the board"))
rng = np.random.default_rng(0)
color = rng.integers(0, 255, (48, 64, 3), np.uint8)
number = 0
while True:
    stamp = to_time(node.get_clock().now().nanoseconds)
    if number % 3 == 0:
        depth = np.full((48, 64), number, np.uint16)
        for camera, (to_color, to_depth) in images.items():
            to_color.publish(to_image(color, "rgb8", stamp, camera))
            to_depth.publish(to_image(depth, "16UC1", stamp, camera))
    state = JointState(name=["a"], position=[float(number)])
    state.header.stamp = stamp
    states.publish(state)
    number += 1
    time.sleep(0.01)
"""


class Cell:
    """A recorder and what it records, in a ROS domain of their own."""

    def __init__(self, folder: Path) -> None:
        self.recordings = folder / "recordings"
        self.log = folder / "recorder.log"
        self.domain = str(random.randint(101, 200))
        self.environment = ros_environment() | {"ROS_DOMAIN_ID": self.domain}
        self.parameters = folder / "parameters.yaml"
        options = json.dumps({"minimum_free": 10_000_000, "minimum_free_to_start": 20_000_000, "reserve": 1_000_000})
        values = {"lab": "simulated", "use_sim_time": False, "recordings": str(self.recordings), "options": options}
        self.parameters.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            process = subprocess.Popen([sys.executable, *command], env=self.environment, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def start_recorder(self, *arguments: str) -> subprocess.Popen[bytes]:
        return self.start("-m", "vipa.nodes.recorder", "--ros-args", "--params-file", str(self.parameters), *arguments)

    def record(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "vipa.cli", "record", *arguments, "--domain", self.domain]
        return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    def state(self) -> dict[str, object]:
        return json.loads(self.record("state", "--json", "-").stdout)["details"]


@pytest.fixture
def cell(tmp_path):
    cell = Cell(tmp_path)
    yield cell
    for process in cell.processes:
        process.kill()
        process.wait()


def decoded(path):
    with path.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True, decoder_factories=[DecoderFactory()])
        return [(c.topic, m) for _, c, _, m in reader.iter_decoded_messages()]


def wait_until_active(cell):
    deadline = time.monotonic() + 60
    while "not active" in (refusal := cell.record("mark", "note", "x").stderr) or "no recorder" in refusal:
        assert time.monotonic() < deadline, cell.log.read_text()
        time.sleep(0.2)


def test_an_episode_from_begin_to_end_and_a_crash(cell):
    recorder = cell.start_recorder()
    cell.start("-c", PUBLISHER)
    wait_until_active(cell)
    done = cell.record("start", "wipe the board")
    assert (done.returncode, done.stdout) == (0, "episode_000001: recording\n"), done.stderr + cell.log.read_text()
    assert cell.record("mark", "sub_task", "sponge_grasped").returncode == 0
    state = cell.state()["state"]
    assert state["recording"]
    assert (state["episode"], state["instruction"]) == ("episode_000001", "wipe the board")
    done = cell.record("stop", "--outcome", "success")
    assert done.returncode == 0, done.stderr
    (entry,) = list_episodes(cell.recordings)
    assert (entry.episode.outcome, entry.episode.dropped) == ("success", {})
    messages = decoded(file_of(cell.recordings))
    counts = Counter(topic for topic, _ in messages)
    assert counts["/policy/instruction"] == 1
    for camera in ("front", "side"):
        assert counts[f"/camera/{camera}/color/image_raw/compressed"] > 10
        assert counts[f"/camera/{camera}/depth/image_rect_raw"] > 10
    positions = [m.position[0] for topic, m in messages if topic == "/joint_states"]
    assert positions == [positions[0] + i for i in range(len(positions))]  # none is missing
    assert [m.event for topic, m in messages if topic == "/recorder/events"] == [
        "started",
        "sub_task",
        "success",
        "stopped",
    ]

    assert cell.record("start", "again").returncode == 0
    time.sleep(1.0)
    before = file_of(cell.recordings).read_bytes()
    recorder.kill()
    recorder.wait()
    assert list_episodes(cell.recordings)[1].episode is None
    recorder = cell.start_recorder("-p", "begin:=third")
    wait_until_active(cell)
    _, second, _ = list_episodes(cell.recordings)
    assert (second.episode.recovered, second.episode.instruction) == (True, "again")
    assert second.episode.messages == len(decoded(file_of(cell.recordings, "episode_000002"))) > 50
    assert file_of(cell.recordings).read_bytes() == before

    state = cell.state()["state"]
    assert (state["recording"], state["episode"], state["instruction"]) == (True, "episode_000003", "third")
    recorder.send_signal(signal.SIGINT)
    assert recorder.wait(timeout=20) == 0, cell.log.read_text()
    assert list_episodes(cell.recordings)[2].episode.ended == "stopped"
    assert "had been cut off and was completed" in cell.log.read_text()


def test_a_second_recorder_on_the_same_folder_ends_with_the_reason(cell):
    cell.start_recorder()
    wait_until_active(cell)
    second = cell.start_recorder()
    assert second.wait(timeout=60) == 1
    assert "another recorder (process" in cell.log.read_text()


def test_without_a_recorder_the_command_says_what_to_do(cell):
    done = cell.record("stop")
    assert done.returncode == 1
    assert done.stderr == "no recorder answers: start the graph with --record, or: vipa record run\n"


def test_a_folder_that_cannot_be_used_ends_the_node_with_the_reason(cell):
    cell.recordings.write_text("a file")
    recorder = cell.start_recorder()
    assert recorder.wait(timeout=60) == 1
    assert f"recordings {cell.recordings}: cannot be written" in cell.log.read_text()
    assert os.path.getsize(cell.recordings) == 6
