"""Start the whole graph, run trials of a task and end: ros2 launch vipa trial.launch.py task:=reach trials:=3"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from launch import LaunchDescription

from vipa.graph import NodeDescription, describe, trial_node
from vipa.ros_launch import GRAPH_ARGUMENTS, graph_arguments, launch_description, whole_number
from vipa_inference.policy import HOLD_INSTRUCTION

ARGUMENTS = (
    *GRAPH_ARGUMENTS,
    ("variant", "seen", "set-up of the scene"),
    ("trials", "1", "how many, with consecutive seeds; 0: wait for the action /trial/run"),
    ("log", "trials.jsonl", "file to which the results are appended"),
)


def generate_launch_description() -> LaunchDescription:
    """Called by ROS 2 launch."""
    return launch_description(ARGUMENTS, nodes)


def nodes(given: Mapping[str, str]) -> tuple[NodeDescription, ...]:
    """The graph, in which the policy holds until a trial begins, and the trial node."""
    graph = graph_arguments(given)
    trial = trial_node(
        {
            "task": graph.task,
            "instruction": graph.instruction,
            "variant": given["variant"],
            "policy": graph.policy,
            "seed": graph.seed,
            "trials": whole_number("trials", given["trials"]),
            "log": str(Path(given["log"]).expanduser().resolve()),
        }
    )
    return describe(replace(graph, instruction=HOLD_INSTRUCTION, extra=(trial,)))
