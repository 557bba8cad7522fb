"""``vipa trial``: run trials of a task through the whole graph, and report their results."""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vipa.bringup import run_graph, say
from vipa.commands import add_command, finish
from vipa.commands.bringup import add_graph_options, add_recorder_options, graph_arguments, log_folder, recorder_options
from vipa.environment import repository_folder
from vipa.errors import ConfigurationError
from vipa.graph import GraphArguments, Parameter, trial_node
from vipa.policy_options import options_from_pairs, policy_options_text, read_policy_options
from vipa.result import Result
from vipa.trials.html_report import html_report
from vipa.trials.journal import write_durably
from vipa.trials.markdown_report import markdown_report
from vipa.trials.plan import Design, PolicyChoice, make_plan
from vipa.trials.report import summarise
from vipa.trials.result import TrialLog
from vipa.trials.schedule import remaining
from vipa.trials.store import TrialStore
from vipa.trials.study import Study, read_study
from vipa_inference.policy import HOLD_INSTRUCTION

if TYPE_CHECKING:
    from vipa.commands import Subparsers


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Declare the subcommand."""
    summary = "Run trials of a task through the whole graph and print the report"
    parser = add_command(subparsers, "trial", summary, "vipa trial --task reach --trials 3 --seed 7")
    add_graph_options(parser)
    add_recorder_options(parser)
    parser.set_defaults(task="")  # a task of its own for each way of running trials
    parser.add_argument(
        "--trials", type=int, default=1, metavar="N", help="how many, with consecutive seeds (default: 1)"
    )
    parser.add_argument("--variant", default="seen", help="set-up of the scene (default: seen)")
    parser.add_argument("--time-limit", type=float, default=0.0, metavar="SECONDS", help="0: the task's own (default)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="append results here (default: in the folder of logs)")
    _add_plan_options(parser)
    _add_environment_options(parser)
    parser.set_defaults(trial_command=_run_trials)
    actions = parser.add_subparsers(required=False, metavar="report")
    summary = "Write report.html, report.md and report.json for trials that were run"
    report = add_command(actions, "report", summary, "vipa trial report trials/wipe --json -")
    report.add_argument("folder", type=Path, help="of vipa trial --out; or a log of vipa trial")
    report.add_argument("--blinded", action="store_true", help="show labels instead of policies")
    report.set_defaults(trial_command=_run_report)
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the subcommand.

    The exit status is 0 where every trial was run to its end and, without a plan, at least one succeeded.
    """
    return int(options.trial_command(options))


def _add_plan_options(parser: argparse.ArgumentParser) -> None:
    plan = parser.add_argument_group(
        "plan", "N trials of each policy in each variant, in random order, under blinded labels, into a folder"
    )
    plan.add_argument("--out", type=Path, metavar="FOLDER", help="of the plan, its trials and their report")
    plan.add_argument("--resume", action="store_true", help="go on with the plan in FOLDER; all else is as it says")
    plan.add_argument(
        "--policies", metavar="A,B", help="each [TITLE=]POLICY[@FILE], FILE holding its options (default: --policy)"
    )
    plan.add_argument("--variants", metavar="X,Y", help="set-ups of the scene (default: --variant)")
    plan.add_argument(
        "--block", type=int, default=1, metavar="N", help="layouts before the next policy takes over (default: 1)"
    )
    plan.add_argument(
        "--aborted",
        choices=("failure", "repeat"),
        default="failure",
        help="what an aborted trial is: a failure (default), or run again, three times at most",
    )
    plan.add_argument("--threshold", type=float, metavar="RATE", help="whole-task success to test each policy against")
    plan.add_argument("--level", type=float, default=0.05, help="of all sequential tests together (default: 0.05)")
    plan.add_argument("--stop-early", action="store_true", help="end once every sequential test has decided")


