"""``vipa calibrate hand``: find the ranges of the hand's six registers."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import yaml

from vipa.bringup import say
from vipa.commands import Subparsers, add_command
from vipa.errors import ConfigurationError, VipaError
from vipa.result import Result


def add_action(actions: Subparsers) -> None:
    """Declare the action."""
    summary = "Find the hand's ranges: each finger closes and opens slowly, at low force; no policy may run meanwhile"
    parser = add_command(actions, "hand", summary, "vipa calibrate hand --lab my_lab.yaml --out calibrated")
    parser.add_argument("--lab", default="simulated", help="a shipped laboratory or a YAML file (default: simulated)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", default=Path("calibrated"), help="default: calibrated/")
    parser.add_argument("--speed", type=float, default=0.25, help="share of the full speed (default: 0.25)")
    parser.add_argument("--yes", action="store_true", help="begin without asking")
    parser.set_defaults(action=calibrate_hand)


def calibrate_hand(options: argparse.Namespace) -> Result:
    """Move the hand, and write what was found.

    Raises:
        VipaError: the hand cannot be used, or a finger does not move as it should.
    """
    from calibration.hand import RangeSearch, find_ranges
    from vipa.hardware.inspire_hand import InspireHand
    from vipa.hardware.inspire_models import FINGERS
    from vipa.hashed_yaml import save
    from vipa.lab import load_lab

    hand = InspireHand(replace(load_lab(options.lab).hand, calibration=None))
    if not options.yes:
        _ask()
    hand.connect()
    try:
        ranges = find_ranges(hand, say, RangeSearch(speed=options.speed))
    except ValueError as error:
        raise VipaError(f"calibrate hand: {error}") from None
    finally:
        hand.close()
    file = options.out / "hand.yaml"
    save(file, ranges)
    figures: dict[str, float] = {}
    for finger, closed, opened in zip(FINGERS, ranges.closed, ranges.open, strict=True):
        figures |= {f"{finger}_closed": closed, f"{finger}_open": opened}
    say(f"written: {file}")
    lines = yaml.safe_dump({"hand": {"calibration": str(file)}}, default_flow_style=False)
    say(f"for the laboratory's YAML (paths there are relative to it):\n{lines}")
    return Result("calibrate hand", True, figures, details={"written": [str(file)], **ranges.residuals})


def _ask() -> None:
    if not sys.stdin.isatty():
        raise ConfigurationError("calibrate hand: the hand would move; keep clear of it and give --yes")
    say("The hand lets go of what it holds, and moves. Keep clear of it. Enter: begin; Ctrl-C: leave it")
    sys.stdin.readline()
