"""``vipa bench``: measurements of the running stack, as JSON."""

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from vipa.benchmarks.loop import LOOP_BOUNDS, SIMULATED_SMOKE_BOUNDS, SMOKE_BOUNDS
from vipa.bringup import run_graph, say
from vipa.commands import add_command
from vipa.commands.bringup import add_graph_options, graph_arguments, log_folder, seconds
from vipa.graph import monitor_node
from vipa.lab import load_lab
from vipa.result import Result

if TYPE_CHECKING:
    from vipa.commands import Subparsers


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser("bench", help="Measure the running stack")
    benchmarks = parser.add_subparsers(required=True, metavar="BENCHMARK")
    summary = "Measure the loop from exposure to command, its jitter, dropped frames and lost packets"
    loop = add_command(benchmarks, "loop", summary, "vipa bench loop --seconds 60 --json -")
    add_graph_options(loop)
    loop.add_argument("--seconds", type=seconds, default=60.0, help="of ROS time (default: 60)")
    loop.set_defaults(benchmark=run_loop)
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    return int(options.benchmark(options))


def run_loop(options: argparse.Namespace) -> int:
    """Run ``vipa bench loop``."""
    folder = log_folder(options)
    measured = folder / "monitor.json"
    monitor = monitor_node(options.seconds, str(measured), images=True)
    say(f"logs: {folder}")
    outcome = run_graph(replace(graph_arguments(options), extra=(monitor,)), folder, options.domain)
    figures = Result.read(measured)
    bounds = {**SMOKE_BOUNDS, **LOOP_BOUNDS, **(SIMULATED_SMOKE_BOUNDS if load_lab(options.lab).simulated else {})}
    result = Result("bench loop", outcome.status == 0 and figures.ok, figures.figures, bounds, figures.details)
    print(result.report(), file=sys.stderr if options.json == "-" else sys.stdout)
    if options.json:
        result.write(options.json)
    return 0 if result.passed else 1
