"""What a training begins with: a checkpoint, or a preset with random weights; with options of the model changed."""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vipa_inference.checkpoint import Checkpoint, check_keys, read_config, save_checkpoint, shapes
from vipa_inference.config import PRESETS, SpatialEncoderConfig, VipaVlaConfig
from vipa_inference.model.vipa_vla import VipaVla
from vipa_inference.policy import PolicyError
from vipa_inference.registry import configure
from vipa_inference.tokenizers import TOKENIZER_FILE
from vipa_training.engine.config import merged
from vipa_training.engine.distributed import tensors_of
from vipa_training.engine.errors import TrainingError


@dataclass(frozen=True)
class Start:
    """What a training begins with.

    Attributes:
        config: of the model.
        checkpoint: folder with its weights; None: random ones.
    """

    config: VipaVlaConfig
    checkpoint: Path | None = None


def model_config(start: VipaVlaConfig, pairs: Sequence[str]) -> VipaVlaConfig:
    """A model's configuration with other values, each as "KEY=VALUE".

    Raises:
        TrainingError: a key is unknown, or a value of the wrong type or out of range.
    """
    values = merged(dataclasses.asdict(start), pairs, "model")
    spatial = values.pop("spatial")
    try:
        parts = None if spatial is None else configure(SpatialEncoderConfig, spatial, "model: spatial")
        return replace(configure(VipaVlaConfig, values, "model"), spatial=parts)
    except PolicyError as error:
        raise TrainingError(str(error)) from None


def make_start(preset: str, checkpoint: Path | None, pairs: Sequence[str] = ()) -> Start:
    """A checkpoint, or where there is none, a preset with random weights.

    Raises:
        TrainingError: the preset is unknown, or an option of the model cannot be used.
        PolicyError: the checkpoint cannot be read.
    """
    if checkpoint is None and preset not in PRESETS:
        raise TrainingError(f"preset {preset}: unknown; known: {', '.join(PRESETS)}")
    known = PRESETS[preset] if checkpoint is None else read_config(checkpoint)
    return Start(model_config(known, pairs), checkpoint)


def make_model(start: Start, begun: Checkpoint | None, seed: int) -> VipaVla:
    """The model with the weights that it begins with, in fp32.

    Args:
        start: whose configuration it has.
        begun: the checkpoint; None: random weights.
        seed: of these.

    Raises:
        TrainingError: the checkpoint's weights do not fit the configuration.
    """
    torch.manual_seed(seed)
    model = VipaVla(start.config)
    if begun is None:
        return model
    size = begun.model.internvl.get_input_embeddings().num_embeddings
    if size > start.config.language.vocabulary:
        model.add_motion_tokens()
    found, wanted = tensors_of(begun.model), tensors_of(model)
    try:
        check_keys(shapes(found), shapes(wanted), str(start.checkpoint))
    except PolicyError as error:
        raise TrainingError("; ".join(str(error).splitlines())) from None
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(found[name])
    return model


def save_trained(out: Path, tensors: Mapping[str, Tensor], start: Start, statistics: Mapping[str, Any] | None) -> None:
    """Write the checkpoint of a training, with the tokenizer of the one that it began with.

    Raises:
        CheckpointError: it cannot be written.
    """
    save_checkpoint(out, tensors, start.config, statistics)
    if start.checkpoint is not None and start.config.language.tokenizer == "qwen":
        shutil.copyfile(start.checkpoint / TOKENIZER_FILE, out / TOKENIZER_FILE)
