"""Untrained checkpoints: to try the loop, to export and to measure before anything was trained."""

import hashlib
from pathlib import Path

from vipa_inference.checkpoint import Checkpoint, save_checkpoint
from vipa_inference.config import VipaVlaConfig
from vipa_inference.policy import HAND_DIMENSION
from vipa_inference.processing import PROPRIOCEPTION_NAMES
from vipa_inference.statistics import Statistics, VectorStatistics

TRANSLATION_STD_M, ROTATION_STD_RAD, HAND_STD = 0.002, 0.01, 0.01
_QUANTILE = 2.3263  # of the standard normal distribution at 99 %


def untrained_checkpoint(config: VipaVlaConfig, seed: int = 0) -> Checkpoint:
    """A model with random weights, the same for the same seed, and statistics that keep its actions within millimetres.

    Nothing begins at zero, as some layers of a model do that is to be trained: each part of it matters.
    """
    import torch

    from vipa_inference.model.vipa_vla import VipaVla

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = VipaVla(config).eval()
        for parameter in model.action_head.parameters():
            if not bool(parameter.any()):
                parameter.copy_(torch.randn_like(parameter) * 0.02)
    count = len(PROPRIOCEPTION_NAMES)
    statistics = Statistics(
        _normal((0.0,) * count, (1.0,) * count),
        _normal(
            (0.0,) * 6 + (1.0,) * HAND_DIMENSION,
            (TRANSLATION_STD_M,) * 3 + (ROTATION_STD_RAD,) * 3 + (HAND_STD,) * HAND_DIMENSION,
        ),
    )
    weights_hash = hashlib.sha256(f"untrained {config} {seed}".encode()).hexdigest()
    return Checkpoint(model, config, dict(statistics.to_mapping()), statistics.hash, weights_hash)


def save_untrained_checkpoint(folder: Path, config: VipaVlaConfig, seed: int = 0) -> None:
    """Write an untrained checkpoint.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    checkpoint = untrained_checkpoint(config, seed)
    save_checkpoint(folder, checkpoint.model, config, checkpoint.statistics)


def _normal(mean: tuple[float, ...], std: tuple[float, ...]) -> VectorStatistics:
    """Statistics of a normal distribution."""
    low, high = (tuple(m + sign * _QUANTILE * s for m, s in zip(mean, std, strict=True)) for sign in (-1.0, 1.0))
    return VectorStatistics(mean, std, low, high)
