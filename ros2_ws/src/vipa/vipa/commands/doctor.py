"""``vipa doctor``: what is installed, reachable and in order, each line with its cure."""

import argparse
import sys
from collections import Counter
from dataclasses import asdict

from vipa.commands import Subparsers, add_command
from vipa.doctor import examine
from vipa.result import Result


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    summary = "Examine the installation, the machine and the devices of a laboratory; changes and moves nothing"
    parser = add_command(subparsers, "doctor", summary, "vipa doctor --lab /path/to/my_lab.yaml --json -")
    parser.add_argument("--lab", default="simulated", help="a shipped laboratory or a YAML file (default: simulated)")
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the subcommand; a warning leaves the exit status at 0, a failure does not."""
    checks = examine(options.lab)
    output = sys.stderr if options.json == "-" else sys.stdout
    for check in checks:
        print(check.line(), file=output)
    counts = Counter(check.status for check in checks)
    figures = {status: float(counts[status]) for status in ("ok", "warn", "fail")}
    result = Result("doctor", counts["fail"] == 0, figures, details={"checks": [asdict(check) for check in checks]})
    if options.json:
        result.write(options.json)
    return 0 if result.passed else 1
