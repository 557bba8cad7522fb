"""``vipa bringup``: start the laboratory and the whole graph, and keep them running."""

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path

from vipa.benchmarks.loop import SIMULATED_SMOKE_BOUNDS, SMOKE_BOUNDS
from vipa.bringup import new_log_folder, run_graph, say
from vipa.commands import Subparsers, add_command
from vipa.environment import repository_folder
from vipa.graph import GraphArguments, monitor_node
from vipa.lab import load_lab
from vipa.policy_options import options_from_pairs, policy_options_text
from vipa.result import Bound, Result
from vipa.trials.referee import OPERATOR_TASKS


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    summary = "Start the laboratory, if it is simulated, and the whole ROS graph; Ctrl-C stops everything in order"
    parser = add_command(subparsers, "bringup", summary, "vipa bringup --lab simulated --policy scripted --smoke 60")
    add_graph_options(parser)
    add_recorder_options(parser)
    parser.add_argument(
        "--smoke",
        type=seconds,
        metavar="SECONDS",
        help="run for so long (ROS time), measure, stop, and judge the figures",
    )
    return parser


def add_graph_options(parser: argparse.ArgumentParser) -> None:
    """The options of every command that starts the graph."""
    parser.add_argument("--lab", default="simulated", help="a shipped laboratory or a YAML file (default: simulated)")
    add_policy_options(parser)
    parser.add_argument("--task", default="reach", help="scene of the simulated laboratory (default: reach)")
    parser.add_argument("--seed", type=int, default=0, help="of the simulated scene (default: 0)")
    parser.add_argument("--console", action="store_true", help="with the operator's web page")
    parser.add_argument("--instruction", default="", help="what the policy is told to do")
    parser.add_argument("--domain", type=domain, metavar="ID", help="ROS domain (default: ROS_DOMAIN_ID, else 0)")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="where logs go (default: logs/ in the repository)")


def add_recorder_options(parser: argparse.ArgumentParser) -> None:
    """The options of every command whose graph may have the recorder."""
    parser.add_argument("--record", action="store_true", help="with the recorder")
    parser.add_argument("--recordings", default="", metavar="FOLDER", help="of episodes (default: recordings/)")
    shown = "record colour as it is, not as JPEG, so that replays can agree in every bit; takes more space"
    parser.add_argument("--lossless", action="store_true", help=shown)


def recorder_options(options: argparse.Namespace) -> str:
    """What the options of ``add_recorder_options`` say of the recorder's configuration."""
    return policy_options_text({"jpeg_quality": 0} if options.lossless else {})


def add_policy_options(parser: argparse.ArgumentParser) -> None:
    """The options of every command that needs a policy."""
    parser.add_argument("--policy", default="scripted", help="which policy decides on actions (default: scripted)")
    parser.add_argument(
        "--policy-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of the policy's configuration, VALUE being JSON or text; may be given several times",
    )


MODELS = ("vipa", "remote")
"""Policies that do nothing without an instruction."""


def graph_arguments(options: argparse.Namespace) -> GraphArguments:
    """The graph that the options of ``add_graph_options`` ask for."""
    return GraphArguments(
        lab=options.lab,
        policy=options.policy,
        policy_options=policy_options_text(options_from_pairs(options.policy_option)),
        task=options.task,
        seed=options.seed,
        console=options.console,
        instruction=options.instruction or _usual_instruction(options.lab, options.policy, options.task),
    )


def _usual_instruction(lab: str, policy: str, task: str) -> str:
    """What a model is told where nothing is said: in the simulated laboratory the task's instruction, else nothing."""
    if policy not in MODELS or task not in OPERATOR_TASKS or not load_lab(lab).simulated:
        return ""
    return OPERATOR_TASKS[task].instruction


def log_folder(options: argparse.Namespace) -> Path:
    """A new folder for the logs of this run."""
    return new_log_folder(options.logs if options.logs is not None else repository_folder() / "logs")


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    arguments = replace(
        graph_arguments(options),
        record=options.record,
        recordings=options.recordings,
        recorder_options=recorder_options(options),
    )
    folder = log_folder(options)
    measured = folder / "monitor.json"
    if options.smoke is not None:
        arguments = replace(arguments, extra=(monitor_node(options.smoke, str(measured)),))
    say(f"logs: {folder}")
    outcome = run_graph(arguments, folder, options.domain)
    details = {"logs": str(folder), "restarts": dict(outcome.restarts), "exit_status": outcome.status}
    figures = {"node_restarts": float(sum(outcome.restarts.values()))}
    result = Result("bringup", outcome.status == 0, figures, details=details)
    if options.smoke is not None:
        result = _with_measurement(result, measured, load_lab(options.lab).simulated)
        print(result.report(), file=sys.stderr if options.json == "-" else sys.stdout)
    if options.json:
        result.write(options.json)
    return 0 if result.passed else outcome.status or 1


def _with_measurement(result: Result, path: Path, simulated: bool) -> Result:
    """The result with what the monitor wrote; where it wrote nothing, every bound is broken."""
    measured = Result.read(path) if path.is_file() else Result("monitor", ok=False)
    bounds: dict[str, Bound] = {**SMOKE_BOUNDS, **(SIMULATED_SMOKE_BOUNDS if simulated else {})}
    return replace(
        result,
        ok=result.ok and measured.ok,
        figures={**measured.figures, **result.figures},
        bounds={**bounds, "node_restarts": ("==", 0.0)},
        details={**measured.details, **result.details},
    )


def seconds(text: str) -> float:
    """A duration on the command line: a positive number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return value


def domain(text: str) -> int:
    """A ROS domain on the command line."""
    if not text.isdigit() or int(text) > 232:
        raise argparse.ArgumentTypeError(f"{text} is not a ROS domain (0 to 232)")
    return int(text)
