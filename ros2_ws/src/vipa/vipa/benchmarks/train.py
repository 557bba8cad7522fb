"""``vipa bench train``: how fast stage 3 trains, with kept features and without, and how long it waits for data.

With a Python that has LeRobot, its ACT is measured beside it, on the same data, at equal image size and batch.
"""

import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vipa.benchmarks.peer import PeerRun, measure_act
from vipa.errors import VipaError
from vipa.result import Bound, Result
from vipa_inference.config import PRESETS
from vipa_inference.processing import proprioception_vector
from vipa_training.data.episode import EpisodeNote, Row
from vipa_training.data.errors import DatasetError
from vipa_training.data.format import Layout
from vipa_training.data.writer import DatasetWriter
from vipa_training.engine.distributed import joined
from vipa_training.stages.parts import ENCODERS, LEARNING
from vipa_training.stages.recipes import RECIPES, Stage3Config
from vipa_training.stages.stage3 import STAGE3_ERRORS, Trained, post_train
from vipa_training.stages.start import make_start

TRAIN_BOUNDS: dict[str, Bound] = {
    "kept_data_wait_share": ("<", 0.10),
    "decoded_data_wait_share": ("<", 0.10),
    "speed_up": (">", 1.0),
}
PEER_BOUNDS: dict[str, Bound] = {"whole_data_wait_share": ("<", 0.10)}
"""Only where the peer is measured."""
IMAGE = (224, 224)  # px, height and width
FPS = 20
STEP_NS = 1_000_000_000 // FPS


@dataclass(frozen=True)
class TrainBenchmarkConfig:
    """What is measured."""

    preset: str = "nano"
    steps: int = 12  # of each kind
    warm_up: int = 3  # steps before, that do not count
    episodes: int = 4
    rows: int = 48  # of an episode
    workers: int = 1  # that decode pictures
    seed: int = 0
    peer_python: Path | None = None  # of an environment with LeRobot; None: no peer is measured

    def __post_init__(self) -> None:
        for name in ("steps", "episodes", "rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is less than 1")


def run_train_benchmark(config: TrainBenchmarkConfig, say: Callable[[str], None]) -> Result:
    """Train a few steps on pictures of noise, once with the features of the frozen encoders kept, once without.

    The latter is the baseline: the same batches, the same step, but each picture is decoded and encoded again. Beside a
    peer, whose parts all learn, a third kind is trained: "whole", where our encoders learn, too.

    Args:
        config: what is measured.
        say: tells how far it is.

    Raises:
        VipaError: the temporary folder cannot be written, or the peer cannot be measured.
    """
    recipe = RECIPES["nano"]
    recipe = replace(
        recipe,
        learning=LEARNING["stage3"],
        pictures_gb=0.0,  # else what is decoded would soon be in memory, in so small a dataset
        augmentation=replace(recipe.augmentation, share=0.0),
        optimisation=replace(recipe.optimisation, steps=config.warm_up + config.steps),
        engine=replace(recipe.engine, log_every=1, save_every=10**6, workers=config.workers, seed=config.seed),
    )
    kinds = {
        "kept": replace(recipe, features=replace(recipe.features, keep="fp32")),
        "decoded": replace(recipe, features=replace(recipe.features, keep="none")),
    }
    if config.peer_python is not None:
        kinds["whole"] = replace(kinds["decoded"], learning=(*ENCODERS, *recipe.learning))
    figures: dict[str, float] = {}
    bounds, details = TRAIN_BOUNDS, _details(config, recipe)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            say(f"writing {config.episodes} episodes")
            _write_dataset(folder / "dataset", config)
            for kind, its_recipe in kinds.items():
                say(f"training: {kind}")
                trained = _train(config, its_recipe, folder, kind)
                records = trained.records[config.warm_up :]
                figures["parameters"] = sum(part.parameters for part in trained.parts)
                figures[f"{kind}_samples_per_s"] = statistics.median(r["samples_per_s"] for r in records)
                figures[f"{kind}_data_wait_share"] = statistics.mean(r["data_wait_share"] for r in records)
            if config.peer_python is not None:
                say("training: LeRobot's ACT")
                peer = measure_act(_peer_run(config, recipe, config.peer_python), folder / "dataset", folder / "act")
                figures |= _beside(figures, peer)
                bounds, details = bounds | PEER_BOUNDS, details | {"act": peer.details}
    except (*STAGE3_ERRORS, DatasetError) as error:
        raise VipaError(f"bench train: {error}") from None
    figures["speed_up"] = figures["kept_samples_per_s"] / figures["decoded_samples_per_s"]
    return Result("bench train", True, figures, bounds, details)


