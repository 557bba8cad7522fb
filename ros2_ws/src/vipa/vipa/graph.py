"""The one description of the ROS graph: which nodes run, with which parameters, and what happens when one ends.

``launch/bringup.launch.py`` maps it onto ROS 2 launch; ``vipa.bringup`` runs it where launch is not installed.
"""

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vipa.errors import ConfigurationError
from vipa.lab import LabConfig, load_lab
from vipa.policy_options import policy_options_text, read_policy_options

Parameter = bool | int | float | str | list[str]
EXPERT = "expert"
"""The policy that solves the simulated laboratory's tasks from the world's state."""
REMOTE = "remote"
"""The policy that asks a policy server: that of the laboratory's workstation, unless its options say otherwise."""
ENCLAVES = "/vipa"
"""Under which the enclaves of all nodes lie, for SROS 2."""
NO_POLICY = "none"
"""The graph without a policy: it moves only when the operator drives."""


@dataclass(frozen=True)
class NodeDescription:
    """One process of the graph."""

    name: str
    package: str  # ROS package and executable: for ROS 2 launch
    executable: str
    module: str  # Python module with a main(): for vipa.bringup
    namespace: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict[str, Parameter])
    remappings: tuple[tuple[str, str], ...] = ()
    respawn: bool = True
    respawn_delay_s: float = 0.5
    nice: int = 0
    ends_graph: bool = False  # when this process ends, the whole graph ends, with its exit status
    can_be_missed: bool = False  # where it cannot be kept running, the graph goes on without it

    @property
    def full_name(self) -> str:
        """The name with its namespace, "/camera/front"."""
        return f"{self.namespace}/{self.name}"

    @property
    def enclave(self) -> tuple[str, ...]:
        """The ROS arguments that name its enclave where ROS's security is switched on; see ``vipa.security``."""
        is_secure = os.environ.get("ROS_SECURITY_ENABLE") == "true"
        return ("--enclave", f"{ENCLAVES}{self.full_name}") if is_secure else ()


@dataclass(frozen=True)
class GraphArguments:
    """What can be chosen when the graph is started."""

    lab: str = "simulated"  # name of a shipped laboratory, or path of a YAML file
    policy: str = "scripted"
    policy_options: str = ""  # of its configuration: a JSON object, or the path of a YAML or JSON file
    console: bool = False
    record: bool = False
    recordings: str = ""  # folder of the recorder's episodes; empty: recordings/ in the repository
    recorder_options: str = ""  # of RecorderConfig, as policy_options
    begin_recording: str = ""  # what an episode shows that begins by itself; empty: the recorder waits to be told
    use_sim_time: bool | None = None  # None: as the laboratory says
    task: str = "reach"
    seed: int = 0
    instruction: str = ""
    extra: tuple[NodeDescription, ...] = ()  # further nodes, such as monitor_node() or trial_node()


def describe(arguments: GraphArguments) -> tuple[NodeDescription, ...]:
    """The nodes of the graph, in the order in which they are started.

    Every node gets the parameters ``lab`` and ``use_sim_time``.

    Raises:
        ConfigurationError: the laboratory's YAML or the policy's options cannot be used, the expert is asked for in a
            real laboratory, two nodes have the same name, or the installation has no such optional node.
    """
    lab = load_lab(arguments.lab)
    nodes = [*_laboratory(arguments, lab), *_managed(arguments, lab)]
    nodes.append(_supervisor(nodes[1:] if lab.simulated else nodes))
    if arguments.record:
        nodes.append(
            _recorder(
                {
                    "recordings": arguments.recordings,
                    "options": arguments.recorder_options,
                    "begin": arguments.begin_recording,
                }
            )
        )
    if arguments.console:
        nodes.append(_console(arguments))
    nodes += arguments.extra
    names = [node.full_name for node in nodes]
    if len(set(names)) < len(names):
        raise ConfigurationError(f"two nodes of the graph have the same name: {', '.join(sorted(names))}")
    use_sim_time = lab.simulated if arguments.use_sim_time is None else arguments.use_sim_time
    common: dict[str, Parameter] = {"lab": arguments.lab, "use_sim_time": use_sim_time}
    return tuple(replace(node, parameters={**common, **node.parameters}) for node in nodes)


