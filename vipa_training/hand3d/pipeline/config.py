"""How a data set is built."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from vipa_training.hand3d.motion_tokens import MotionConfig
from vipa_training.hand3d.observation import ObservationConfig
from vipa_training.hand3d.visual import VisualConfig


@dataclass(frozen=True)
class GeminiConfig:
    """How Gemini is asked for questions; the key is read from the environment, GEMINI_API_KEY."""

    model: str = "gemini-2.5-flash"
    url: str = ""  # of the service; empty: Google's
    timeout: float = 60.0  # s, of one request
    attempts: int = 4  # at a request that fails for a reason that may pass
    first_wait: float = 2.0  # s before the second attempt; doubles each time
    per_minute: float = 60.0  # requests of all workers
    budget: float = 10.0  # USD that all workers of one run may spend
    price_in: float = 0.30  # USD for a million tokens read
    price_out: float = 2.50  # and written

    def __post_init__(self) -> None:
        if self.attempts < 1 or min(self.timeout, self.per_minute, self.budget) <= 0.0:
            raise ValueError("attempts, timeout, per_minute, budget: have to be positive")


@dataclass(frozen=True)
class Places:
    """Where things are on this machine; the data set does not depend on it.

    Attributes:
        root: of the source.
        out: of the data set.
        mano: folder of MANO's files, for sources that give its parameters.
        cache: of answers of Gemini.
        checkpoint: of the spatial encoder: a checkpoint of VIPA-VLA, or a converted file of CUT3R.
        detector: of GroundingDINO: a folder as transformers saves it, or a name that it knows.
        device: for models, "cpu" or "cuda"; empty: cuda where there is one.
    """

    root: Path
    out: Path
    mano: Path | None = None
    cache: Path | None = None
    checkpoint: Path | None = None
    detector: str = ""
    device: str = ""


@dataclass(frozen=True)
class BuildConfig:
    """What a data set is; the same configuration gives the same bytes.

    Attributes:
        source: name of a source.
        clips: how many, drawn by chance from all the source has; 0: all.
        seed: of all that is drawn by chance.
        size: height and width, px: of synthetic pictures; other pictures are shrunk to fit in.
        pointmaps: whose: "truth", what the source itself knows, or "cut3r".
        objects: whose boxes: "annotation" or "grounding-dino".
        writer: of questions: "templates" or "gemini".
        test: visual items of the test, from videos of their own; None: 2000, at most 5 % of all.
        shard_clips: clips of a shard, the unit of work.
        quality: of JPEG.
        depth_width: px, widest depth picture that is stored.
        together: clips whose pointmaps are computed in one batch.
        encoder_side: px, longer side of pictures for the spatial encoder.
        detector_threshold: of GroundingDINO's confidence.
        observation: what counts as seen.
        visual: what is worth a question.
        motion: how clips become motions.
        gemini: how it is asked.
    """

    source: str
    clips: int = 0
    seed: int = 0
    size: tuple[int, int] = (168, 224)
    pointmaps: Literal["truth", "cut3r"] = "truth"
    objects: Literal["annotation", "grounding-dino"] = "annotation"
    writer: Literal["templates", "gemini"] = "templates"
    test: int | None = None
    shard_clips: int = 20
    quality: int = 90
    depth_width: int = 112
    together: int = 8
    encoder_side: int = 512
    detector_threshold: float = 0.3
    observation: ObservationConfig = field(default_factory=ObservationConfig)
    visual: VisualConfig = field(default_factory=VisualConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)
    gemini: GeminiConfig = field(default_factory=GeminiConfig)

    def __post_init__(self) -> None:
        if self.clips < 0 or self.seed < 0 or min(self.shard_clips, self.together, *self.size) < 1:
            raise ValueError("clips, seed, size, shard_clips, together: have to be positive")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality: {self.quality} is outside 1-100")

    def recorded(self) -> dict[str, Any]:
        """What the data set depends on, as JSON; limits and prices of Gemini are none of it."""
        found = asdict(self)
        gemini = found.pop("gemini")
        if self.writer == "gemini":
            found["gemini"] = {"model": gemini["model"]}
        return found