def _add_environment_options(parser: argparse.ArgumentParser) -> None:
    summary = "rollouts in lock-step, without ROS and drivers; of --task A,B (default: those with an expert)"
    fast = parser.add_argument_group("Gymnasium environment", summary)
    fast.add_argument("--n", type=int, metavar="N", help="that many in each of --variants (default: all of a task)")
    fast.add_argument("--rows", type=int, default=2, metavar="N", help="actions carried out of each chunk (default: 2)")
    fast.add_argument("--workers", type=int, default=os.cpu_count(), metavar="N", help="processes (default: the cores)")


def _run_trials(options: argparse.Namespace) -> int:
    if options.n is not None:
        return _run_rollouts(options)
    options.task = options.task or "reach"
    if options.out is not None:
        return _run_plan(options)
    if options.policies or options.variants or options.resume:
        raise ConfigurationError("trial: --policies, --variants and --resume need --out FOLDER")
    folder = log_folder(options)
    log = TrialLog(options.log or folder / "trials.jsonl")
    before = len(log.read())
    node = trial_node(
        {
            "task": options.task,
            "instruction": options.instruction,
            "variant": options.variant,
            "policy": options.policy,
            "seed": options.seed,
            "trials": options.trials,
            "time_limit": options.time_limit,
            "log": str(options.log or folder / "trials.jsonl"),
            **_recordings(options),
        }
    )
    arguments = replace(_graph(options), extra=(node,))
    say(f"logs: {folder}")
    outcome = run_graph(arguments, folder, options.domain)
    results = log.read()[before:]
    report = summarise(results)
    print(report.to_text(), file=sys.stderr if options.json == "-" else sys.stdout)
    succeeded = sum(result.succeeded for result in results)
    figures = {"trials": len(results), "succeeded": succeeded, "node_restarts": sum(outcome.restarts.values())}
    result = Result(
        "trial",
        outcome.status == 0,
        figures,
        {"trials": ("==", options.trials), "succeeded": (">", 0)},
        {"report": report.to_json_dict(), "logs": str(folder)},
    )
    return _finish(result, options)


def _graph(options: argparse.Namespace) -> GraphArguments:
    """The graph, in which the policy holds until a trial begins."""
    recordings = str(_recordings(options).get("recordings", ""))
    return replace(
        graph_arguments(options),
        instruction=HOLD_INSTRUCTION,
        record=options.record,
        recordings=recordings,
        recorder_options=recorder_options(options),
    )


def _recordings(options: argparse.Namespace) -> dict[str, Parameter]:
    """The folder of the episodes, where trials are recorded."""
    if not options.record:
        return {}
    return {"recordings": str(Path(options.recordings or repository_folder() / "recordings").expanduser().resolve())}


def _run_rollouts(options: argparse.Namespace) -> int:
    """Run rollouts in the simulation's own process; a log given by --log is continued."""
    log = TrialLog(options.log or log_folder(options) / "trials.jsonl")
    command = [sys.executable, "-m", "vipa_sim.evaluation", "--log", str(log.path), "--policy", options.policy]
    command += ["--policy-options", policy_options_text(options_from_pairs(options.policy_option))]
    command += ["--tasks", options.task, "--variants", options.variants or "", "--seed", str(options.seed)]
    command += ["--trials", str(options.n), "--rows", str(options.rows), "--workers", str(options.workers)]
    start = time.monotonic()
    status = subprocess.run(command, check=False).returncode
    results = log.read()
    report = summarise(results)
    print(report.to_text(), file=sys.stderr if options.json == "-" else sys.stdout)
    say(f"log: {log.path}")
    figures = {"trials": float(len(results)), **report.figures()}
    details = {"report": report.to_json_dict(), "log": str(log.path), "wall_s": time.monotonic() - start}
    return _finish(Result("trial", status == 0 and bool(results), figures, details=details), options)


