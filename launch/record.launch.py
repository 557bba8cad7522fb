"""Start the recorder beside a graph that runs already: ros2 launch vipa record.launch.py lab:=simulated"""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from vipa.environment import FAST_DDS_PROFILE
from vipa.graph import Parameter, recorder_beside

ARGUMENTS = (
    ("lab", "simulated", "a shipped laboratory, or the path of a YAML file"),
    ("recordings", "", "folder of the episodes; empty: recordings/ in the repository"),
)


def generate_launch_description() -> LaunchDescription:
    """Called by ROS 2 launch."""
    return LaunchDescription(
        [
            SetEnvironmentVariable("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"),
            SetEnvironmentVariable("FASTRTPS_DEFAULT_PROFILES_FILE", str(FAST_DDS_PROFILE)),
            SetEnvironmentVariable("OMP_NUM_THREADS", "1"),
            *(DeclareLaunchArgument(name, default_value=value, description=text) for name, value, text in ARGUMENTS),
            OpaqueFunction(function=start_recorder),
        ]
    )


def start_recorder(context: LaunchContext) -> list[Node]:
    """The recorder of ``vipa.graph`` for the arguments of this launch."""
    given = {name: LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS}
    node = recorder_beside(given["lab"], given["recordings"])
    return [
        Node(
            package=node.package,
            executable=node.executable,
            name=node.name,
            parameters=[{name: _parameter(value) for name, value in node.parameters.items()}],
            respawn=node.respawn,
            respawn_delay=node.respawn_delay_s,
            prefix=f"nice -n {node.nice}" if node.nice else None,
            output="both",
        )
    ]


def _parameter(value: Parameter) -> Parameter | ParameterValue:
    """Text as text: launch would read it as YAML."""
    return ParameterValue(value, value_type=str) if isinstance(value, str) else value