def _peer_run(config: TrainBenchmarkConfig, recipe: Stage3Config, python: Path) -> PeerRun:
    return PeerRun(
        python=python,
        steps=config.warm_up + config.steps,
        warm_up=config.warm_up,
        batch=recipe.engine.batch,
        image_size=PRESETS[config.preset].semantic.image_size,
        workers=config.workers,
        seed=config.seed,
    )


def _beside(ours: Mapping[str, float], peer: Result) -> dict[str, float]:
    speed = peer.figures["samples_per_s"]
    return {
        "act_samples_per_s": speed,
        "act_data_wait_share": peer.figures["data_wait_share"],
        "act_parameters": peer.figures["parameters"],
        "whole_over_act_ratio": ours["whole_samples_per_s"] / speed,
        "kept_over_act_ratio": ours["kept_samples_per_s"] / speed,
    }


def _train(config: TrainBenchmarkConfig, recipe: Stage3Config, folder: Path, kind: str) -> Trained:
    start = make_start(config.preset, None)
    with joined(recipe.engine.device) as world:
        return post_train(start, folder / "dataset", folder / kind, recipe, world, say=lambda _: None)


def _details(config: TrainBenchmarkConfig, recipe: Stage3Config) -> dict[str, Any]:
    import torch

    height, width = IMAGE
    return {
        "baseline": "decoded: the same step without kept features",
        "step": f"stage 3 of {config.preset}, encoders frozen, {recipe.engine.precision}, batch {recipe.engine.batch}, "
        f"{recipe.draws} draws, {len(PRESETS[config.preset].views)} views",
        "kept": "features of both encoders mapped from files, read by the training process",
        "decoded": f"H.264 frames of {width}x{height} px read at random by {config.workers} worker, then both encoders",
        "whole": "as decoded, but the encoders learn, too; only beside a peer",
        "figures": f"median samples/s and mean share of waiting of {config.steps} steps after {config.warm_up}",
        "torch_threads": torch.get_num_threads(),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
    }


def _write_dataset(folder: Path, config: TrainBenchmarkConfig) -> None:
    """Episodes of an arm that moves in a circle, seen as noise that a video cannot shorten much."""
    cameras = dict.fromkeys(PRESETS[config.preset].views, IMAGE)
    chance = np.random.default_rng(config.seed)
    with DatasetWriter(folder, Layout.of_cameras(FPS, cameras)) as writer:
        for number in range(config.episodes):
            builder = writer.begin()
            for row in range(config.rows):
                images = {name: chance.integers(0, 255, (*IMAGE, 3), dtype=np.uint8) for name in cameras}
                pose, target, time_ns = _pose(row), _pose(row + 1), row * STEP_NS
                state = proprioception_vector(pose, 0.1 * np.sin(row / FPS + np.arange(7)), np.full(6, 0.5))
                exposures = dict.fromkeys(cameras, time_ns)
                builder.add(Row(time_ns, exposures, images, state, target, np.full(6, 0.5)))
            writer.add(builder.finish(EpisodeNote("follow the circle", "success", seed=number)))


def _pose(row: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[:3, 3] = 0.5 + 0.1 * np.cos(row / FPS), 0.1 * np.sin(row / FPS), 0.3
    return pose
