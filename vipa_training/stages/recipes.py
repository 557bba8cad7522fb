"""How stage 3 is done: the paper's three settings (Sec. 4.1), and one for the small model, which begins untrained."""

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

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws: {self.draws} is less than 1")


FR3 = Stage3Config()
RECIPES: dict[str, Stage3Config] = {
    "fr3": FR3,
    "libero": FR3,
    "robocasa": Stage3Config(
        engine=EngineConfig(batch=256, precision="bf16"), optimisation=OptimisationConfig(steps=60_000)
    ),
    "nano": Stage3Config(
        engine=EngineConfig(batch=32, ema=0.999),
        optimisation=OptimisationConfig(
            steps=20_000, backbone_learning_rate=3e-4, head_learning_rate=1e-3, final_ratio=0.01
        ),
        augmentation=AugmentationConfig(share=0.8),
        learning=(*ENCODERS, *LEARNING["stage3"]),
        draws=4,
    ),
}
"""The paper trains on FR3 and LIBERO alike. All of nano learns, for its encoders were not trained before."""