def monitor_node(duration_s: float, output: str, images: bool = False) -> NodeDescription:
    """Measures the graph for ``duration_s`` of ROS time, writes its figures as JSON to ``output``, and ends."""
    return _node(
        "monitor",
        parameters={"duration": float(duration_s), "output": output, "images": images},
        respawn=False,
        ends_graph=True,
    )


def soak_node(duration_s: float, interval_s: float, output: str) -> NodeDescription:
    """Samples the graph for ``duration_s`` of the wall clock, as lines in the file ``output``, and ends."""
    return _node(
        "soak",
        parameters={"duration": float(duration_s), "interval": float(interval_s), "output": output},
        respawn=False,
        ends_graph=True,
    )


def faults_node(parameters: Mapping[str, Parameter]) -> NodeDescription:
    """Injects faults and measures what they lead to, with the parameters of ``vipa.nodes.faults``, then ends."""
    return _node("faults", parameters=parameters, respawn=False, ends_graph=True)


def trial_node(parameters: Mapping[str, Parameter]) -> NodeDescription:
    """Runs a trial with the given parameters of ``vipa.nodes.trial``, then ends."""
    return _node("trial", parameters=parameters, respawn=False, ends_graph=True)


def recorder_beside(lab: str, recordings: str = "") -> NodeDescription:
    """The recorder for a graph that runs already.

    Raises:
        ConfigurationError: the laboratory's YAML cannot be used.
    """
    return _recorder({"lab": lab, "use_sim_time": load_lab(lab).simulated, "recordings": recordings})


def teleop_node(parameters: Mapping[str, Parameter], ends_graph: bool = False) -> NodeDescription:
    """The operator drives, with the parameters of ``vipa.nodes.teleop``."""
    return _node("teleop", parameters=parameters, respawn=False, nice=-10, ends_graph=ends_graph)


def teleop_monitor_node(output: str) -> NodeDescription:
    """Measures teleoperation until the graph ends, and writes its figures as JSON to ``output``."""
    return _node("teleop_monitor", parameters={"output": output}, respawn=False)


def teleop_beside(lab: str, source: str, options: str = "", instruction: str = "") -> NodeDescription:
    """Teleoperation for a graph that runs already.

    Args:
        lab: of the graph.
        source: device, one of ``vipa.teleop.sources.SOURCES``.
        options: of the source: a JSON object, or the path of a YAML or JSON file.
        instruction: noted in the chunks.

    Raises:
        ConfigurationError: the laboratory's YAML or the options cannot be used.
    """
    options = policy_options_text(read_policy_options(options))
    parameters: dict[str, Parameter] = {"source": source, "source_options": options, "instruction": instruction}
    return teleop_node({"lab": lab, "use_sim_time": load_lab(lab).simulated, **parameters})


def replay_node(parameters: Mapping[str, Parameter]) -> NodeDescription:
    """Plays a recorded episode with the parameters of ``vipa.nodes.replay``, then ends."""
    return _node("replay", parameters=parameters, respawn=False, nice=-10, ends_graph=True)


def replay_beside(lab: str, episode: str, output: str) -> NodeDescription:
    """The replay of the episode in a folder for a graph that runs already; its figures go to the file ``output``.

    Raises:
        ConfigurationError: the laboratory's YAML cannot be used.
    """
    parameters: dict[str, Parameter] = {"episode": episode, "output": output}
    return replay_node({"lab": lab, "use_sim_time": load_lab(lab).simulated, **parameters})


def calibration_tour_beside(lab: str, settings: str, output: str) -> NodeDescription:
    """The automatic collection of views for a graph that runs already.

    Args:
        lab: of the graph.
        settings: of ``vipa.nodes.calibration_tour``, JSON.
        output: file for its figures.

    Raises:
        ConfigurationError: the laboratory's YAML cannot be used.
    """
    parameters: dict[str, Parameter] = {"lab": lab, "use_sim_time": load_lab(lab).simulated}
    return _node("calibration_tour", {**parameters, "settings": settings, "output": output}, respawn=False, nice=-10)


