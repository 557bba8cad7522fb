"""An operator drives a graph that runs already: ros2 launch vipa teleop.launch.py source:=gamepad

The keyboard needs a terminal of its own: vipa teleop.
"""

from launch import LaunchDescription

from vipa.graph import teleop_beside
from vipa.ros_launch import LAB, launch_description

ARGUMENTS = (
    LAB,
    ("source", "gamepad", "device: gamepad, spacemouse, xr, scripted"),
    ("source_options", "", "of its configuration: a JSON object, or the path of a YAML or JSON file"),
    ("instruction", "", "what the operator does, noted in the chunks"),
)


def generate_launch_description() -> LaunchDescription:
    """Called by ROS 2 launch."""
    return launch_description(
        ARGUMENTS,
        lambda given: [
            teleop_beside(given["lab"], given["source"], given["source_options"], given["instruction"]),
        ],
    )
