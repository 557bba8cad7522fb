"""The command ``vipa``: one module of ``vipa.commands`` per subcommand."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from vipa.errors import VipaError

COMMANDS = (
    "bringup",
    "doctor",
    "trial",
    "record",
    "replay",
    "teleop",
    "cell",
    "dataset",
    "hand3d",
    "train",
    "export",
    "serve",
    "calibrate",
    "bench",
)


def make_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands; each module gives its part by ``add_parser`` and is run by its ``run``."""
    parser = argparse.ArgumentParser(prog="vipa", description="Open robot stack for VIPA-VLA.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"vipa.commands.{name}")
        module.add_parser(subparsers).set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``vipa``; the exit status is 0 only where the command succeeded."""
    options = make_parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except VipaError as error:
        print(f"vipa: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe, such as `head`, has gone
        return 141


if __name__ == "__main__":
    sys.exit(main())
