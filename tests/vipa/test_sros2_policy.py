"""The policy for SROS 2 fits the graph: every node has what its code asks for, and only the controller commands."""

import ast
from pathlib import Path
from xml.etree import ElementTree

import pytest

from vipa.graph import (
    ENCLAVES,
    GraphArguments,
    describe,
    monitor_node,
    replay_node,
    soak_node,
    teleop_monitor_node,
    teleop_node,
    trial_node,
)
from vipa.security import POLICY_FILE, Rights, all_rights, make_policy, rights

NODES = Path(__file__).parents[2] / "ros2_ws/src/vipa/vipa/nodes"
CAMERAS = ("front", "side")
ALL = (monitor_node(1.0, "x"), soak_node(1.0, 1.0, "x"), trial_node({}), teleop_node({}), teleop_monitor_node("x"),
       replay_node({}))  # fmt: skip
BESIDE = {"/drift_check", "/calibration_tour"}  # where the laboratory's YAML or the operator asks for them
ASKED = {"create_publisher": "publish", "polled": "subscribe", "create_subscription": "subscribe",
         "create_service": "serve", "create_client": "call"}  # fmt: skip
MODULES = {
    **{f"/{name}": (name,) for name in ("arm", "hand", "policy", "controller", "supervisor", "recorder", "replay")},
    **{f"/{name}": (name,) for name in ("monitor", "teleop", "teleop_monitor", "calibration_tour")},
    "/camera/front": ("camera",),
    "/console": ("console", "cell_watch", "cell_services"),
    "/trial": ("trial", "trial_recording"),
    "/soak": ("soak", "monitor"),
}


def asked_for(module: str) -> set[tuple[str, str]]:
    """The topics and services that a module's calls name, with a camera's name for every other placeholder."""
    found: set[tuple[str, str]] = set()
    for node in ast.walk(ast.parse((NODES / f"{module}.py").read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ASKED:
            place = 1 if len(node.args) > 1 else 0
            name = ast.unparse(node.args[place])
            if name.startswith(("'/", '"/')):
                found.add((ASKED[node.func.attr], ast.literal_eval(name)))
            elif name.startswith("f'/camera/{name}/") and "{stream}" not in name:
                found |= {(ASKED[node.func.attr], name[2:-1].replace("{name}", CAMERAS[0]))}
        match node:  # the console's table
            case ast.Tuple(elts=[ast.Name(), ast.Constant(value=str(topic)), ast.Name(), _]):
                found.add(("subscribe", topic))
    return found


@pytest.fixture(scope="module")
def nodes() -> dict[str, Rights]:
    return rights("simulated")


def test_the_file_is_that_of_the_simulated_laboratory(nodes: dict[str, Rights]) -> None:
    assert POLICY_FILE.read_text() == make_policy(nodes), "make it anew: python -m vipa.security > sros2_policy.xml"


def test_every_node_of_the_graph_has_an_enclave_of_its_own(
    nodes: dict[str, Rights], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = describe(GraphArguments(console=True, record=True, extra=ALL))
    names = {node.full_name for node in graph}
    assert names == set(nodes) - BESIDE
    assert all(node.enclave == () for node in graph), "as long as ROS's security is off"
    monkeypatch.setenv("ROS_SECURITY_ENABLE", "true")
    contexts = [c.get("path") for c in ElementTree.parse(POLICY_FILE).iter("context")]
    assert sorted(contexts) == sorted([*(node.enclave[1] for node in graph), *(f"{ENCLAVES}{name}" for name in BESIDE)])
    assert {node.enclave[0] for node in graph} == {"--enclave"}


@pytest.mark.parametrize("name", MODULES)
def test_a_node_may_do_what_its_code_asks_for(nodes: dict[str, Rights], name: str) -> None:
    asked = set[tuple[str, str]]().union(*map(asked_for, MODULES[name]))
    assert asked, "the test reads nothing out of this module"
    granted = all_rights(name, nodes[name])
    assert {(verb, topic) for verb, topic in asked if topic not in getattr(granted, verb)} == set()


def test_nobody_else_commands_or_allows_motion(nodes: dict[str, Rights]) -> None:
    def publishers(topic: str) -> set[str]:
        return {name for name, right in nodes.items() if topic in right.publish}

    assert publishers("/fr3/joint_trajectory") == publishers("/hand/joint_trajectory") == {"/controller"}
    assert publishers("/policy/action_chunk") == {"/policy", "/teleop", "/replay", "/calibration_tour"}
    assert publishers("/supervisor/state") == {"/supervisor"}
    assert publishers("/fr3/state") == {"/arm"}
    assert publishers("/clock") == {"/laboratory"}


def test_the_policy_has_the_form_that_sros2_reads() -> None:
    root = ElementTree.parse(POLICY_FILE).getroot()
    assert (root.tag, root.get("version")) == ("policy", "0.2.0")
    for profile in root.iter("profile"):
        assert profile.get("ns", "").startswith("/")
        for group in profile:
            assert group.tag in ("topics", "services", "actions")
            assert set(group.attrib) <= {"publish", "subscribe", "reply", "request", "execute"}
            assert set(group.attrib.values()) == {"ALLOW"}
            assert all(entry.text and entry.text.startswith(("/", "~/")) for entry in group)


def test_a_real_laboratory_has_no_simulation() -> None:
    assert "/laboratory" not in rights("example_real")
