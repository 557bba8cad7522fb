"""``vipa train``: the stages of training; with ``torchrun`` on many GPUs."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vipa.commands import add_command
from vipa.errors import ConfigurationError, VipaError
from vipa.result import Result

if TYPE_CHECKING:
    from vipa.commands import Subparsers
    from vipa_training.engine.metrics import Record
    from vipa_training.stages.parts import PartCount


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser("train", help="Train VIPA-VLA")
    stages = parser.add_subparsers(required=True, metavar="STAGE")
    _add_pretraining(stages)
    summary = "Post-train on demonstrations; the same command goes on where it was cut off"
    example = (
        "vipa train stage3 --preset nano --dataset data/wipe --out runs/wipe --set optimisation.steps=5000\n"
        "  torchrun --nproc-per-node 8 -m vipa.cli train stage3 --checkpoint runs/two --dataset data/wipe --out runs/w"
    )
    stage3 = add_command(stages, "stage3", summary, example)
    begin = stage3.add_mutually_exclusive_group(required=True)
    begin.add_argument("--preset", help="a size of the model, which begins with random weights: pico, nano, 2b")
    begin.add_argument("--checkpoint", type=Path, metavar="FOLDER", help="that it begins with")
    stage3.add_argument("--dataset", type=Path, required=True, metavar="FOLDER", help="of the demonstrations")
    stage3.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of the training and its checkpoint")
    shown = "fr3, libero, robocasa (of the paper), nano, libero-nano, robocasa-nano (default: by the preset)"
    stage3.add_argument("--recipe", help=shown)
    shown = 'another value of the recipe, or of the model: model.views=["front"]; again for more'
    stage3.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=shown)
    stage3.set_defaults(stage=_run_stage3)
    return parser


def _add_pretraining(stages: "Subparsers") -> None:
    summary = "Pretrain a small model in the place of public weights; the same command goes on where it was cut off"
    example = "vipa train stage0 --preset pico --dataset data/scenes --out runs/zero"
    stage0 = add_command(stages, "stage0", summary, example)
    shown = "a size of the model, which begins with random weights: pico, nano"
    stage0.add_argument("--preset", default="pico", help=f"{shown} (default: pico)")
    stage0.set_defaults(checkpoint=None)
    summary = "Let the fusion learn from Hand3D-visual; the same command goes on where it was cut off"
    example = "vipa train stage1 --checkpoint runs/zero --dataset data/hand3d --out runs/one --recipe small"
    stage1 = add_command(stages, "stage1", summary, example)
    summary = "Let fusion and language model learn motions from Hand3D-action; goes on where it was cut off"
    example = "vipa train stage2 --checkpoint runs/one --dataset data/hand3d --out runs/two --recipe small"
    stage2 = add_command(stages, "stage2", summary, example)
    for stage in (stage1, stage2):
        stage.add_argument("--checkpoint", type=Path, required=True, metavar="FOLDER", help="that it begins with")
        stage.set_defaults(preset="")
    for number, stage in enumerate((stage0, stage1, stage2)):
        shown = "of a Hand3D data set; again for more"
        stage.add_argument("--dataset", type=Path, action="append", required=True, metavar="FOLDER", help=shown)
        shown = "of the training and its checkpoint"
        stage.add_argument("--out", type=Path, required=True, metavar="FOLDER", help=shown)
        recipes = "small" if not number else "paper or small"
        stage.add_argument("--recipe", default="" if number else "small", help=f"{recipes} (default: by the size)")
        shown = "another value of the recipe, or of the model: model.fusion.alpha=0.3; again for more"
        stage.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=shown)
        stage.set_defaults(stage=_run_pretraining, number=number)


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
    from vipa_training.stages.recipes import RECIPES, model_options
    from vipa_training.stages.stage3 import STAGE3_ERRORS, post_train
    from vipa_training.stages.start import make_start

    name = options.recipe or (options.preset if options.preset in RECIPES else "fr3")
    try:
        if name not in RECIPES:
            raise TrainingError(f"recipe {name}: unknown; known: {', '.join(RECIPES)}")
        said = [pair.removeprefix("model.") for pair in options.set if pair.startswith("model.")]
        config = overridden(RECIPES[name], [pair for pair in options.set if not pair.startswith("model.")], "stage3")
        start = make_start(options.preset or "", options.checkpoint, model_options(name, said))
        with joined(config.engine.device) as world:
            trained = post_train(start, options.dataset, options.out, config, world, _say, show_progress=True)
    except STAGE3_ERRORS as error:
        raise VipaError(f"train stage3: {error}") from None
    except KeyboardInterrupt:
        _say("ended; the same command goes on from the last state that was written")
        raise
    figures = {"rows": float(trained.rows), "first_step": float(trained.first_step)}
    details: dict[str, object] = {"features": trained.features, "statistics": trained.statistics_hash}
    return _tell("stage3", name, options, trained.records, trained.parts, figures, details)


def _run_pretraining(options: argparse.Namespace) -> int:
    from vipa_training.engine.config import overridden
    from vipa_training.engine.distributed import joined
    from vipa_training.engine.errors import TrainingError
    from vipa_training.stages.pretraining import PRETRAINING_ERRORS
    from vipa_training.stages.recipes import STAGE0_RECIPES, STAGE1_RECIPES, STAGE2_RECIPES
    from vipa_training.stages.stage0 import prepare
    from vipa_training.stages.stage1 import align
    from vipa_training.stages.stage2 import learn_motions
    from vipa_training.stages.start import make_start

    stage = f"stage{options.number}"
    recipes = (STAGE0_RECIPES, STAGE1_RECIPES, STAGE2_RECIPES)[options.number]
    of_model = [pair.removeprefix("model.") for pair in options.set if pair.startswith("model.")]
    of_recipe = [pair for pair in options.set if not pair.startswith("model.")]
    try:
        start = make_start(options.preset, options.checkpoint, of_model)
        name = options.recipe or ("paper" if start.config.name == "2b" else "small")
        if name not in recipes:
            raise TrainingError(f"recipe {name}: unknown; known: {', '.join(recipes)}")
        config = overridden(recipes[name], of_recipe, stage)
        with joined(config.engine.device) as world:
            train = (prepare, align, learn_motions)[options.number]
            trained = train(start, options.dataset, options.out, config, world, _say, show_progress=True)
    except PRETRAINING_ERRORS as error:
        raise VipaError(f"train {stage}: {error}") from None
    except KeyboardInterrupt:
        _say("ended; the same command goes on from the last state that was written")
        raise
    figures = {"items": float(trained.items), "steps": float(trained.steps), "first_step": float(trained.first_step)}
    return _tell(stage, name, options, trained.records, trained.parts, figures, {})


def _tell(
    stage: str,
    recipe: str,
    options: argparse.Namespace,
    records: "Sequence[Record]",
    parts: "Sequence[PartCount]",
    figures: dict[str, float],
    details: dict[str, object],
) -> int:
    """Print and write the result, in the first process only."""
    if int(os.environ.get("RANK", "0")):
        return 0
    if records:
        figures = figures | records[-1] | {"loss_first": records[0]["loss"]}
    counts = {part.name: {"parameters": part.parameters, "learning": part.learning} for part in parts}
    details = {"out": str(options.out), "recipe": recipe, "parts": counts, **details}
    result = Result(f"train {stage}", True, figures, details=details)
    print(result.report(), file=sys.stderr if options.json == "-" else sys.stdout)
    if options.json:
        result.write(options.json)
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr)
