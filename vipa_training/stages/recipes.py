"""How the stages are done: the paper's settings (Sec. 4.1), and others for the small models, which begin untrained."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from vipa_training.engine.config import EngineConfig
from vipa_training.stages.augmentation import AugmentationConfig
from vipa_training.stages.features import FeatureConfig
from vipa_training.stages.optimisation import OptimisationConfig
from vipa_training.stages.parts import ENCODERS, LEARNING


@dataclass(frozen=True)
class Stage3Config:
    """Post-training on demonstrations."""

    engine: EngineConfig = field(default_factory=lambda: EngineConfig(precision="bf16"))
    optimisation: OptimisationConfig = field(default_factory=OptimisationConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    learning: tuple[str, ...] = LEARNING["stage3"]  # parts of the model
    draws: int = 1  # of noise and flow time for each sample; all but the action head is computed once for them
    keep_statistics: bool = False  # of the checkpoint that it begins with, rather than those of the dataset
    pictures_gb: float = 4.0  # of decoded pictures that a training process and its workers keep in memory, GB

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws: {self.draws} is less than 1")
        if self.pictures_gb < 0.0:
            raise ValueError(f"pictures_gb: {self.pictures_gb} is negative")


FR3 = Stage3Config()
NANO = Stage3Config(
    engine=EngineConfig(batch=32, ema=0.999),
    optimisation=OptimisationConfig(
        steps=20_000, backbone_learning_rate=3e-4, head_learning_rate=1e-3, final_ratio=0.01
    ),
    augmentation=AugmentationConfig(share=0.8),
    learning=(*ENCODERS, *LEARNING["stage3"]),
    draws=4,
)
RECIPES: dict[str, Stage3Config] = {
    "fr3": FR3,
    "libero": FR3,
    "robocasa": Stage3Config(
        engine=EngineConfig(batch=256, precision="bf16"), optimisation=OptimisationConfig(steps=60_000)
    ),
    "nano": NANO,
    "libero-nano": NANO,
    "robocasa-nano": NANO,
}
"""The paper trains on FR3 and LIBERO alike. All of nano learns, for its encoders were not trained before."""

_LONG = ("prompt.text_tokens=128",)  # instructions of some 100 characters, each of which is a token of nano's
_LIBERO = ('views=["agentview","wrist"]', *_LONG)
_ROBOCASA = ('views=["left","right","wrist"]', *_LONG)
MODEL_OPTIONS: dict[str, tuple[str, ...]] = {
    "nano": _LONG,
    "libero": _LIBERO,
    "libero-nano": _LIBERO,
    "robocasa": _ROBOCASA,
    "robocasa-nano": _ROBOCASA,
}
"""Options of the model that come with a recipe, as "KEY=VALUE"."""


def model_options(recipe: str, said: Sequence[str]) -> list[str]:
    """Options of the model: those that the user said, and those of the recipe that the user left alone."""
    known = {pair.partition("=")[0] for pair in said}
    return [pair for pair in MODEL_OPTIONS.get(recipe, ()) if pair.partition("=")[0] not in known] + list(said)


@dataclass(frozen=True)
class PretrainingConfig:
    """Stages 1 and 2."""

    engine: EngineConfig = field(default_factory=lambda: EngineConfig(batch=32, precision="bf16"))
    optimisation: OptimisationConfig = field(
        default_factory=lambda: OptimisationConfig(backbone_learning_rate=1e-5, warmup_ratio=0.03, weight_decay=0.01)
    )
    learning: tuple[str, ...] = LEARNING["stage1"]  # parts of the model
    epochs: float = 1.0  # of the data set; 0: as many steps as optimisation.steps says
    turns: int = 1  # of a conversation at most: questions about the same pictures that are learned together
    keep_features: bool = False  # of frozen encoders, in memory: for small data sets that are seen several times

    def __post_init__(self) -> None:
        if self.epochs < 0.0:
            raise ValueError(f"epochs: {self.epochs} is negative")
        if self.turns < 1:
            raise ValueError(f"turns: {self.turns} is less than 1")


@dataclass(frozen=True)
class Stage0Config:
    """Pretraining of a small model, for which there are no public weights."""

    engine: EngineConfig = field(default_factory=lambda: EngineConfig(batch=16))
    optimisation: OptimisationConfig = field(
        default_factory=lambda: OptimisationConfig(
            steps=3_000, backbone_learning_rate=3e-3, final_ratio=0.05, weight_decay=0.01
        )
    )
    turns: int = 6  # of a conversation at most
    reading: float = 0.25  # share of the pictures whose questions are also asked without them, with other facts
    word: float = 2.0  # weight of the loss of what image tokens show
    geometry: float = 1.0  # weight of the loss of the spatial encoder
    measured: float = 0.25  # share of the lessons with pictures from which the spatial encoder learns

    def __post_init__(self) -> None:
        if self.turns < 1:
            raise ValueError(f"turns: {self.turns} is less than 1")
        for name in ("reading", "word", "geometry", "measured"):
            if getattr(self, name) < 0.0:
                raise ValueError(f"{name}: {getattr(self, name)} is negative")


_SMALL = OptimisationConfig(
    steps=1_500, backbone_learning_rate=1e-3, warmup_ratio=0.03, weight_decay=0.01, final_ratio=0.05
)
_SMALL_ENGINE = EngineConfig(batch=16, workers=0)
STAGE0_RECIPES: dict[str, Stage0Config] = {"small": Stage0Config()}
STAGE1_RECIPES: dict[str, PretrainingConfig] = {
    "paper": PretrainingConfig(),
    "small": PretrainingConfig(_SMALL_ENGINE, _SMALL, epochs=0.0, turns=5, keep_features=True),
}
STAGE2_RECIPES: dict[str, PretrainingConfig] = {
    "paper": PretrainingConfig(learning=LEARNING["stage2"]),
    "small": PretrainingConfig(_SMALL_ENGINE, _SMALL, LEARNING["stage2"], epochs=0.0, keep_features=True),
}
"""Those of the paper are for 8 GPUs; the small ones are for the presets nano and pico on a few CPU cores."""
