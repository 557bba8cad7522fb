"""What the launch files share: ``vipa.graph`` in terms of ROS 2 launch. Importable only where launch is installed."""

# Without ROS 2 launch, pyright takes the folder launch/ of the repository for it.
# pyright: reportAttributeAccessIssue=false, reportUnknownParameterType=false

from collections.abc import Callable, Iterable, Mapping

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from vipa.environment import FAST_DDS_PROFILE
from vipa.errors import ConfigurationError
from vipa.graph import GraphArguments, NodeDescription, Parameter
from vipa.lab import load_lab

Argument = tuple[str, str, str]
"""Name, default and help of a launch argument."""

LAB: Argument = ("lab", "simulated", "a shipped laboratory, or the path of a YAML file")
RECORDINGS: Argument = ("recordings", "", "folder of the episodes; empty: recordings/ in the repository")
GRAPH_ARGUMENTS: tuple[Argument, ...] = (
    LAB,
    ("policy", "scripted", "which policy decides on actions"),
    ("policy_options", "", "of its configuration: a JSON object, or the path of a YAML or JSON file"),
    ("console", "false", "with the operator's web page"),
    ("record", "false", "with the recorder"),
    RECORDINGS,
    ("use_sim_time", "", "true or false; empty: as the laboratory says"),
    ("task", "reach", "scene of the simulated laboratory"),
    ("seed", "0", "of the simulated scene"),
    ("instruction", "", "what the policy is told to do"),
)


def launch_description(
    arguments: Iterable[Argument],
    nodes: Callable[[Mapping[str, str]], Iterable[NodeDescription]],
    others: Callable[[Mapping[str, str]], Iterable[Node]] = lambda given: (),
) -> LaunchDescription:
    """A launch file's description.

    Args:
        arguments: what can be given as name:=value.
        nodes: the nodes to start, from the values of all arguments.
        others: nodes of other packages, the same way.
    """
    arguments = tuple(arguments)

    def start_nodes(context: LaunchContext) -> list[Node]:
        given = {name: LaunchConfiguration(name).perform(context) for name, _, _ in arguments}
        return [*(_to_launch(node) for node in nodes(given)), *others(given)]

    return LaunchDescription(
        [
            SetEnvironmentVariable("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"),
            SetEnvironmentVariable("FASTRTPS_DEFAULT_PROFILES_FILE", str(FAST_DDS_PROFILE)),
            SetEnvironmentVariable("OMP_NUM_THREADS", "1"),
            SetEnvironmentVariable("MUJOCO_GL", "egl"),
            *(DeclareLaunchArgument(name, default_value=value, description=text) for name, value, text in arguments),
            OpaqueFunction(function=start_nodes),
        ]
    )


def static_transforms(given: Mapping[str, str]) -> list[Node]:
    """Where the cameras of the laboratory stand, for /tf_static; none where tf2_ros is not installed."""
    try:
        get_package_prefix("tf2_ros")
    except PackageNotFoundError:
        return []
    return [
        Node(
            package="tf2_ros",
            executable="static_transform_publisher",
            name=f"{name}_extrinsics",
            arguments=list(camera.extrinsics.publisher_arguments(f"{name}_color_optical_frame")),
        )
        for name, camera in load_lab(given["lab"]).cameras.items()
    ]


def graph_arguments(given: Mapping[str, str]) -> GraphArguments:
    """The values of ``GRAPH_ARGUMENTS``.

    Raises:
        ConfigurationError: a value that is no flag or no whole number.
    """
    return GraphArguments(
        lab=given["lab"],
        policy=given["policy"],
        policy_options=given["policy_options"],
        console=_is_true("console", given["console"]),
        record=_is_true("record", given["record"]),
        recordings=given["recordings"],
        use_sim_time=_is_true("use_sim_time", given["use_sim_time"]) if given["use_sim_time"] else None,
        task=given["task"],
        seed=whole_number("seed", given["seed"]),
        instruction=given["instruction"],
    )


def whole_number(name: str, text: str) -> int:
    """The value of a launch argument.

    Raises:
        ConfigurationError: it is no whole number.
    """
    try:
        return int(text)
    except ValueError:
        raise ConfigurationError(f"{name}: expected a whole number, found {text!r}") from None


def _to_launch(node: NodeDescription) -> Node:
    return Node(
        package=node.package,
        executable=node.executable,
        name=node.name,
        namespace=node.namespace,
        parameters=[{name: _parameter(value) for name, value in node.parameters.items()}],
        remappings=list(node.remappings),
        ros_arguments=list(node.enclave),
        respawn=node.respawn,
        respawn_delay=node.respawn_delay_s,
        prefix=f"nice -n {node.nice}" if node.nice else None,
        on_exit=Shutdown(reason=f"{node.full_name} ended") if node.ends_graph else None,
        output="both",
    )


def _parameter(value: Parameter) -> Parameter | ParameterValue:
    """Text as text: launch would read it as YAML."""
    return ParameterValue(value, value_type=str) if isinstance(value, str) else value


def _is_true(name: str, text: str) -> bool:
    values = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in values:
        raise ConfigurationError(f"{name}: expected true or false, found {text!r}")
    return values[text.lower()]
