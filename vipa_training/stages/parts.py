"""The parts of the model, and which of them learn in which stage."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from vipa_inference.model.vipa_vla import VipaVla
from vipa_training.engine.errors import TrainingError

PARTS: dict[str, tuple[str, ...]] = {
    "semantic_encoder": ("internvl.model.vision_tower.",),
    "spatial_encoder": ("spatial_encoder.",),
    "fusion": ("fusion.",),
    "projector": ("internvl.model.multi_modal_projector.",),
    "language_model": ("internvl.model.language_model.", "internvl.lm_head."),
    "action_queries": ("action_queries",),
    "action_head": ("action_head.",),
}
"""Each parameter belongs to one part, by the begin of its name."""

ENCODERS = ("semantic_encoder", "spatial_encoder")
LEARNING: dict[str, tuple[str, ...]] = {
    "stage0": (*ENCODERS, "projector", "language_model"),
    "stage1": ("fusion",),
    "stage2": ("fusion", "language_model"),
    "stage3": ("fusion", "projector", "language_model", "action_queries", "action_head"),
}
"""What learns unless told otherwise (paper Sec. 3.2.3, 3.3, 4.1). What joins language model and encoders is part of the
backbone in stage 3; the paper says only that the encoders rest."""


@dataclass(frozen=True)
class PartCount:
    """One part of a model.

    Attributes:
        name: see ``PARTS``.
        parameters: numbers in it.
        learning: of these.
    """

    name: str
    parameters: int
    learning: int


def let_learn(model: VipaVla, parts: Sequence[str]) -> None:
    """Let these parts learn and all others rest.

    Raises:
        TrainingError: a part is unknown, or there is none.
    """
    for part in parts:
        if part not in PARTS:
            raise TrainingError(f"learning: unknown part {part}; known: {', '.join(PARTS)}")
    if not parts:
        raise TrainingError(f"learning: names no part; known: {', '.join(PARTS)}")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name) in parts)


def part_of(name: str) -> str:
    """The part that a parameter belongs to.

    Raises:
        ValueError: none.
    """
    for part, prefixes in PARTS.items():
        if name.startswith(prefixes):
            return part
    raise ValueError(f"{name}: belongs to no part of the model")


def count_parts(model: VipaVla) -> list[PartCount]:
    """How large each part is, and how much of it learns."""
    counts = dict.fromkeys(PARTS, 0)
    learning = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        part = part_of(name)
        counts[part] += parameter.numel()
        learning[part] += parameter.numel() if parameter.requires_grad else 0
    return [PartCount(part, counts[part], learning[part]) for part in PARTS if counts[part]]


def accounting(parts: Sequence[PartCount]) -> str:
    """What learns and what rests, in a line."""
    learning = ", ".join(f"{part.name} {_amount(part.learning)}" for part in parts if part.learning)
    resting = ", ".join(
        f"{part.name} {_amount(part.parameters - part.learning)}" for part in parts if part.learning < part.parameters
    )
    return f"learning: {learning}; resting: {resting or 'nothing'}"


def blocks_of(model: VipaVla) -> list[nn.Module]:
    """The layers of the large parts, which are called by ``forward`` only."""
    internvl = model.internvl.model
    found: list[nn.Module] = [*internvl.language_model.layers, *internvl.vision_tower.encoder.layer]
    encoder = model.spatial_encoder
    if encoder is not None:
        found += [*encoder.encoder_blocks, *encoder.image_blocks, *encoder.state_blocks]
    return found


def _amount(count: int) -> str:
    return f"{count * 1e-6:.1f} M" if count >= 100_000 else f"{count}"
