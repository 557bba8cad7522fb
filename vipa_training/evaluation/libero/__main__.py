"""``python -m vipa_training.evaluation.libero``: a served policy in a suite of LIBERO."""

import argparse
import sys

from vipa_training.evaluation.libero.benchmark import Suite
from vipa_training.evaluation.libero.settings import MAX_STEPS, LiberoConfig
from vipa_training.evaluation.robosuite import command


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    default = LiberoConfig()
    parser = command.make_parser("libero", "A served policy in LIBERO.", default)
    parser.add_argument("--suite", default=default.suite, choices=MAX_STEPS, help="(default: %(default)s)")
    parser.add_argument("--tasks", type=int, nargs="+", default=[], metavar="N", help="numbers from 0 (default: all)")
    parser.add_argument("--settle-steps", type=int, default=default.settle_steps, help="(default: %(default)s)")
    parser.add_argument(
        "--cameras",
        nargs="+",
        default=list(default.cameras),
        metavar="NAME",
        help="names of LIBERO's agentview and wrist for the policy (default: agentview wrist); one: a single view",
    )
    parser.add_argument(
        "--rotate-pictures", action="store_true", help="by 180 degrees, for policies that were trained on such"
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Evaluate; exit status 1 if that is not possible or was interrupted, 2 if an option makes no sense."""
    return command.evaluate("libero", make_parser(), arguments, LiberoConfig, Suite)


if __name__ == "__main__":
    sys.exit(main())
