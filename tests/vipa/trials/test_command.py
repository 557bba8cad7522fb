"""``vipa trial`` with a plan, the graph being replaced by what its trial node does with the plan."""

import argparse
import dataclasses
import json
from pathlib import Path

import pytest
from fabricated_trials import result_of

from vipa import cli
from vipa.bringup import Outcome
from vipa.commands import trial as command
from vipa.trials.plan import PlannedTrial
from vipa.trials.result import TrialLog
from vipa.trials.schedule import PlanSchedule, SeedSchedule, Setup
from vipa.trials.store import TrialStore


@dataclasses.dataclass
class Graph:
    """Stands in for the graph: runs the schedule as the trial node does, and notes how it was started."""

    done: dict[str, int] = dataclasses.field(default_factory=dict)  # sub-tasks that each policy does; else 3
    dies_after: int = 10**6  # trials; then the graph ends with status 1, in the middle of the next one
    status: int = 0
    started: list = dataclasses.field(default_factory=list)

    def __call__(self, arguments, folder, domain):
        (node,) = arguments.extra
        self.started.append(arguments)
        if node.parameters.get("plan"):
            schedule = PlanSchedule(TrialStore(Path(node.parameters["plan"])), node.parameters["run"])
        else:
            first = Setup(node.parameters["seed"], node.parameters["variant"], node.parameters["policy"])
            schedule = SeedSchedule(TrialLog(Path(node.parameters["log"])), first, node.parameters["trials"])
        while (setup := schedule.upcoming) is not None:
            schedule.begin()
            if self.dies_after == 0:
                return Outcome(self.status, {})
            self.dies_after -= 1
            planned = PlannedTrial(0, 0, 0, setup.policy, setup.variant, setup.seed)
            schedule.keep(result_of(planned, self.done.get(arguments.policy, 3)))
        return Outcome(0, {})


@pytest.fixture
def graph(monkeypatch):
    standing_in = Graph()
    monkeypatch.setattr(command, "run_graph", standing_in)
    return standing_in


def vipa(tmp_path, *arguments):
    code = cli.main(["trial", *arguments, "--logs", str(tmp_path / "logs"), "--json", str(tmp_path / "result.json")])
    path = tmp_path / "result.json"
    return code, json.loads(path.read_text()) if path.exists() else {}


def test_a_plan_is_run_to_its_end_and_reported(graph, tmp_path, capsys):
    graph.done = {"wave": 1}
    out = tmp_path / "plan"
    arguments = ["--task", "wipe_board", "--trials", "3", "--variants", "seen,unseen", "--out", str(out), "--seed", "5"]
    code, content = vipa(tmp_path, *arguments, "--policies", "tuned=scripted,wave", "--time-limit", "30")
    assert code == 0
    assert content["figures"] == {"left": 0, "finished": 12, "node_restarts": 0}
    plan = TrialStore(out).plan
    assert [a.policy for a in graph.started] == [
        TrialStore(out).key().policies[label].policy
        for label in dict.fromkeys((t.run, t.label) for t in plan.trials)
        for label in [label[1]]
    ]
    assert {a.task for a in graph.started} == {"wipe_board"}
    assert {a.extra[0].parameters["policy"] for a in graph.started} == {"A", "B"}
    assert {a.extra[0].parameters["time_limit"] for a in graph.started} == {30.0}
    assert {trial.seed for trial in plan.trials} == {5, 6, 7}
    printed = capsys.readouterr().out
    assert "tuned" in printed
    assert "100.0 % (44-100)" in printed
    for name in ("report.html", "report.md", "report.json"):
        assert "tuned" in (out / name).read_text()


@pytest.mark.parametrize("status", [0, 1])
def test_a_graph_that_ends_early_stops_the_plan_and_resume_goes_on(graph, tmp_path, capsys, status):
    graph.dies_after, graph.status = 3, status
    out = tmp_path / "plan"
    arguments = ["--task", "wipe_board", "--trials", "4", "--policies", "scripted,wave"]
    code, content = vipa(tmp_path, *arguments, "--out", str(out))
    assert code == 1
    assert content["figures"]["finished"] == 3
    printed = capsys.readouterr()
    assert "5 trials are left. Go on with: vipa trial --resume --out" in printed.err
    assert "scripted" not in printed.out  # still blinded
    before = TrialStore(out).progress().finished
    graph.dies_after = 10**6
    code, content = vipa(tmp_path, "--resume", "--out", str(out))
    assert code == 0
    progress = TrialStore(out).progress()
    assert len(progress.finished) == 8
    assert progress.finished.items() >= before.items()
    assert len(progress.interrupted) == 1
    assert "scripted" in capsys.readouterr().out
    runs = len(graph.started)
    assert vipa(tmp_path, "--resume", "--out", str(out))[0] == 0  # nothing is left
    assert len(graph.started) == runs


def test_a_plan_that_stops_early(graph, tmp_path):
    graph.done = {"wave": 1}
    arguments = ["--task", "wipe_board", "--trials", "30", "--policies", "scripted,wave", "--stop-early"]
    code, content = vipa(tmp_path, *arguments, "--out", str(tmp_path / "plan"))
    assert code == 0
    assert content["figures"]["finished"] == 16
    assert content["figures"]["left"] == 0