def _laboratory(arguments: GraphArguments, lab: LabConfig) -> list[NodeDescription]:
    if not lab.simulated:
        return []
    parameters: dict[str, Parameter] = {"task": arguments.task, "seed": arguments.seed}
    module = "vipa_sim.laboratory_node"
    # Without its world nothing can go on; a world that died midway cannot be replaced by one that starts anew.
    return [
        NodeDescription(
            "laboratory",
            "vipa_sim",
            "laboratory",
            module,
            parameters=parameters,
            respawn=False,
            nice=-10,
            ends_graph=True,
        )
    ]


def _managed(arguments: GraphArguments, lab: LabConfig) -> list[NodeDescription]:
    """The nodes that the supervisor leads through the life cycle, in the order of activation."""
    package, module = ("vipa_sim", "vipa_sim.camera_process") if lab.simulated else ("vipa", "vipa.nodes.camera")
    cameras = [
        NodeDescription(
            name,
            package,
            "camera",
            module,
            namespace="/camera",
            parameters={"camera": name},
        )
        for name in lab.cameras
    ]
    return [
        *cameras,
        *([_node("drift_check")] if lab.calibration.checks_drift else []),
        _node("arm"),
        _node("hand"),
        *([_policy(arguments, lab)] if arguments.policy != NO_POLICY else []),
        _node("controller"),
    ]


def _policy(arguments: GraphArguments, lab: LabConfig) -> NodeDescription:
    options = read_policy_options(arguments.policy_options)
    if arguments.policy == REMOTE and lab.workstation is not None:
        options = {**lab.workstation.client_options(), **options}
    parameters: dict[str, Parameter] = {
        "policy": arguments.policy,
        "policy_options": policy_options_text(options),
        "instruction": arguments.instruction,
    }
    if arguments.policy != EXPERT:
        return _node("policy", parameters=parameters, nice=-10)
    if not lab.simulated:
        raise ConfigurationError(
            f"policy: the {EXPERT} sees the world's state and exists in the simulated laboratory only; "
            f"laboratory {arguments.lab} is real"
        )
    parameters["task"] = arguments.task
    return NodeDescription("policy", "vipa_sim", "policy", "vipa_sim.expert_policy", parameters=parameters, nice=-10)


def _supervisor(managed: list[NodeDescription]) -> NodeDescription:
    names, namespaces = [node.name for node in managed], [node.namespace for node in managed]
    return _node("supervisor", parameters={"nodes": names, "namespaces": namespaces})


def _recorder(parameters: Mapping[str, Parameter]) -> NodeDescription:
    # After the chain from a frame to the motors, which has real-time priorities, and before everything that can wait.
    return _optional("recorder", "record", parameters, nice=-5)


def _console(arguments: GraphArguments) -> NodeDescription:
    is_blinded = any(node.parameters.get("plan") for node in arguments.extra)
    node = _optional("console", "console", {"task": arguments.task, "names_policy": not is_blinded})
    return replace(node, can_be_missed=True)


def _optional(
    name: str, argument: str, parameters: Mapping[str, Parameter] | None = None, nice: int = 0
) -> NodeDescription:
    node = _node(name, parameters=parameters, nice=nice)
    if importlib.util.find_spec(node.module) is None:
        raise ConfigurationError(f"{argument}: this installation has no node {node.module}; leave out {argument}")
    return node


def _node(
    name: str,
    parameters: Mapping[str, Parameter] | None = None,
    respawn: bool = True,
    nice: int = 0,
    ends_graph: bool = False,
) -> NodeDescription:
    return NodeDescription(
        name,
        "vipa",
        name,
        f"vipa.nodes.{name}",
        parameters=parameters or {},
        respawn=respawn,
        nice=nice,
        ends_graph=ends_graph,
    )
