"""What stages 1 and 2 share: a model learns to answer from a Hand3D data set (paper Sec. 3.2.3, 4.1)."""

import dataclasses
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from vipa_inference.checkpoint import load_checkpoint
from vipa_inference.model.vipa_vla import VipaVla
from vipa_inference.policy import PolicyError
from vipa_inference.tokenizers import make_tokenizer
from vipa_training.engine.distributed import World
from vipa_training.engine.errors import TrainingError
from vipa_training.engine.folder import held
from vipa_training.engine.loop import Loop, Task
from vipa_training.engine.metrics import Record
from vipa_training.hand3d.dataset import ActionItems, VisualItems
from vipa_training.hand3d.errors import Hand3DError
from vipa_training.stages.conversations import ConversationEncoder, answer_loss
from vipa_training.stages.hand3d_samples import READ_ERRORS, Encode, Hand3DSamples, groups_of
from vipa_training.stages.optimisation import OptimisationConfig, post_training_groups
from vipa_training.stages.parts import ENCODERS, PartCount, accounting, blocks_of, count_parts, let_learn
from vipa_training.stages.recipes import PretrainingConfig
from vipa_training.stages.start import Start, make_model, save_trained

MOST_IMAGES = 4  # of a question


@dataclass(frozen=True)
class Pretrained:
    """What a training did.

    Attributes:
        first_step: where it began, or went on.
        steps: in all.
        records: figures of every few steps, also of earlier runs.
        parts: of the model.
        items: of the data set.
    """

    first_step: int
    steps: int
    records: list[Record]
    parts: list[PartCount]
    items: int


def pretrain(
    stage: str,
    start: Start,
    items: VisualItems | ActionItems,
    out: Path,
    config: PretrainingConfig,
    world: World,
    say: Callable[[str], None] = print,
    show_progress: bool = False,
) -> Pretrained:
    """Train, or go on where a training with the same options was cut off.

    Args:
        stage: "stage1" or "stage2", which adds the motion tokens.
        start: what it begins with.
        items: what is learned from.
        out: of the training; its checkpoint is there, too.
        config: how.
        world: the processes.
        say: tells what is done; in the first process only.
        show_progress: on standard error.

    Raises:
        TrainingError, PolicyError, Hand3DError: something is wrong; the message says what, in one line.
    """
    say = say if world.is_first else _nothing
    if stage == "stage2" and config.turns > 1:
        raise TrainingError(
            f"turns: {config.turns}: tasks about one picture share a motion, which would be copied. Say 1"
        )
    if not len(items):
        raise TrainingError("dataset: holds no item for training")
    begun = load_checkpoint(start.checkpoint) if start.checkpoint else None
    encoder = ConversationEncoder(start.config, make_tokenizer(start.config.language, start.checkpoint))
    model = make_model(start, begun, config.engine.seed)
    if stage == "stage2":
        model.add_motion_tokens()
    let_learn(model, config.learning)
    parts = count_parts(model)
    if not any(part.learning for part in parts):
        raise TrainingError(
            f"learning: the model has no {' and no '.join(config.learning)}, so nothing would learn. "
            'Without a spatial encoder say learning=["language_model"]'
        )
    optimisation = optimisation_of(config, len(groups_of(items, config.turns)))
    identifiers = [str(name) for name in items.column("id")]
    say(f"{len(items)} items, {optimisation.steps} steps of {config.engine.batch}")
    say(accounting(parts))
    description = {
        "stage": stage,
        **dataclasses.asdict(replace(config, optimisation=optimisation)),
        "model": dataclasses.asdict(start.config),
        "begin": None if begun is None else begun.weights_hash,
        "dataset": {"items": len(items), "sha256": hashlib.sha256("\n".join(identifiers).encode()).hexdigest()},
    }
    with held(out, description, world):
        model.to(world.device)
        features = _features(model, config, world)
        filled = MOST_IMAGES if world.processes > 1 and stage == "stage1" else None
        task = Task(
            model=model,
            groups=lambda: post_training_groups(model, optimisation),
            optimisation=optimisation,
            samples=Hand3DSamples(items, encoder, config.turns, config.engine.seed, features, filled),
            loss=lambda batch: answer_loss(model, batch),
            save=lambda tensors: save_trained(out, tensors, start, begun and begun.statistics),
            methods=("encode_images", "image_tokens", "logits"),
            blocks=blocks_of(model),
            errors=READ_ERRORS,
        )
        engine = replace(config.engine, workers=0) if features else config.engine
        loop = Loop(task, engine, out, world, f"{stage} of {start.config.name}: {out.name}")
        if loop.first_step:
            say(f"goes on at step {loop.first_step} of {optimisation.steps}")
        try:
            loop.run(show_progress)
        except ValueError as error:  # an item that does not fit the model
            raise TrainingError(str(error)) from None
    return Pretrained(loop.first_step, optimisation.steps, loop.records, parts, len(items))


def optimisation_of(config: PretrainingConfig, samples: int) -> OptimisationConfig:
    """The optimisation with the steps that the epochs take, where these are given."""
    if not config.epochs:
        return config.optimisation
    return replace(config.optimisation, steps=max(1, math.ceil(config.epochs * samples / config.engine.batch)))


def _features(model: VipaVla, config: PretrainingConfig, world: World) -> Encode | None:
    """The encoders, if what they see is to be kept."""
    if not config.keep_features:
        return None
    learning = [part for part in ENCODERS if part in config.learning]
    reason = f"{learning[0]} learns" if learning else "several processes train" if world.processes > 1 else ""
    if reason:
        raise TrainingError(f"keep_features: true, but {reason}. Say false")

    @torch.no_grad()
    def encode(semantic: torch.Tensor, spatial: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        return model.visual_features(semantic.to(world.device), None if spatial is None else spatial.to(world.device))

    return encode


def _nothing(_: str) -> None:
    """Say nothing."""


PRETRAINING_ERRORS = (TrainingError, PolicyError, Hand3DError)
"""What a pretraining raises."""
