"""``vipa hand3d evaluate``: Hand3D-test of some checkpoints (paper Table 8, Figures 8 and 9)."""

import argparse
import sys
from pathlib import Path

from vipa.commands import Subparsers, add_command
from vipa.errors import ConfigurationError, VipaError
from vipa.result import Result


def add_evaluate(actions: Subparsers) -> None:
    """Declare ``evaluate`` among the actions of ``vipa hand3d``; its options hold ``action``, which runs it."""
    summary = "Ask checkpoints where things are, and how hands move: Table 8 of the paper, with intervals and figures"
    example = (
        "vipa hand3d evaluate --checkpoint backbone=runs/zero/backbone --checkpoint vipa=runs/one "
        "--dataset data/hand3d --out reports/hand3d --json -"
    )
    evaluate = add_command(actions, "evaluate", summary, example)
    shown = "that is asked, as FOLDER or LABEL=FOLDER; again for more, the first is what others are compared with"
    evaluate.add_argument("--checkpoint", action="append", required=True, metavar="FOLDER", help=shown)
    shown = "of the data set, whose test split is asked; again for more"
    evaluate.add_argument("--dataset", type=Path, action="append", required=True, metavar="FOLDER", help=shown)
    shown = "of the figures and answers (default: hand3d-test)"
    evaluate.add_argument("--out", type=Path, default=Path("hand3d-test"), metavar="FOLDER", help=shown)
    evaluate.add_argument("--limit", type=int, default=0, metavar="N", help="ask only N questions (default: all)")
    evaluate.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="(default: cpu)")
    evaluate.set_defaults(action=run_evaluate)


def run_evaluate(options: argparse.Namespace) -> int:
    """Run it."""
    from vipa_training.evaluation.hand3d.report import ERRORS, report

    checkpoints: dict[str, Path] = {}
    for text in options.checkpoint:
        label, separator, folder = text.partition("=")
        name = label if separator else Path(text).name
        if not name or name in checkpoints:
            raise ConfigurationError(f"--checkpoint {text}: give each a label of its own, as LABEL=FOLDER")
        checkpoints[name] = Path(folder if separator else text)
    if options.limit < 0:
        raise ConfigurationError(f"--limit {options.limit}: is negative")
    try:
        found = report(checkpoints, options.dataset, options.out, options.device, options.limit, show_progress=True)
    except ERRORS as error:
        raise VipaError(f"hand3d evaluate: {error}") from None
    print(found.table(), file=sys.stderr if options.json == "-" else sys.stdout)
    if options.json:
        Result("hand3d evaluate", True, found.figures(), details=found.details()).write(options.json)
    return 0
