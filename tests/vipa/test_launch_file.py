"""The launch files give the same graphs as the description, with the genuine ROS 2 launch."""

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from vipa.graph import GraphArguments, NodeDescription, describe, recorder_beside, teleop_beside, trial_node

LAUNCH_FILES = Path(__file__).resolve().parents[2] / "launch"


def _is_regular_package(name: str) -> bool:
    """The repository's own folder launch/ can be imported too, but only as an empty namespace."""
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None


pytestmark = pytest.mark.skipif(
    not (_is_regular_package("launch") and _is_regular_package("launch_ros")),
    reason="ROS 2 launch is not installed here: no Python package index has it; the apt installation of ROS 2 does",
)


def launched(name: str, **given: str) -> list[dict[str, Any]]:
    """What the launch file would start."""
    import launch
    from launch.launch_description_sources import PythonLaunchDescriptionSource
    from launch.utilities import perform_substitutions
    from launch_ros.actions import Node
    from launch_ros.utilities import evaluate_parameters

    context = launch.LaunchContext()
    context.launch_configurations.update(given)
    description = PythonLaunchDescriptionSource(str(LAUNCH_FILES / f"{name}.launch.py")).get_launch_description(context)
    found: list[dict[str, Any]] = []
    waiting: list[Any] = list(description.entities)
    while waiting:
        entity = waiting.pop(0)
        if not isinstance(entity, Node):
            waiting = [*(entity.visit(context) or ()), *waiting]
            continue
        node: Any = entity
        parameters: dict[str, Any] = {}
        for group in evaluate_parameters(context, node._Node__parameters):
            parameters |= {k: list(v) if isinstance(v, tuple) else v for k, v in group.items()}
        found.append(
            {
                "package": perform_substitutions(context, node._Node__package)
                if isinstance(node._Node__package, list)
                else node._Node__package,
                "executable": perform_substitutions(context, node._Node__node_executable)
                if isinstance(node._Node__node_executable, list)
                else node._Node__node_executable,
                "name": node._Node__node_name,
                "namespace": node._Node__node_namespace,
                "parameters": parameters,
                "respawn": node._ExecuteLocal__respawn,
                "respawn_delay": node._ExecuteLocal__respawn_delay,
            }
        )
    return found


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ({}, GraphArguments()),
        (
            {"policy": "wave", "seed": "4", "instruction": "wave"},
            GraphArguments(policy="wave", seed=4, instruction="wave"),
        ),
        (
            {"policy": "remote", "policy_options": '{"url": "ws://gpu:8000"}', "instruction": "yes: 1"},
            GraphArguments(policy="remote", policy_options='{"url": "ws://gpu:8000"}', instruction="yes: 1"),
        ),
        ({"use_sim_time": "false"}, GraphArguments(use_sim_time=False)),
        ({"lab": "example_real"}, GraphArguments(lab="example_real")),
    ],
)
def test_the_launch_file_starts_the_described_graph(given: dict[str, str], arguments: GraphArguments) -> None:
    found = launched("bringup", **given)
    assert [node for node in found if node["package"] != "tf2_ros"] == as_launched(describe(arguments))
    transforms = [node["name"] for node in found if node["package"] == "tf2_ros"]  # where that is installed
    assert transforms in ([], ["front_extrinsics", "side_extrinsics"])


def test_trials_are_the_graph_with_a_trial_node(tmp_path: Path) -> None:
    log = str(tmp_path / "trials.jsonl")
    trial = trial_node(
        {
            "task": "water_plant",
            "instruction": "",
            "variant": "lighting",
            "policy": "expert",
            "seed": 4,
            "trials": 2,
            "log": log,
        }
    )
    graph = GraphArguments(policy="expert", task="water_plant", seed=4, instruction="hold", extra=(trial,))
    given = {"policy": "expert", "task": "water_plant", "seed": "4", "variant": "lighting", "trials": "2", "log": log}
    assert launched("trial", **given) == as_launched(describe(graph))


def test_the_recorder_runs_beside_a_graph() -> None:
    assert launched("record", recordings="/tmp/r") == as_launched([recorder_beside("simulated", "/tmp/r")])


def test_teleoperation_runs_beside_a_graph() -> None:
    assert launched("teleop", source="spacemouse") == as_launched([teleop_beside("simulated", "spacemouse")])


def as_launched(nodes: Iterable[NodeDescription]) -> list[dict[str, Any]]:
    """What ``launched`` gives for these nodes."""
    return [
        {
            "package": node.package,
            "executable": node.executable,
            "name": node.name,
            "namespace": node.namespace,
            "parameters": dict(node.parameters),
            "respawn": node.respawn,
            "respawn_delay": node.respawn_delay_s,
        }
        for node in nodes
    ]
