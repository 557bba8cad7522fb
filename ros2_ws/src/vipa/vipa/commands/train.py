"""``vipa train``: the stages of training; with ``torchrun`` on many GPUs."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vipa.commands import add_command
from vipa.errors import ConfigurationError, VipaError
from vipa.result import Result

if TYPE_CHECKING:
    from vipa.commands import Subparsers


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser("train", help="Train VIPA-VLA")
    stages = parser.add_subparsers(required=True, metavar="STAGE")
    summary = "Post-train on demonstrations; the same command goes on where it was cut off"
    example = (
        "vipa train stage3 --preset nano --dataset data/wipe --out runs/wipe --set optimisation.steps=5000\n"
        "  torchrun --nproc-per-node 8 -m vipa.cli train stage3 --checkpoint runs/two --dataset data/wipe --out runs/w"
    )
    stage3 = add_command(stages, "stage3", summary, example)
    begin = stage3.add_mutually_exclusive_group(required=True)
    begin.add_argument("--preset", help="a size of the model, which begins with random weights: nano, 2b")
    begin.add_argument("--checkpoint", type=Path, metavar="FOLDER", help="that it begins with")
    stage3.add_argument("--dataset", type=Path, required=True, metavar="FOLDER", help="of the demonstrations")
    stage3.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of the training and its checkpoint")
    shown = "fr3, libero, robocasa (of the paper) or nano (default: nano for that preset, else fr3)"
    stage3.add_argument("--recipe", help=shown)
    shown = 'another value of the recipe, or of the model: model.views=["front"]; again for more'
    stage3.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=shown)
    stage3.set_defaults(stage=_run_stage3)
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    try:
        return int(options.stage(options))
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"train: the package {error.name} is missing; pip install '.[train,data]'") from None


def _run_stage3(options: argparse.Namespace) -> int:
    from vipa_training.engine.config import overridden
    from vipa_training.engine.distributed import joined
    from vipa_training.engine.errors import TrainingError
    from vipa_training.stages.recipes import RECIPES
    from vipa_training.stages.stage3 import STAGE3_ERRORS, post_train
    from vipa_training.stages.start import make_start

    name = options.recipe or (options.preset if options.preset in RECIPES else "fr3")
    try:
        if name not in RECIPES:
            raise TrainingError(f"recipe {name}: unknown; known: {', '.join(RECIPES)}")
        of_model = [pair.removeprefix("model.") for pair in options.set if pair.startswith("model.")]
        config = overridden(RECIPES[name], [pair for pair in options.set if not pair.startswith("model.")], "stage3")
        start = make_start(options.preset or "", options.checkpoint, of_model)
        with joined(config.engine.device) as world:
            trained = post_train(start, options.dataset, options.out, config, world, _say, show_progress=True)
    except STAGE3_ERRORS as error:
        raise VipaError(f"train stage3: {error}") from None
    except KeyboardInterrupt:
        _say("ended; the same command goes on from the last state that was written")
        raise
    if int(os.environ.get("RANK", "0")):
        return 0
    last = trained.records[-1] if trained.records else {}
    figures = {"rows": float(trained.rows), "first_step": float(trained.first_step), **last}
    if trained.records:
        figures["loss_first"] = trained.records[0]["loss"]
    details = {
        "out": str(options.out),
        "recipe": name,
        "features": trained.features,
        "statistics": trained.statistics_hash,
        "parts": {part.name: {"parameters": part.parameters, "learning": part.learning} for part in trained.parts},
    }
    result = Result("train stage3", True, figures, details=details)
    print(result.report(), file=sys.stderr if options.json == "-" else sys.stdout)
    if options.json:
        result.write(options.json)
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr)
