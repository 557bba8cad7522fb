"""``vipa trial``: run trials of a task through the whole graph, and report their results."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vipa.bringup import run_graph, say
from vipa.commands import add_command
from vipa.commands.bringup import add_graph_options, graph_arguments, log_folder
from vipa.graph import trial_node
from vipa.result import Result
from vipa.trials.report import summarise
from vipa.trials.result import TrialLog
from vipa_inference.policy import HOLD_INSTRUCTION

if TYPE_CHECKING:
    from vipa.commands import Subparsers


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Declare the subcommand."""
    summary = "Run trials of a task through the whole graph and print the report"
    parser = add_command(subparsers, "trial", summary, "vipa trial --task reach --trials 3 --seed 7")
    add_graph_options(parser)
    parser.add_argument(
        "--trials", type=int, default=1, metavar="N", help="how many, with consecutive seeds (default: 1)"
    )
    parser.add_argument("--variant", default="seen", help="set-up of the scene (default: seen)")
    parser.add_argument("--time-limit", type=float, default=0.0, metavar="SECONDS", help="0: the task's own (default)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="append results here (default: in the folder of logs)")
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the subcommand; the exit status is 0 where every trial was run to its end and at least one succeeded."""
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
        }
    )
    arguments = replace(graph_arguments(options), instruction=HOLD_INSTRUCTION, extra=(node,))
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
    for line in result.check():
        print(line, file=sys.stderr)
    if options.json:
        result.write(options.json)
    return 0 if result.passed else 1
