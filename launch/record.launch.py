"""Start the recorder beside a graph that runs already: ros2 launch vipa record.launch.py lab:=simulated"""

from launch import LaunchDescription

from vipa.graph import recorder_beside
from vipa.ros_launch import LAB, RECORDINGS, launch_description


def generate_launch_description() -> LaunchDescription:
    """Called by ROS 2 launch."""
    return launch_description((LAB, RECORDINGS), lambda given: [recorder_beside(given["lab"], given["recordings"])])
