"""The subcommands of ``vipa``: each module has ``add_parser(subparsers)`` and ``run(options) -> exit status``."""

import argparse
import sys
from collections.abc import Callable
from typing import Any, Protocol

from vipa.result import Result


class Subparsers(Protocol):
    """What ``ArgumentParser.add_subparsers`` gives."""

    def add_parser(self, name: str, **options: Any) -> argparse.ArgumentParser:
        """Add the parser of one subcommand."""
        ...


def add_command(subparsers: Subparsers, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    """A subcommand's parser with what all of them have: an example in the help, and ``--json``."""
    parser = subparsers.add_parser(
        name,
        help=summary,
        description=f"{summary}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shown = "also write the result as JSON; '-' or nothing: to standard output"
    parser.add_argument("--json", metavar="FILE", nargs="?", const="-", help=shown)
    return parser


def say_beside(options: argparse.Namespace) -> Callable[[str], None]:
    """Prints lines for a person: to standard output, or to standard error where ``--json -`` takes that."""
    output = sys.stderr if options.json == "-" else sys.stdout
    return lambda line: print(line, file=output)


def finish(result: Result, options: argparse.Namespace) -> int:
    """Write a result where ``--json`` wants it; the exit status."""
    if options.json:
        result.write(options.json)
    return 0 if result.passed else 1
