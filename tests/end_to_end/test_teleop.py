"""An operator takes the arm from the policy, through the whole graph and the genuine drivers."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from end_to_end.cell import Cell, processes_of, stop

from vipa.control.kinematics import Kinematics
from vipa.environment import ros_environment
from vipa.hardware.fr3.robot import flange_pose
from vipa.lab import load_lab

pytestmark = pytest.mark.end_to_end

INSTRUCT = """
import time
import rclpy
from std_msgs.msg import String
from vipa.nodes.base import LATCHED
rclpy.init()
node = rclpy.create_node("operator")
publisher = node.create_publisher(String, "/policy/instruction", LATCHED)
while publisher.get_subscription_count() < 2:
    time.sleep(0.05)
publisher.publish(String(data="wave"))
publisher.wait_for_all_acked()
rclpy.shutdown()
"""

SCRIPT = [
    {"time": 0.0, "duration": 0.3, "clutch": False},
    {"time": 0.3, "duration": 1.2, "twist": [0.0, 0.0, 0.1, 0.0, 0.0, 0.0], "hand": [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]},
    {"time": 3.0, "duration": 0.1, "clutch": False},
]
"""Up at 10 cm/s and the fingers closed, and in the middle of the motion 1.5 s of silence."""


def positions(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """Of the end effector, m, and of the hand."""
    status = cell.laboratory().request("status")
    arm = load_lab(str(cell.yaml)).arm
    kinematics = Kinematics(None, flange_pose(arm.end_effector_translation, arm.end_effector_rpy))
    return kinematics.forward(np.array(status["joint_positions"]))[:3, 3], np.array(status["hand_positions"])


def wait_for_motion(cell: Cell) -> None:
    """Wait until the policy moves the arm."""
    before, _ = positions(cell)
    deadline = time.monotonic() + 30
    while np.linalg.norm(positions(cell)[0] - before) < 0.01:
        assert time.monotonic() < deadline, "the policy does not move the arm"
        time.sleep(0.05)


def wait_for(log: Path, text: str) -> None:
    """Wait until the log has ``text``."""
    deadline = time.monotonic() + 30
    while text not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def start_teleop(cell: Cell, script: Path, log: Path) -> subprocess.Popen[bytes]:
    """Run ``vipa teleop`` beside the graph."""
    command = [sys.executable, "-m", "vipa.cli", "teleop", "--source", "scripted", "--file", str(script)]
    command += ["--lab", str(cell.yaml), "--domain", str(cell.domain), "--logs", str(cell.folder / "teleop_logs")]
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=output)


def test_the_operator_moves_arm_and_hand_silence_stops_them_and_the_policy_waits_to_be_told(cell: Cell) -> None:
    script, log = cell.folder / "script.json", cell.folder / "teleop.log"
    script.write_text(json.dumps({"commands": SCRIPT}))
    process = cell.start("bringup", "--policy", "wave")
    cell.wait_for_log("supervisor", "cell READY")
    wait_for_motion(cell)
    teleop = start_teleop(cell, script, log)
    wait_for(log, "engaged")
    begin, _ = positions(cell)
    wait_for(log, "released (silence)")
    time.sleep(1.0)
    end, hand = positions(cell)
    assert end[2] - begin[2] == pytest.approx(0.12, abs=0.03)
    assert np.abs(hand - (0.0, 0.0, 0.0, 0.0, 1.0, 1.0)).max() < 0.15
    time.sleep(0.7)
    later, _ = positions(cell)
    assert np.linalg.norm(later - end) < 2e-3, "silence stopped the arm, and the policy holds"
    assert teleop.wait(timeout=30) == 0, log.read_text()
    assert "refused" not in log.read_text()

    environment = {**os.environ, **ros_environment(), "ROS_DOMAIN_ID": str(cell.domain)}
    subprocess.run([sys.executable, "-c", INSTRUCT], env=environment, timeout=60, check=True)
    wait_for_motion(cell)
    status, output = stop(process)
    assert status == 0, output
    assert processes_of(cell) == []
