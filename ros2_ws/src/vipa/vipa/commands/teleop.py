"""``vipa teleop``: an operator drives the arm and the hand of a graph that runs already."""

import argparse
import signal
import subprocess
import sys
from pathlib import Path

import yaml

from vipa.bringup import new_log_folder
from vipa.commands import Subparsers, add_command
from vipa.commands.client import add_domain, client_environment
from vipa.environment import repository_folder
from vipa.errors import ConfigurationError
from vipa.graph import teleop_beside
from vipa.policy_options import options_from_pairs, policy_options_text
from vipa.result import Result
from vipa.teleop.sources import SOURCES


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    summary = "Drive the arm and the hand of a running graph with a device; Ctrl-C ends it"
    parser = add_command(subparsers, "teleop", summary, "vipa teleop --source gamepad --lab simulated")
    parser.add_argument("--source", choices=tuple(SOURCES), default="keyboard", help="device (default: keyboard)")
    parser.add_argument("--file", type=Path, help="of the source scripted: commands and their times, YAML or JSON")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of the source's configuration, VALUE being JSON or text; may be given several times",
    )
    parser.add_argument("--instruction", default="", help="what the operator does, noted in the chunks")
    parser.add_argument("--lab", default="simulated", help="a shipped laboratory or a YAML file (default: simulated)")
    add_domain(parser)
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="where logs go (default: logs/ in the repository)")
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    node = teleop_beside(options.lab, options.source, _source_options(options), options.instruction)
    folder = new_log_folder(options.logs if options.logs is not None else repository_folder() / "logs")
    parameters = folder / "teleop.yaml"
    parameters.write_text(yaml.safe_dump({"/**": {"ros__parameters": dict(node.parameters)}}), encoding="utf-8")
    command = [sys.executable, "-m", node.module, "--ros-args", "-r", f"__node:={node.name}",
               "--params-file", str(parameters)]  # fmt: skip
    process = subprocess.Popen(command, env=client_environment(options.domain))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the node, too, which ends in order
    try:
        status = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    result = Result("teleop", status == 0, details={"source": options.source, "exit_status": status})
    if options.json:
        result.write(options.json)
    return 0 if result.passed else 1


def _source_options(options: argparse.Namespace) -> str:
    """The options of the source, with its file, as JSON."""
    given = options_from_pairs(options.option)
    if (options.file is not None) != (options.source == "scripted"):
        raise ConfigurationError("teleop: the source scripted needs --file, and no other source has one")
    if options.file is not None:
        given["file"] = str(options.file.resolve())
    return policy_options_text(given)
