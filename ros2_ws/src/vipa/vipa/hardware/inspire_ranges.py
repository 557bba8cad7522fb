"""The ranges of one hand, as ``vipa calibrate hand`` finds and writes them."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vipa.errors import ConfigurationError
from vipa.hardware.inspire_models import FINGERS, HAND_MODELS, FingerScale
from vipa.hashed_yaml import load

LEAST_SHARE = 0.7  # of the model's range, that a finger must have

Counts = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class HandRanges:
    """The angle registers of the closed and the open hand, in the order of ``FINGERS``.

    Attributes:
        model: a key of ``HAND_MODELS``.
        date: ISO 8601, UTC.
        closed: counts where each finger came to rest when it closed.
        open: the same when it opened.
        residuals: of the calibration, units in their names.
        hash: over everything else.
    """

    model: str
    date: str
    closed: Counts
    open: Counts
    residuals: dict[str, float] = field(default_factory=dict[str, float])
    hash: str = ""

    def __post_init__(self) -> None:
        if self.model not in HAND_MODELS:
            raise ValueError(f"model: no hand {self.model!r}; known: {', '.join(HAND_MODELS)}")
        for finger, share in zip(FINGERS, self.shares(), strict=True):
            if not LEAST_SHARE <= share <= 1.2:
                raise ValueError(
                    f"{finger}: moves over {100 * share:.0f} % of the model's range, {100 * LEAST_SHARE:.0f} to 120 % "
                    "are right: is something in its way, or is it another model?"
                )

    def shares(self) -> tuple[float, ...]:
        """How far each finger moves, as a share of its model's range."""
        model = HAND_MODELS[self.model]
        nominal = np.abs(np.subtract(model.raw_open, model.raw_closed))
        return tuple((np.abs(np.subtract(self.open, self.closed)) / nominal).tolist())

    @property
    def scale(self) -> FingerScale:
        """0 is where the finger closes to, 1 where it opens to."""
        return FingerScale(np.array(self.closed), np.array(self.open))


def load_ranges(path: Path, model: str) -> HandRanges:
    """Read the ranges of a hand of this model.

    Raises:
        ConfigurationError: the file cannot be used, or is about another model.
    """
    ranges = load(path, HandRanges)
    if ranges.model != model:
        raise ConfigurationError(f"hand.calibration {path}: is about a {ranges.model}, hand.model is {model}")
    return ranges