def test_the_options_of_policies(graph, tmp_path):
    (tmp_path / "small.yaml").write_text("radius: 0.1\n")
    out = tmp_path / "plan"
    policies = f"small=orbit@{tmp_path / 'small.yaml'},orbit"
    assert vipa(tmp_path, "--task", "wipe_board", "--policies", policies, "--out", str(out))[0] == 0
    choices = {choice.title: choice for choice in TrialStore(out).key().policies.values()}
    assert json.loads(choices["small"].options) == {"radius": 0.1}
    assert choices["orbit"].options == ""
    assert {a.policy_options for a in graph.started} == {choices["small"].options, ""}


def test_one_policy_with_options(graph, tmp_path):
    out = tmp_path / "plan"
    arguments = ["--task", "wipe_board", "--policy", "orbit", "--policy-option", "radius=0.2", "--trials", "3"]
    assert vipa(tmp_path, *arguments, "--out", str(out), "--threshold", "0.5")[0] == 0
    assert len(graph.started) == 1
    assert json.loads(graph.started[0].policy_options) == {"radius": 0.2}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--policies", "a,b"], "need --out FOLDER"),
        (["--variants", "seen,unseen"], "need --out FOLDER"),
        (["--resume"], "need --out FOLDER"),
        (["--out", "OUT", "--resume"], r"plan.json: no such file"),
        (["--out", "OUT", "--trials", "0"], "layouts: 0 is not at least 1"),
        (["--out", "OUT", "--policies", "a,a"], "each once"),
        (["--out", "OUT", "--variants", "seen,seen"], "variants"),
        (["--out", "OUT", "--threshold", "1.5"], "threshold: 1.5 is not between 0 and 1"),
        (["--out", "OUT", "--policies", "a", "--policy-option", "x=1"], "POLICY@FILE"),
        (["--out", "OUT", "--policies", "a@missing.yaml"], "missing.yaml: no such file"),
        (["report", "OUT"], "no trials here"),
    ],
)
def test_wrong_arguments_are_one_line(graph, tmp_path, capsys, arguments, complaint):
    code = cli.main(["trial", *[str(tmp_path / "new") if a == "OUT" else a for a in arguments]])
    assert code == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert complaint in lines[0]
    assert graph.started == []


def test_a_folder_with_a_plan_needs_resume(graph, tmp_path, capsys):
    arguments = ["--task", "wipe_board", "--out", str(tmp_path / "plan")]
    assert vipa(tmp_path, *arguments)[0] == 0
    assert vipa(tmp_path, *arguments)[0] == 1
    assert "Continue it with --resume" in capsys.readouterr().err


def test_trials_without_a_plan_work_as_before(graph, tmp_path, capsys):
    log = tmp_path / "trials.jsonl"
    code, content = vipa(tmp_path, "--task", "wipe_board", "--trials", "2", "--seed", "7", "--log", str(log))
    assert code == 0
    assert content["figures"] == {"trials": 2, "succeeded": 2, "node_restarts": 0}
    assert [result.seed for result in TrialLog(log).read()] == [7, 8]
    assert content["details"]["report"]["tasks"][0]["whole_task"]["value"] == 1.0
    graph.done = {"scripted": 0}
    assert vipa(tmp_path, "--task", "wipe_board", "--log", str(log))[0] == 1
    capsys.readouterr()
    assert cli.main(["trial", "report", str(log), "--json", "-"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["details"]["tasks"][0]["trials"] == 3
    assert "wipe_board" in captured.err
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_rollouts_in_the_environment_need_no_graph(graph, tmp_path, capsys):
    """The genuine simulation, in its own process; running it again adds nothing."""
    arguments = ["--policy", "expert", "--task", "water_plant", "--variants", "seen,lighting", "--seed", "1000"]
    arguments += ["--n", "1", "--log", str(tmp_path / "log.jsonl")]
    for _ in range(2):
        code, result = vipa(tmp_path, *arguments)
        assert (code, result["figures"]["trials"]) == (0, 2)
    tasks = result["details"]["report"]["tasks"]
    assert [(task["variant"], task["whole_task"]["value"]) for task in tasks] == [("seen", 1.0), ("lighting", 1.0)]
    assert "water_plant (lighting, water_plant@" in capsys.readouterr().out
    assert graph.started == []


def test_rollouts_that_cannot_be_run_fail(graph, tmp_path, capfd):
    code, _ = vipa(tmp_path, "--policy", "expert", "--task", "juggle", "--n", "1")
    assert code == 1
    assert "juggle" in capfd.readouterr().err


def test_the_report_of_a_running_plan_stays_blinded_where_asked(graph, tmp_path, capsys):
    out = tmp_path / "plan"
    vipa(tmp_path, "--task", "wipe_board", "--policies", "tuned=scripted,wave", "--out", str(out))
    capsys.readouterr()
    assert cli.main(["trial", "report", str(out), "--blinded"]) == 0
    assert "tuned" not in capsys.readouterr().out
    assert "tuned" not in (out / "report.html").read_text()


def test_the_parser_of_trials_knows_its_report():
    parser = cli.make_parser()
    trial, report = parser.parse_args(["trial", "--task", "reach"]), parser.parse_args(["trial", "report", "x"])
    assert isinstance(trial, argparse.Namespace)
    assert trial.trial_command is not report.trial_command
    assert report.folder == Path("x")
