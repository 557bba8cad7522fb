"""``vipa hand3d``: from human videos, or simulated hands, to questions about space and motions: build, look at, ask."""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from vipa.commands import Subparsers, add_command, finish, say_beside
from vipa.commands.hand3d_evaluation import add_evaluate
from vipa.errors import ConfigurationError, VipaError
from vipa.result import Result

SOURCES = "synthetic, arctic, hoi4d, fpha, h2o, oakink2, taco, dexycb, egodex, taste_rob"


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser("hand3d", help="Hand3D: videos of hands as data for spatial-aware pretraining")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    _add_build(actions)
    _add_view(actions)
    add_evaluate(actions)
    return parser


def _add_build(actions: Subparsers) -> None:
    summary = "Build a data set; the same command goes on where it was cut off"
    example = (
        "vipa hand3d build --source synthetic --clips 2000 --out data/hand3d\n"
        "  vipa hand3d build --source arctic --root data/arctic --mano mano --clips 500 --out data/hand3d-arctic"
    )
    build = add_command(actions, "build", summary, example)
    build.add_argument("--source", required=True, metavar="NAME", help=SOURCES)
    build.add_argument("--root", type=Path, metavar="FOLDER", help="of the source as it is published")
    build.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of the data set, new or begun")
    shown = "drawn by chance from all that the source has (default: all; synthetic: 200)"
    build.add_argument("--clips", type=int, default=0, metavar="N", help=shown)
    build.add_argument("--seed", type=int, default=0, metavar="S", help="of all that is drawn by chance (default: 0)")
    build.add_argument("--workers", type=int, default=os.cpu_count(), metavar="N", help="default: the cores")
    shown = "processes of this machine, or Ray (RAY_ADDRESS names a cluster whose machines share the folders)"
    build.add_argument("--engine", choices=("local", "ray"), default="local", help=shown)
    shown = "px of synthetic pictures; others are shrunk to fit in (default: 224x168)"
    build.add_argument("--image-size", default="224x168", metavar="WIDTHxHEIGHT", help=shown)
    shown = "what the source itself knows, or the spatial encoder's, scaled by the hands (default: truth)"
    build.add_argument("--pointmaps", choices=("truth", "cut3r"), default="truth", help=shown)
    shown = "for cut3r: of VIPA-VLA, or a file written by vipa_inference.converters.cut3r"
    build.add_argument("--checkpoint", type=Path, metavar="FOLDER", help=shown)
    shown = "the source's, or boxes found by name (default: annotation)"
    build.add_argument("--objects", choices=("annotation", "grounding-dino"), default="annotation", help=shown)
    build.add_argument(
        "--detector", default="", metavar="NAME", help="for grounding-dino: folder or name of its weights"
    )
    shown = "who writes questions: templates, or gemini with the key GEMINI_API_KEY (default: templates)"
    build.add_argument("--writer", choices=("templates", "gemini"), default="templates", help=shown)
    build.add_argument("--gemini-model", default="gemini-2.5-flash", metavar="NAME", help="default: gemini-2.5-flash")
    shown = "that one run may spend on Gemini, USD (default: 10)"
    build.add_argument("--gemini-budget", type=float, default=10.0, metavar="USD", help=shown)
    shown = "requests to Gemini a minute (default: 60)"
    build.add_argument("--gemini-rate", type=float, default=60.0, metavar="N", help=shown)
    build.add_argument("--mano", type=Path, metavar="FOLDER", help="of MANO's files, for sources with its parameters")
    shown = "visual items of the test, from videos of their own (default: 2000, at most 5 %% of all)"
    build.add_argument("--test", type=int, metavar="N", help=shown)
    shown = "clips of a shard, the unit of work (default: 20)"
    build.add_argument("--shard-clips", type=int, default=20, metavar="N", help=shown)
    build.add_argument(
        "--device", default="", metavar="NAME", help="of models: cpu or cuda (default: cuda if there is one)"
    )
    build.set_defaults(action=_run_build)


