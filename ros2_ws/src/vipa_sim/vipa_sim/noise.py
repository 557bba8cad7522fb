"""Pushes: what an arm is told now and then differs smoothly from what the expert wants."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vipa_inference.rotations import matrix_from_rotation_vector

Array = NDArray[np.float64]


@dataclass(frozen=True)
class NoiseConfig:
    """How the arm is pushed off its targets.

    Attributes:
        push: m; each push has between half of it and all of it. 0: none.
        turn: rad of a push of 1 m, about any axis.
        duration: s from the begin of a push to its end; it is greatest in the middle.
        pause: s between two pushes, on average.
    """

    push: float = 0.03
    turn: float = 5.0
    duration: float = 0.8
    pause: float = 2.5

    def __post_init__(self) -> None:
        for name in ("push", "turn"):
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"{name}: {getattr(self, name)} is negative")
        for name in ("duration", "pause"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive")


class TargetNoise:
    """Pushes of one episode, drawn from a seed.

    Args:
        config: how strong and how often.
        period: s between two targets.
        seed: of the episode.
    """

    def __init__(self, config: NoiseConfig, period: float, seed: int) -> None:
        self._config, self._period = config, period
        self._rng = np.random.default_rng((seed, 1))
        self._left = 0  # steps until the end of the push
        self._steps = max(2, round(config.duration / period))
        self._vector, self._axis = np.zeros(3), np.zeros(3)

    def apply(self, pose: Array) -> Array:
        """The pose (4, 4) that the arm is told instead of ``pose``."""
        if self._config.push == 0.0:
            return pose
        if not self._left and self._rng.random() < self._period / self._config.pause:
            self._begin()
        if not self._left:
            return pose
        share = 0.5 - 0.5 * np.cos(2.0 * np.pi * (self._left - 0.5) / self._steps)
        self._left -= 1
        pushed = pose.copy()
        pushed[:3, 3] += share * self._vector
        pushed[:3, :3] = matrix_from_rotation_vector(share * self._axis) @ pose[:3, :3]
        return pushed

    def _begin(self) -> None:
        strength = self._config.push * self._rng.uniform(0.5, 1.0)
        self._left = self._steps
        self._vector = strength * _direction(self._rng)
        self._axis = strength * self._config.turn * _direction(self._rng)


def _direction(rng: np.random.Generator) -> Array:
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)