def _run_plan(options: argparse.Namespace) -> int:
    """Run what is left of a plan: the graph is started anew for each run of consecutive trials of one policy."""
    store = TrialStore(options.out) if options.resume else _new_plan(options)
    restarts, is_ok = 0, True
    with store.exclusive():
        while is_ok and (left := remaining(store)):
            planned = len(store.plan.trials)
            say(f"{planned - len(left)} of {planned} trials are finished; next: policy {left[0].label}")
            status, restarted = _run_once(store, left[0].run, left[0].label, options)
            restarts += restarted
            is_ok = status == 0 and all(trial.run != left[0].run for trial in remaining(store))
        left = remaining(store)
    if left:
        say(f"{len(left)} trials are left. Go on with: vipa trial --resume --out {options.out}")
    study = read_study(options.out, blinded=bool(left))
    _show(study, options)
    figures = {"left": len(left), "finished": len(study.results), "node_restarts": restarts}
    details = {"report": study.to_result().details, "folder": str(options.out)}
    return _finish(Result("trial", is_ok, figures, {"left": ("==", 0)}, details), options)


def _new_plan(options: argparse.Namespace) -> TrialStore:
    try:
        design = Design(
            task=options.task,
            layouts=options.trials,
            variants=tuple((options.variants or options.variant).split(",")),
            seed=options.seed,
            layouts_per_block=options.block,
            instruction=options.instruction,
            time_limit=options.time_limit,
            aborted=options.aborted,
            level=options.level,
            threshold=options.threshold,
            stop_early=options.stop_early,
        )
        plan, key = make_plan(design, _policies(options))
    except ValueError as error:
        raise ConfigurationError(f"trial: {error}") from None
    return TrialStore.create(options.out, plan, key)


def _policies(options: argparse.Namespace) -> list[PolicyChoice]:
    pairs = options_from_pairs(options.policy_option)
    if not options.policies:
        return [PolicyChoice(options.policy, options.policy, policy_options_text(pairs))]
    if pairs:
        raise ConfigurationError("trial: with --policies, give a policy's options in a file: POLICY@FILE")
    choices: list[PolicyChoice] = []
    for text in options.policies.split(","):
        title, separator, rest = text.partition("=")
        policy, _, file = (rest if separator else text).partition("@")
        settings = policy_options_text(read_policy_options(file))
        choices.append(PolicyChoice(title if separator else policy, policy, settings))
    return choices


def _run_once(store: TrialStore, run: int, label: str, options: argparse.Namespace) -> tuple[int, int]:
    """Start the graph for one run of the plan; exit status, and how many nodes had to be started again."""
    design, choice = store.plan.design, store.key().policies[label]
    node = trial_node(
        {
            "plan": str(store.folder.resolve()),
            "run": run,
            "task": design.task,
            "instruction": design.instruction,
            "time_limit": design.time_limit,
            "policy": label,
            **_recordings(options),
        }
    )
    arguments = replace(
        _graph(options), policy=choice.policy, policy_options=choice.options, task=design.task, extra=(node,)
    )
    folder = log_folder(options)
    say(f"logs: {folder}")
    outcome = run_graph(arguments, folder, options.domain)
    return outcome.status, sum(outcome.restarts.values())


def _run_report(options: argparse.Namespace) -> int:
    study = read_study(options.folder, options.blinded)
    _show(study, options)
    if options.json:
        study.to_result().write(options.json)
    return 0


def _show(study: Study, options: argparse.Namespace) -> None:
    """Write the three files, print the rates, and say where the page is."""
    write_durably(study.folder / "report.html", html_report(study))
    write_durably(study.folder / "report.md", markdown_report(study))
    study.to_result().write(study.folder / "report.json")
    print(study.report.to_text(), file=sys.stderr if options.json == "-" else sys.stdout)
    say(f"report: {study.folder / 'report.html'}")


def _finish(result: Result, options: argparse.Namespace) -> int:
    for line in result.check():
        print(line, file=sys.stderr)
    return finish(result, options)
