"""A post-training of the tiny model as a process: ``DATASET OUT KEY=VALUE ...``; ``torchrun`` may start several."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from transformers import InternVLForConditionalGeneration  # noqa: F401 - processes that are forked have it already

from tests.vipa_inference.model.tiny import TINY
from vipa_training.engine.config import overridden
from vipa_training.engine.distributed import joined
from vipa_training.stages.recipes import RECIPES, Stage3Config
from vipa_training.stages.stage3 import Trained, post_train
from vipa_training.stages.start import Start

REPOSITORY = Path(__file__).parents[3]
MODEL = replace(TINY, action=replace(TINY.action, max_prefix=2))
QUICK = (
    *("engine.batch=8", "engine.precision=fp32", "engine.log_every=1", "engine.device=cpu", "engine.workers=0"),
    *("optimisation.backbone_learning_rate=2e-3", "optimisation.head_learning_rate=5e-3"),
)


def config_of(*pairs: str) -> Stage3Config:
    """A recipe for the tiny model; later values count."""
    values = dict(pair.split("=", 1) for pair in (*QUICK, *pairs))
    return overridden(RECIPES["fr3"], [f"{key}={value}" for key, value in values.items()], "test")


def train(dataset: Path, out: Path, *pairs: str, start: Start | None = None) -> Trained:
    """Post-train in this process, one of several or the only one."""
    config = config_of(*pairs)
    with joined("cpu") as world:
        return post_train(start or Start(MODEL), dataset, out, config, world, say=lambda _: None)


def train_alone(dataset: Path, out: Path, *pairs: str) -> None:
    """Post-train in a process of its own."""
    torch.set_num_threads(1)
    train(dataset, out, *pairs)


if __name__ == "__main__":
    train_alone(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
