"""Stage 3, post-training: language model and action head learn from demonstrations (paper Sec. 3.3, 4.1)."""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor
from tqdm import tqdm

from vipa_inference.checkpoint import Checkpoint, load_checkpoint
from vipa_inference.config import VipaVlaConfig
from vipa_inference.model.vipa_vla import VipaVla
from vipa_inference.policy import PolicyError
from vipa_inference.processing import Processor
from vipa_inference.statistics import Statistics
from vipa_inference.tokenizers import TOKENIZER_FILE, make_tokenizer
from vipa_training.data.errors import DatasetError
from vipa_training.data.reader import Dataset
from vipa_training.engine.distributed import World
from vipa_training.engine.errors import TrainingError
from vipa_training.engine.folder import held
from vipa_training.engine.loader import Batch
from vipa_training.engine.loop import Loop, Task
from vipa_training.engine.metrics import Record
from vipa_training.stages.demonstrations import (
    READ_ERRORS,
    DemonstrationSamples,
    Rows,
    check_cameras,
    check_instructions,
    read_rows,
)
from vipa_training.stages.features import FeatureStore, compute_features, kept_as, store_gb
from vipa_training.stages.optimisation import post_training_groups
from vipa_training.stages.parts import ENCODERS, PartCount, accounting, blocks_of, count_parts, let_learn
from vipa_training.stages.recipes import Stage3Config
from vipa_training.stages.start import Start, make_model, save_trained
from vipa_training.stages.vocabulary import learn_tokenizer

T = TypeVar("T")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """What a training did.

    Attributes:
        first_step: where it began, or went on.
        records: figures of every few steps, also of earlier runs.
        parts: of the model.
        rows: of the dataset.
        statistics_hash: of the dataset's statistics.
        features: "fp32", "fp16" or "none": how features were kept.
    """

    first_step: int
    records: list[Record]
    parts: list[PartCount]
    rows: int
    statistics_hash: str
    features: str


def post_train(
    start: Start,
    dataset_folder: Path,
    out: Path,
    config: Stage3Config,
    world: World,
    say: Say = print,
    show_progress: bool = False,
) -> Trained:
    """Post-train, or go on where a post-training with the same options was cut off.

    Args:
        start: what it begins with.
        dataset_folder: of the demonstrations.
        out: of the training; its checkpoint is there, too.
        config: how.
        world: the processes.
        say: tells what is done; in the first process only.
        show_progress: on standard error.

    Raises:
        TrainingError, PolicyError, DatasetError: something is wrong; the message says what, in one line.
    """
    say = say if world.is_first else _nothing
    if start.config.frames != 1:
        raise TrainingError(f"model.frames: {start.config.frames}: post-training is done on single frames. Say 1")
    with Dataset(dataset_folder) as dataset:
        check_cameras(dataset, start.config.views)
        rows = read_rows(dataset, start.config.action.horizon, start.config.step_period)
        check_instructions(dataset, rows)
        begun = load_checkpoint(start.checkpoint) if start.checkpoint else None
        statistics = _statistics(begun, rows) if config.keep_statistics else rows.statistics()
        model = make_model(start, begun, config.engine.seed)
        let_learn(model, config.learning)
        parts = count_parts(model)
        say(f"{len(dataset.episodes)} episodes, {len(rows.row)} rows, {len(dataset.tasks)} instructions")
        say(accounting(parts))
        kind = _feature_kind(config, start.config, len(rows.row), say)
        description = _description(start, begun, dataset, rows, statistics, config)
        with held(out, description, world):
            model.to(world.device)
            tokenizer = make_tokenizer(start.config.language, _tokenizer_folder(start, dataset.tasks, out, world))
            processor = Processor(start.config, statistics, tokenizer)
            features = _features(model, processor, dataset, kind, config, world, show_progress)
            share_gb = config.pictures_gb / max(config.engine.workers, 1)
            samples = DemonstrationSamples(
                dataset, rows, processor, config.draws, config.engine.seed, config.augmentation, features, share_gb
            )
            task = Task(
                model=model,
                groups=lambda: post_training_groups(model, config.optimisation),
                optimisation=config.optimisation,
                samples=samples,
                loss=lambda batch: flow_loss(model, batch, config.draws),
                save=lambda tensors: save_trained(out, tensors, start, statistics.to_mapping()),
                methods=("action_loss",),
                blocks=blocks_of(model),
                errors=READ_ERRORS,
            )
            engine = config.engine
            if features is not None and world.device.type == "cpu":
                engine = replace(engine, workers=0)  # reading them takes less than a worker's copy of them
            loop = Loop(task, engine, out, world, f"Post-training of {start.config.name}: {out.name}")
            if loop.first_step:
                say(f"goes on at step {loop.first_step} of {config.optimisation.steps}")
            loop.run(show_progress)
    return Trained(loop.first_step, loop.records, parts, len(rows.row), statistics.hash, kind)


