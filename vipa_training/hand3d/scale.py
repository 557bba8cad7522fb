"""Metres for pointmaps whose scale is unknown: hands are the ruler (paper Sec. 3.2.1, scale calibration)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vipa_training.hand3d.errors import Rejection

Array = NDArray[np.float64]
_ROUNDS = 2
_NORMAL = 1.4826  # standard deviations of a normal distribution in one median of absolute deviations


@dataclass(frozen=True)
class ScaleConfig:
    """Which joints count."""

    fewest: int = 8  # joints, of all hands and frames that share a scale
    spread: float = 3.0  # standard deviations from the median beyond which a joint is an outlier
    floor: float = 0.01  # of the scale; joints nearer than this to the median are no outliers
    agreeing: float = 0.5  # of the joints that have to be no outliers
    farthest_spread: float = 0.15  # of the scale, standard deviation of those

    def __post_init__(self) -> None:
        if self.fewest < 1:
            raise ValueError(f"fewest: {self.fewest} is less than 1")


@dataclass(frozen=True)
class Scale:
    """How many metres one unit of a pointmap is.

    Attributes:
        value: m.
        joints: how many it rests on.
        spread: their standard deviation as a share of the value, robustly estimated.
    """

    value: float
    joints: int
    spread: float


def calibrated_scale(joint_depths: ArrayLike, map_depths: ArrayLike, config: ScaleConfig | None = None) -> Scale:
    """s, the median of j_z / j^_z over valid joints, once those that do not fit are left out.

    A joint is valid where both depths are finite and positive: NaN marks joints that are not seen, zero a pixel
    without depth. Joints lie under the skin that a pointmap shows, by a centimetre at most; the median bears it.

    Args:
        joint_depths: (N,) m, of the joints in the camera's frame.
        map_depths: (N,) of the pointmap where they are seen, in its own unit.
        config: what counts.

    Raises:
        Rejection: too few joints are valid, or they do not agree.
    """
    settings = config or ScaleConfig()
    real, seen = np.asarray(joint_depths, np.float64).ravel(), np.asarray(map_depths, np.float64).ravel()
    known = np.isfinite(real) & np.isfinite(seen)
    if known.any() and (seen[known] < 0.0).mean() > 0.5:
        raise Rejection("scale: negative, for the pointmap lies behind the camera")
    valid = known & (real > 0.0) & (seen > 0.0)
    if valid.sum() < settings.fewest:
        raise Rejection(f"scale: {int(valid.sum())} joints have a depth, {settings.fewest} are needed")
    ratios = real[valid] / seen[valid]
    kept = np.ones(len(ratios), np.bool_)
    value, spread = float(np.median(ratios)), 0.0
    for _ in range(_ROUNDS):  # more would cut off good joints, for each round narrows the spread
        spread = _NORMAL * float(np.median(np.abs(ratios[kept] - value))) / value
        kept = np.abs(ratios - value) <= value * max(settings.spread * spread, settings.floor)
        value = float(np.median(ratios[kept]))
    if kept.mean() < settings.agreeing or kept.sum() < settings.fewest or spread > settings.farthest_spread:
        raise Rejection(
            f"scale: the joints do not agree: {int(kept.sum())} of {len(ratios)} lie within "
            f"{max(settings.spread * spread, settings.floor):.0%} of {value:.3g}"
        )
    return Scale(value, int(kept.sum()), spread)
