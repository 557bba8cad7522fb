"""The command line."""

import json
from pathlib import Path

import pytest

from vipa import cli
from vipa.bringup import Outcome
from vipa.commands import bringup
from vipa.errors import HardwareError
from vipa.graph import GraphArguments


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    assert stop.value.code == 0
    assert f"vipa {name}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["bringup", "--smoke", "-1"], ["bringup", "--smoke", "nan"],
                                       ["bringup", "--smoke", "x"], ["bringup", "--domain", "233"]])  # fmt: skip
def test_wrong_arguments_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2


def run_bringup(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    outcome: Outcome,
    figures: dict[str, float] | None,
    smoke: bool = True,
) -> tuple[int, GraphArguments]:
    seen: list[GraphArguments] = []

    def run_graph(arguments: GraphArguments, folder: Path, domain: int | None) -> Outcome:
        seen.append(arguments)
        if figures is not None:
            (folder / "monitor.json").write_text(json.dumps({"figures": figures, "details": {"seen": 1}}))
        return outcome

    monkeypatch.setattr(bringup, "run_graph", run_graph)
    monkeypatch.setattr(bringup, "load_lab", lambda name: type("Lab", (), {"simulated": True}))
    options = ["--smoke", "5"] if smoke else []
    code = cli.main(["bringup", *options, "--logs", str(tmp_path), "--json", str(tmp_path / "r.json")])
    return code, seen[0]


GOOD = {
    "executed_steps": 100.0,
    "gate_violations_reaching_driver": 0.0,
    "fci_packets_lost": 0.0,
    "aborts": 0.0,
    "real_time_factor": 0.99,
}


def test_a_good_smoke_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, arguments = run_bringup(monkeypatch, tmp_path, Outcome(0, {}), GOOD)
    assert code == 0
    assert arguments.extra[0].parameters["duration"] == 5.0
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["ok"] is True
    assert content["details"]["seen"] == 1
    assert set(GOOD) <= set(content["bounds"])


@pytest.mark.parametrize("change", [{"executed_steps": 0.0}, {"fci_packets_lost": 1.0}, {"aborts": 1.0},
                                    {"real_time_factor": 0.9}, {"gate_violations_reaching_driver": 1.0}])  # fmt: skip
def test_a_smoke_run_that_breaks_a_bound(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: dict[str, float]
) -> None:
    assert run_bringup(monkeypatch, tmp_path, Outcome(0, {}), {**GOOD, **change})[0] == 1


def test_a_smoke_run_whose_monitor_wrote_nothing_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run_bringup(monkeypatch, tmp_path, Outcome(0, {}), None)[0] == 1
    assert json.loads((tmp_path / "r.json").read_text())["ok"] is False


def test_a_restart_of_a_node_fails_the_smoke_run_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run_bringup(monkeypatch, tmp_path, Outcome(0, {"arm": 1}), GOOD)[0] == 1
    assert run_bringup(monkeypatch, tmp_path, Outcome(0, {"arm": 1}), None, smoke=False)[0] == 0


def test_the_options_of_the_policy_reach_the_graph(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[GraphArguments] = []

    def run_graph(arguments: GraphArguments, folder: Path, domain: int | None) -> Outcome:
        seen.append(arguments)
        return Outcome(0, {})

    monkeypatch.setattr(bringup, "run_graph", run_graph)
    options = ["--policy", "remote", "--policy-option", "url=ws://gpu:8000", "--policy-option", "time_out=0.3"]
    assert cli.main(["bringup", *options, "--logs", str(tmp_path)]) == 0
    assert seen[0].policy == "remote"
    assert json.loads(seen[0].policy_options) == {"url": "ws://gpu:8000", "time_out": 0.3}
    assert cli.main(["bringup", "--policy-option", "url", "--logs", str(tmp_path)]) == 1


@pytest.mark.parametrize("smoke", [True, False])
def test_the_status_of_the_graph_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, smoke: bool) -> None:
    assert run_bringup(monkeypatch, tmp_path, Outcome(3, {}), GOOD, smoke)[0] == 3


def test_an_error_that_a_person_can_mend_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_graph(*_: object) -> Outcome:
        raise HardwareError("arm: no answer; check the cable")

    monkeypatch.setattr(bringup, "run_graph", run_graph)
    assert cli.main(["bringup", "--logs", str(tmp_path)]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "vipa: arm: no answer; check the cable"