def flow_loss(model: VipaVla, batch: Batch, draws: int) -> Tensor:
    """The flow-matching loss of a batch that ``DemonstrationSamples`` made."""
    return model.action_loss(
        batch, batch["actions"], batch["weight"], batch["prefix"], draws, batch["noise"], batch["tau"]
    )


def _tokenizer_folder(start: Start, instructions: Sequence[str], out: Path, world: World) -> Path | None:
    """Where the tokenizer has its file: a preset learns it from the instructions, of which each word becomes an id."""
    if start.checkpoint is None and start.config.language.tokenizer == "qwen":
        if world.is_first:
            words = {word for instruction in instructions for word in re.findall(r"\w+", instruction)}
            learn_tokenizer(instructions, words, start.config.language, out / TOKENIZER_FILE)
        world.wait()
        return out
    return start.checkpoint


def _statistics(begun: Checkpoint | None, rows: Rows) -> Statistics:
    if begun is None or begun.statistics is None:
        raise TrainingError("keep_statistics: there is no checkpoint with statistics to begin with. Say false")
    return Statistics.from_mapping(begun.statistics, "keep_statistics")


def _feature_kind(config: Stage3Config, model: VipaVlaConfig, rows: int, say: Say) -> str:
    wanted = config.features.keep
    learning = [part for part in ENCODERS if part in config.learning]
    reason = f"{learning[0]} learns" if learning else "pictures are augmented" if config.augmentation.share else ""
    if reason:
        if wanted in {"fp32", "fp16"}:
            raise TrainingError(f"features.keep: {wanted}: features cannot be kept, for {reason}. Say none")
        say(f"features: not kept, for {reason}")
        return "none"
    kind = kept_as(config.features, model, rows)
    if kind == "none":
        needed = store_gb(model, rows, "fp16")
        say("features: not kept" if wanted == "none" else f"features: not kept, for they would take {needed:.0f} GB")
    else:
        say(f"features: kept in {kind}, {store_gb(model, rows, kind):.2f} GB")
    return kind


def _features(
    model: VipaVla,
    processor: Processor,
    dataset: Dataset,
    kind: str,
    config: Stage3Config,
    world: World,
    show_progress: bool,
) -> FeatureStore | None:
    if kind == "none":
        return None
    name = config.features.folder
    folder = Path(name).expanduser() if name else dataset.root.with_name(f"{dataset.root.resolve().name}.features")

    def progress(episodes: Iterable[T]) -> Iterable[T]:
        return tqdm(episodes, "features", unit="episode", leave=False, disable=not (show_progress and world.is_first))

    return compute_features(model, processor, dataset, folder, kind, world, progress)


def _description(
    start: Start, begun: Checkpoint | None, dataset: Dataset, rows: Rows, statistics: Statistics, config: Stage3Config
) -> dict[str, Any]:
    digest = hashlib.sha256()
    for array in (rows.state, rows.actions, rows.inside, rows.task, rows.episode):
        digest.update(array.tobytes())
    return {
        "stage": "stage3",
        **dataclasses.asdict(config),
        "model": dataclasses.asdict(start.config),
        "begin": None if begun is None else begun.weights_hash,
        "dataset": {"folder": str(dataset.root.resolve()), "rows": len(rows.row), "sha256": digest.hexdigest()},
        "statistics": statistics.hash,
    }


def _nothing(_: str) -> None:
    """Say nothing."""


STAGE3_ERRORS = (TrainingError, PolicyError, DatasetError)
"""What ``post_train`` raises."""
