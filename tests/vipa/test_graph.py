"""The description of the graph."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vipa import graph
from vipa.errors import ConfigurationError
from vipa.graph import GraphArguments, NodeDescription, describe, monitor_node, trial_node
from vipa.lab import CalibrationConfig
from vipa.workstation import WorkstationConfig


@pytest.fixture(autouse=True)
def labs(monkeypatch: pytest.MonkeyPatch) -> None:
    cameras, unchecked = {"front": None, "side": None}, CalibrationConfig()
    checked = CalibrationConfig("warn", references={"front": Path("reference_front.yaml")})
    real = {"simulated": False, "cameras": cameras, "calibration": unchecked, "workstation": None}
    known = {
        "simulated": SimpleNamespace(**{**real, "simulated": True}),
        "real": SimpleNamespace(**real),
        "three": SimpleNamespace(**{**real, "cameras": {**cameras, "wrist": None}}),
        "checked": SimpleNamespace(**{**real, "calibration": checked}),
        "two_hosts": SimpleNamespace(**{**real, "workstation": WorkstationConfig("gpu", token_file="~/token")}),
    }
    monkeypatch.setattr(graph, "load_lab", known.__getitem__)


def by_name(arguments: GraphArguments) -> dict[str, NodeDescription]:
    return {node.name: node for node in describe(arguments)}


def test_a_simulated_laboratory_is_started_first_and_feeds_its_own_cameras() -> None:
    nodes = describe(GraphArguments(task="wipe", seed=7))
    names = [n.name for n in nodes]
    assert names == ["laboratory", "front", "side", "arm", "hand", "policy", "controller", "supervisor"]
    laboratory = nodes[0]
    assert (laboratory.package, laboratory.module) == ("vipa_sim", "vipa_sim.laboratory_node")
    assert dict(laboratory.parameters) == {"lab": "simulated", "use_sim_time": True, "task": "wipe", "seed": 7}
    assert laboratory.ends_graph
    assert not laboratory.respawn
    assert {n.module for n in nodes if n.namespace == "/camera"} == {"vipa_sim.camera_process"}


def test_a_real_laboratory_runs_the_drivers_and_nothing_of_the_simulation() -> None:
    nodes = by_name(GraphArguments(lab="real"))
    assert "laboratory" not in nodes
    assert not any("vipa_sim" in (n.package, n.module.partition(".")[0]) for n in nodes.values())
    assert nodes["front"].full_name == "/camera/front"
    assert nodes["front"].parameters["camera"] == "front"


@pytest.mark.parametrize(
    ("lab", "asked", "expected"),
    [("simulated", None, True), ("real", None, False), ("simulated", False, False), ("real", True, True)],
)
def test_every_node_knows_the_laboratory_and_its_clock(lab: str, asked: bool | None, expected: bool) -> None:
    nodes = describe(GraphArguments(lab=lab, use_sim_time=asked, extra=(monitor_node(60, "out.json"),)))
    assert {(n.parameters["lab"], n.parameters["use_sim_time"]) for n in nodes} == {(lab, expected)}


def test_a_check_of_drift_comes_between_the_cameras_and_the_arm() -> None:
    supervisor = by_name(GraphArguments(lab="checked", policy="none"))["supervisor"]
    assert supervisor.parameters["nodes"] == ["front", "side", "drift_check", "arm", "hand", "controller"]


def test_the_supervisor_leads_exactly_the_managed_nodes_sensors_first() -> None:
    supervisor = by_name(GraphArguments(lab="three"))["supervisor"]
    assert supervisor.parameters["nodes"] == ["front", "side", "wrist", "arm", "hand", "policy", "controller"]
    assert supervisor.parameters["namespaces"] == ["/camera"] * 3 + [""] * 4
    assert by_name(GraphArguments())["supervisor"].parameters["nodes"] == [
        "front",
        "side",
        "arm",
        "hand",
        "policy",
        "controller",
    ]


def test_the_policy_gets_its_name_and_instruction() -> None:
    policy = by_name(GraphArguments(policy="vipa", instruction="wipe the board"))["policy"]
    assert policy.parameters["policy"] == "vipa"
    assert policy.parameters["instruction"] == "wipe the board"


def test_the_policy_gets_its_options_as_json_wherever_they_come_from(tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("url: ws://gpu:8000\n")
    for text in (str(file), '{"url": "ws://gpu:8000"}'):
        policy = by_name(GraphArguments(policy="remote", policy_options=text))["policy"]
        assert policy.parameters["policy_options"] == '{"url": "ws://gpu:8000"}'
    assert by_name(GraphArguments())["policy"].parameters["policy_options"] == ""
    with pytest.raises(ConfigurationError, match="policy_options: no valid JSON"):
        describe(GraphArguments(policy_options="{url"))


def test_the_remote_policy_asks_the_laboratorys_workstation_unless_its_options_say_otherwise() -> None:
    def options(**given: str) -> Any:
        return json.loads(str(by_name(GraphArguments(lab="two_hosts", **given))["policy"].parameters["policy_options"]))

    expected = {"url": "ws://gpu:8000", "token_file": "~/token", "jpeg_quality": 90}
    assert options(policy="remote") == expected
    given = options(policy="remote", policy_options='{"url": "ws://127.0.0.1:9", "time_out": 1.0}')
    assert given == {**expected, "url": "ws://127.0.0.1:9", "time_out": 1.0}
    assert by_name(GraphArguments(lab="two_hosts"))["policy"].parameters["policy_options"] == ""
    assert by_name(GraphArguments(lab="real", policy="remote"))["policy"].parameters["policy_options"] == ""


def test_managed_nodes_come_back_and_do_not_end_the_graph() -> None:
    nodes = by_name(GraphArguments())
    del nodes["laboratory"]
    assert all(n.respawn and not n.ends_graph for n in nodes.values())


def test_measuring_nodes_end_the_graph_and_are_not_started_again() -> None:
    extra = (monitor_node(12, "/tmp/m.json", images=True), trial_node({"task": "reach", "trials": 2}))
    nodes = by_name(GraphArguments(extra=extra))
    assert all(nodes[n].ends_graph and not nodes[n].respawn for n in ("monitor", "trial"))
    expected = {"duration": 12.0, "output": "/tmp/m.json", "images": True}
    assert expected.items() <= nodes["monitor"].parameters.items()
    assert isinstance(nodes["monitor"].parameters["duration"], float)  # ROS does not convert integers
    assert nodes["trial"].parameters["trials"] == 2


def test_two_nodes_with_one_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"same name: .*/monitor"):
        describe(GraphArguments(extra=(monitor_node(1, "a"), monitor_node(2, "b"))))


@pytest.mark.parametrize(("argument", "module"), [("record", "recorder"), ("console", "console")])
def test_an_optional_node_runs_where_it_is_installed_and_is_refused_where_not(
    argument: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=f"{argument}: this installation has no node vipa.nodes.{module}"):
        describe(GraphArguments(**{argument: True}))
    monkeypatch.setattr(graph.importlib.util, "find_spec", lambda name: object())
    assert module in by_name(GraphArguments(**{argument: True}))


def test_the_console_knows_the_task_and_names_no_policy_that_is_blinded() -> None:
    arguments = GraphArguments(console=True, task="wipe_board")
    expected = {"task": "wipe_board", "names_policy": True}
    assert expected.items() <= by_name(arguments)["console"].parameters.items()
    blinded = GraphArguments(console=True, extra=(trial_node({"plan": "/data/plan"}),))
    assert by_name(blinded)["console"].parameters["names_policy"] is False


def test_every_executable_of_the_graph_is_declared_by_its_ros_package() -> None:
    sources = Path(__file__).resolve().parents[2] / "ros2_ws" / "src"
    for node in (
        *describe(GraphArguments()),
        monitor_node(1, ""),
        trial_node({}),
        *describe(GraphArguments(lab="real")),
    ):
        declared = (sources / node.package / "setup.py").read_text()
        if node.package == "vipa":
            assert f'"{node.executable}"' in declared
            assert node.module == f"vipa.nodes.{node.executable}"
        else:
            assert f'"{node.executable} = {node.module}:main"' in declared
