"""``python -m vipa_training.evaluation.robocasa``: a served policy in RoboCasa's 24 atomic tasks."""

import argparse
import sys

from vipa_training.evaluation.robocasa.benchmark import Kitchens
from vipa_training.evaluation.robocasa.settings import RobocasaConfig
from vipa_training.evaluation.robosuite import command


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    default = RobocasaConfig()
    parser = command.make_parser("robocasa", "A served policy in RoboCasa.", default)
    parser.add_argument("--tasks", nargs="+", default=[], metavar="NAME", help="default: all 24")
    parser.add_argument(
        "--cameras",
        nargs="+",
        default=list(default.cameras),
        metavar="NAME",
        help="names of the left, right and wrist camera for the policy (default: left right wrist)",
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Evaluate; exit status 1 if that is not possible or was interrupted, 2 if an option makes no sense."""
    return command.evaluate("robocasa", make_parser(), arguments, RobocasaConfig, Kitchens)


if __name__ == "__main__":
    sys.exit(main())
