"""A trial on a real laboratory: what its node asks, and the operator's answers by ``vipa cell``."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from vipa.environment import ros_environment
from vipa.lab import LAB_FOLDER
from vipa.trials.result import TrialLog

pytest.importorskip("vipa_msgs", reason="needs ROS 2 and the built vipa_msgs")
pytestmark = pytest.mark.ros

SUPERVISOR = """
import time, rclpy
from vipa_msgs.msg import SupervisorState
from vipa.nodes.base import LATEST
rclpy.init()
node = rclpy.create_node("supervisor")
publisher = node.create_publisher(SupervisorState, "/supervisor/state", LATEST)
while True:
    publisher.publish(SupervisorState(state=SupervisorState.READY, motion_allowed=True))
    time.sleep(0.05)
"""


class Laboratory:
    """A supervisor and a trial node in a ROS domain of their own."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "trials.jsonl"
        self.domain = str(random.randint(101, 200))
        self.environment = ros_environment() | {"ROS_DOMAIN_ID": self.domain}
        values = {"lab": str(LAB_FOLDER / "example_real.yaml"), "task": "reach", "trials": 1, "log": str(self.log)}
        parameters = folder / "trial.yaml"
        parameters.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
        self.processes = [self.start("-c", SUPERVISOR)]
        self.trial = self.start("-m", "vipa.nodes.trial", "--ros-args", "--params-file", str(parameters))
        self.processes.append(self.trial)

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, *command], env=self.environment, stdin=subprocess.DEVNULL)

    def cell(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "vipa.cli", "cell", *arguments, "--domain", self.domain]
        return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture
def laboratory(tmp_path: Path) -> Iterator[Laboratory]:
    instance = Laboratory(tmp_path)
    yield instance
    for process in instance.processes:
        process.kill()
        process.wait()


def test_the_operator_judges_a_trial_from_the_command_line(laboratory: Laboratory) -> None:
    done = laboratory.cell("answer", "ready")
    assert (done.returncode, done.stdout) == (0, "answered: ready\n"), done.stderr
    refused = laboratory.cell("instruct", "something else")
    assert (refused.returncode, "a trial runs" in refused.stderr) == (1, True), refused.stdout
    asked = ""
    deadline = time.monotonic() + 30
    while asked != "touch red" and time.monotonic() < deadline:  # a new node may hear of the trial node late
        status = json.loads(laboratory.cell("status", "--json", "-").stdout)["details"]
        assert status["message"] == "cell READY"
        asked = status["state"]["trial"]["sub_task"]
    assert asked == "touch red"
    done = laboratory.cell("answer", "abort", "the marker fell off")
    assert done.returncode == 0, done.stderr
    assert laboratory.trial.wait(timeout=20) == 0
    (result,) = TrialLog(laboratory.log).read()
    assert (result.outcome, result.detail) == ("aborted", "the operator: the marker fell off")


def test_a_trial_that_waits_for_its_operator_can_be_ended(laboratory: Laboratory) -> None:
    deadline = time.monotonic() + 30
    while "asks: Set up reach" not in laboratory.cell("status").stdout:
        assert time.monotonic() < deadline
    laboratory.trial.send_signal(2)
    assert laboratory.trial.wait(timeout=10) == 0
    assert not laboratory.log.exists() or TrialLog(laboratory.log).read() == []
