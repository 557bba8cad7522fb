"""Who may say what in the graph, for SROS 2: each node an enclave of its own with no more rights than it needs.

``python -m vipa.security [LAB]`` prints the policy of a laboratory, in the format of ``sros2``; that of the simulated
one is ``data/sros2_policy.xml``. Where ``ROS_SECURITY_ENABLE`` is ``true``, each node is started in its enclave.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

from vipa.graph import ENCLAVES
from vipa.lab import load_lab
from vipa.recording.topics import EVENTS_TOPIC, recorded_topics

POLICY_FILE = Path(__file__).resolve().parent / "data" / "sros2_policy.xml"
_STREAMS = ("color", "depth", "aligned_depth_to_color")
_PARAMETER_SERVICES = (
    *("describe_parameters", "get_parameters", "get_parameter_types", "get_type_description", "list_parameters"),
    *("set_parameters", "set_parameters_atomically"),
)
_LIFECYCLE_SERVICES = (
    *("change_state", "get_state", "get_available_states", "get_available_transitions", "get_transition_graph"),
)
_STATE = ("/fr3/state", "/hand/state")
_CELL_SERVICES = ("/supervisor/stop", "/supervisor/resume", "/fr3/recover", "/hand/clear_errors", "/recorder/command")
_MANAGED = ("/drift_check", "/arm", "/hand", "/policy", "/controller")
_LOOP = ("/controller/trace", "/controller/gate")


@dataclass(frozen=True)
class Rights:
    """What one node may do beside what every node does: topics, services and, for ``execute``, actions."""

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    serve: tuple[str, ...] = ()
    call: tuple[str, ...] = ()
    execute: tuple[str, ...] = ()


def rights(lab_name: str = "simulated") -> dict[str, Rights]:
    """The rights of every node that a graph of the laboratory can have, by full name.

    Raises:
        ConfigurationError: the laboratory's YAML cannot be used.
    """
    lab = load_lab(lab_name)
    cameras = {name: f"/camera/{name}" for name in lab.cameras}
    colour = tuple(f"{c}/color/image_raw" for c in cameras.values())
    infos = tuple(f"{c}/color/camera_info" for c in cameras.values())
    depth = tuple(f"{c}/depth/image_rect_raw" for c in cameras.values())
    chunk, instruction, driven = "/policy/action_chunk", "/policy/instruction", ("/controller/gate", *_STATE)
    nodes = {
        **{path: Rights(_camera_topics(path)) for path in cameras.values()},
        "/arm": Rights(("/fr3/state", "/joint_states"), ("/fr3/joint_trajectory",), ("/fr3/recover",)),
        "/hand": Rights(("/hand/state",), ("/hand/joint_trajectory",), ("/hand/clear_errors",)),
        "/policy": Rights((chunk,), (*_STATE, "/controller/plan", instruction, *colour, *infos)),
        "/controller": Rights(
            ("/fr3/joint_trajectory", "/hand/joint_trajectory", "/controller/plan", "/controller/periods", *_LOOP),
            (chunk, instruction, *_STATE),
        ),
        "/supervisor": Rights(
            ("/supervisor/state", "/diagnostics"),
            ("/supervisor/heartbeat",),
            ("/supervisor/stop", "/supervisor/resume"),
            tuple(f"{node}/change_state" for node in (*cameras.values(), *_MANAGED)),
        ),
        "/recorder": Rights(
            (EVENTS_TOPIC, "/recorder/state"), tuple(t.name for t in recorded_topics(lab)), ("/recorder/command",)
        ),
        "/console": Rights(
            ("/trial/answer", instruction),
            (
                *("/supervisor/heartbeat", chunk, instruction, EVENTS_TOPIC, "/recorder/state", "/trial/events"),
                *("/trial/state", *_STATE, *_LOOP, *colour),
            ),
            call=_CELL_SERVICES,
        ),
        "/trial": Rights(
            ("/trial/state", "/trial/events", instruction),
            ("/trial/answer", *_STATE, *_LOOP),
            call=("/recorder/command",),
            execute=("/trial/run",),
        ),
        "/teleop": Rights(("/teleop/command", chunk, instruction), (*driven, *infos)),
        "/teleop_monitor": Rights(subscribe=("/teleop/command", "/fr3/state", *_LOOP)),
        "/replay": Rights((chunk, instruction), driven),
        "/calibration_tour": Rights((chunk, instruction), (*driven, *colour, *infos)),
        "/drift_check": Rights(subscribe=(*colour, *infos)),
        "/monitor": Rights(subscribe=("/fr3/state", "/controller/periods", *_LOOP, *colour, *depth)),
        "/soak": Rights(subscribe=("/fr3/state", "/controller/periods", *_LOOP, *colour)),
    }
    if not lab.simulated:
        return nodes
    return {"/laboratory": Rights(("/clock",)), **nodes}


def all_rights(full_name: str, right: Rights) -> Rights:
    """The rights of a node together with those that every node has."""
    is_managed = full_name != "/laboratory"
    services = _PARAMETER_SERVICES + (_LIFECYCLE_SERVICES if is_managed else ())
    managed = ("~/transition_event", "/supervisor/heartbeat") if is_managed else ()
    return replace(
        right,
        publish=(*right.publish, "/rosout", "/parameter_events", *managed),
        subscribe=(*right.subscribe, "/clock", *(("/supervisor/state",) if is_managed else ())),
        serve=(*right.serve, *(f"~/{service}" for service in services)),
    )


def make_policy(nodes: Mapping[str, Rights]) -> str:
    """The policy in XML (schema ``policy.xsd`` of sros2, version 0.2.0)."""
    root = ElementTree.Element("policy", version="0.2.0")
    contexts = ElementTree.SubElement(root, "contexts")
    for full_name, right in nodes.items():
        namespace, _, name = full_name.rpartition("/")
        profiles = ElementTree.SubElement(
            ElementTree.SubElement(contexts, "context", path=f"{ENCLAVES}{full_name}"), "profiles"
        )
        profile = ElementTree.SubElement(profiles, "profile", ns=namespace or "/", node=name)
        full = all_rights(full_name, right)
        _allow(profile, "topics", "topic", "publish", full.publish)
        _allow(profile, "topics", "topic", "subscribe", full.subscribe)
        _allow(profile, "services", "service", "reply", full.serve)
        _allow(profile, "services", "service", "request", full.call)
        _allow(profile, "actions", "action", "execute", full.execute)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _camera_topics(path: str) -> tuple[str, ...]:
    images = {"color": "image_raw", "depth": "image_rect_raw", "aligned_depth_to_color": "image_raw"}
    topics = [f"{path}/{s}/{kind}" for s in _STREAMS for kind in (images[s], "camera_info")]
    return (*topics, "/diagnostics")


def _allow(profile: ElementTree.Element, group: str, kind: str, verb: str, names: Iterable[str]) -> None:
    wanted = sorted(set(names))
    if wanted:
        element = ElementTree.SubElement(profile, group, {verb: "ALLOW"})
        for name in wanted:
            ElementTree.SubElement(element, kind).text = name


if __name__ == "__main__":
    sys.stdout.write(make_policy(rights(*sys.argv[1:2])))
