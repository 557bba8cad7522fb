"""Teleoperation in the description of the graph, as a message, and on the command line."""

from pathlib import Path

import numpy as np
import pytest

from vipa.cli import main
from vipa.errors import ConfigurationError
from vipa.graph import NO_POLICY, GraphArguments, describe, teleop_beside, teleop_monitor_node, teleop_node
from vipa.lab import load_lab
from vipa.recording.topics import recorded_topics


def test_a_graph_without_a_policy_has_no_policy_node_and_its_supervisor_waits_for_none() -> None:
    nodes = {node.name: node for node in describe(GraphArguments(policy=NO_POLICY))}
    assert "policy" not in nodes
    assert nodes["supervisor"].parameters["nodes"] == ["front", "side", "arm", "hand", "controller"]


def test_teleoperation_runs_beside_a_graph_with_its_clock_and_laboratory() -> None:
    node = teleop_beside("simulated", "scripted", '{"file": "moves.json"}', "tidy up")
    assert (node.module, node.respawn, node.ends_graph) == ("vipa.nodes.teleop", False, False)
    assert dict(node.parameters) == {
        "lab": "simulated",
        "use_sim_time": True,
        "source": "scripted",
        "source_options": '{"file": "moves.json"}',
        "instruction": "tidy up",
    }
    assert teleop_beside("example_real", "gamepad").parameters["use_sim_time"] is False
    with pytest.raises(ConfigurationError, match="policy_options: no valid JSON"):
        teleop_beside("simulated", "scripted", "{file")


def test_the_benchmark_ends_with_the_script_and_every_node_is_declared() -> None:
    assert teleop_node({}, ends_graph=True).ends_graph
    declared = (Path(__file__).resolve().parents[3] / "ros2_ws/src/vipa/setup.py").read_text()
    for node in (teleop_node({}), teleop_monitor_node("out.json")):
        assert f'"{node.executable}"' in declared
        assert node.module == f"vipa.nodes.{node.executable}"


def test_commands_of_the_operator_are_recorded() -> None:
    assert "/teleop/command" in {topic.name for topic in recorded_topics(load_lab("simulated"))}


def test_the_limits_are_in_the_laboratory(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(
        (Path(load_lab.__code__.co_filename).parent / "simulated.yaml").read_text() + "teleop: {stale: 0.1}\n"
    )
    assert load_lab(str(file)).teleop.stale == 0.1
    file.write_text(file.read_text().replace("stale: 0.1", "horizon: 2"))
    with pytest.raises(ConfigurationError, match=r"teleop: horizon: 2 steps"):
        load_lab(str(file))


@pytest.mark.parametrize("arguments", [["--source", "scripted"], ["--source", "gamepad", "--file", "moves.json"]])
def test_a_script_needs_its_file_and_nothing_else_has_one(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["teleop", *arguments]) == 1
    assert capsys.readouterr().err == ("vipa: teleop: the source scripted needs --file, and no other source has one\n")


def test_the_benchmark_refuses_a_real_laboratory(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "teleop", "--lab", "example_real"]) == 1
    assert "only in a simulated laboratory" in capsys.readouterr().err


def test_a_command_as_a_message_says_its_frame() -> None:
    pytest.importorskip("vipa_msgs", reason="needs ROS 2 and the built vipa_msgs")
    from vipa.nodes.messages import from_pose, to_ns, to_teleop_message
    from vipa.teleop.command import TeleopCommand

    twist = np.array([0.1, 0, 0, 0, 0, 0.2])
    message = to_teleop_message(TeleopCommand(1_500_000_000, True, twist, "tool"), "gamepad", "fr3_link0")
    assert (to_ns(message.header.stamp), message.header.frame_id, message.kind) == (
        1_500_000_000,
        "tool",
        message.TWIST,
    )
    assert (message.clutch, message.source, message.twist.linear.x, message.twist.angular.z) == (
        True,
        "gamepad",
        0.1,
        0.2,
    )
    assert np.isnan(message.hand_positions).all()
    pose = np.eye(4)
    pose[:3, 3] = 1, 2, 3
    message = to_teleop_message(TeleopCommand(1, pose=pose, hand=np.zeros(6)), "xr", "fr3_link0")
    assert (message.kind, message.header.frame_id) == (message.POSE, "fr3_link0")
    assert (from_pose(message.pose) == pose).all()
