"""Start the laboratory, if it is simulated, and the whole graph: ros2 launch vipa bringup.launch.py lab:=simulated"""

from launch import LaunchDescription

from vipa.graph import describe
from vipa.ros_launch import GRAPH_ARGUMENTS, graph_arguments, launch_description, static_transforms


def generate_launch_description() -> LaunchDescription:
    """Called by ROS 2 launch."""
    return launch_description(GRAPH_ARGUMENTS, lambda given: describe(graph_arguments(given)), static_transforms)