def _add_view(actions: Subparsers) -> None:
    summary = "Draw a clip of a data set: pictures with joints and boxes, its points, its questions"
    example = "vipa hand3d view data/hand3d --clip 000012 --out clip.png"
    view = add_command(actions, "view", summary, example)
    view.add_argument("dataset", type=Path, help="the data set's folder")
    view.add_argument("--clip", default="", metavar="NAME", help="default: the first")
    view.add_argument("--out", type=Path, metavar="FILE", help="a PNG (default: beside the data set)")
    view.set_defaults(action=_run_view)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    from vipa_training.data.errors import DatasetError

    try:
        from vipa_training.hand3d.errors import Hand3DError
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    try:
        return int(options.action(options))
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    except (Hand3DError, DatasetError) as error:
        raise VipaError(f"hand3d: {error}") from None


def _run_build(options: argparse.Namespace) -> int:
    from vipa_training.hand3d.pipeline.build import build
    from vipa_training.hand3d.pipeline.report import report

    config, places = _build_config(options), _places(options)
    built = build(config, places, max(1, options.workers), options.engine, say_beside(options), sys.stderr.isatty())
    say_beside(options)(report(built.description))
    counts = {kind: sum(found["category"].values()) for kind, found in built.description["items"].items()}
    figures: dict[str, float] = {f"{kind}_items": float(count) for kind, count in counts.items()}
    figures |= {f"clips_{name}": float(count) for name, count in built.description["clips"].items()}
    if built.clips:
        per_core = built.items_per_second
        say_beside(options)(
            f"{built.clips} clips in {built.seconds:.1f} s by {built.workers} workers: "
            f"{built.clips / built.seconds:.1f} clips/s, {per_core:.0f} samples/s per core"
        )
        figures |= {
            "seconds": built.seconds,
            "clips_per_second": built.clips / built.seconds,
            "samples_per_second_per_core": per_core,
        }
    details = {"dataset": str(options.out), "description": built.description, "workers": built.workers}
    return finish(Result("hand3d build", bool(sum(counts.values())), figures, details=details), options)


def _build_config(options: argparse.Namespace) -> Any:
    from vipa_training.hand3d.pipeline.config import BuildConfig, GeminiConfig
    from vipa_training.hand3d.sources.registry import SYNTHETIC

    try:
        width, height = (int(part) for part in options.image_size.lower().split("x"))
    except ValueError:
        raise ConfigurationError(f"hand3d build: --image-size {options.image_size}: expected 224x168") from None
    if options.root is None and options.source != SYNTHETIC:
        raise ConfigurationError(f"hand3d build: --source {options.source} needs --root, its folder")
    clips = options.clips or (200 if options.source == SYNTHETIC else 0)
    try:
        gemini = GeminiConfig(options.gemini_model, budget=options.gemini_budget, per_minute=options.gemini_rate)
        gemini = replace(gemini, url=os.environ.get("GEMINI_BASE_URL", ""))
        return BuildConfig(
            options.source,
            clips,
            options.seed,
            (height, width),
            options.pointmaps,
            options.objects,
            options.writer,
            options.test,
            options.shard_clips,
            gemini=gemini,
        )
    except ValueError as error:
        raise ConfigurationError(f"hand3d build: {error}") from None


def _places(options: argparse.Namespace) -> Any:
    from vipa_training.hand3d.pipeline.config import Places

    out = options.out
    cache = out.with_name(f"{out.resolve().name}.gemini") if options.writer == "gemini" else None
    root = options.root or Path()
    return Places(root, out, options.mano, cache, options.checkpoint, options.detector, options.device)


def _run_view(options: argparse.Namespace) -> int:
    from vipa_training.hand3d.view import draw_clip

    path = options.out or options.dataset.with_name(f"{options.dataset.resolve().name}.png")
    clip = draw_clip(options.dataset, options.clip, path)
    say_beside(options)(f"clip {clip}: {path}")
    return finish(Result("hand3d view", True, details={"clip": clip, "picture": str(path)}), options)


def _missing(error: ModuleNotFoundError) -> ConfigurationError:
    return ConfigurationError(f"hand3d: the package {error.name} is missing; pip install '.[hand3d,data]'")
