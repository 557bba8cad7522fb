"""The launch file gives the same graph as the description, with the genuine ROS 2 launch."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from vipa.graph import GraphArguments, describe

LAUNCH_FILE = Path(__file__).resolve().parents[2] / "launch" / "bringup.launch.py"


def _is_regular_package(name: str) -> bool:
    """The repository's own folder launch/ can be imported too, but only as an empty namespace."""
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None


pytestmark = pytest.mark.skipif(
    not (_is_regular_package("launch") and _is_regular_package("launch_ros")),
    reason="ROS 2 launch is not installed here: no Python package index has it; the apt installation of ROS 2 does",
)


def launched(**given: str) -> list[dict[str, Any]]:
    """What the launch file would start."""
    import launch
    from launch.launch_description_sources import PythonLaunchDescriptionSource
    from launch.utilities import perform_substitutions
    from launch_ros.actions import Node
    from launch_ros.utilities import evaluate_parameters

    context = launch.LaunchContext()
    context.launch_configurations.update(given)
    description = PythonLaunchDescriptionSource(str(LAUNCH_FILE)).get_launch_description(context)
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
    expected = [
        {
            "package": node.package,
            "executable": node.executable,
            "name": node.name,
            "namespace": node.namespace,
            "parameters": dict(node.parameters),
            "respawn": node.respawn,
            "respawn_delay": node.respawn_delay_s,
        }
        for node in describe(arguments)
    ]
    assert launched(**given) == expected
