"""Which sample is where in the stream of a training, and which chance it meets there.

Both follow from the seed and the position alone. So a training that goes on needs to remember no more than its step,
and what a step sees does not depend on how many processes share it.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch


class Order:
    """The samples of all epochs, one after the other, each epoch in an order of its own.

    Args:
        count: of samples.
        seed: of the orders.

    Raises:
        ValueError: there are none.
    """

    def __init__(self, count: int, seed: int) -> None:
        if count < 1:
            raise ValueError("samples: none")
        self.count, self.seed = count, seed

    def sample(self, position: int) -> int:
        """Number of the sample at a position of the stream, from 0."""
        epoch, place = divmod(position, self.count)
        return int(_permutation(self.count, self.seed, epoch)[place])

    def positions(
        self, batch: int, first_step: int, steps: int, rank: int = 0, processes: int = 1, parts: int = 1
    ) -> Iterator[list[int]]:
        """The positions that one of several processes computes, part by part of each step.

        Args:
            batch: samples of a step, a multiple of ``processes * parts``.
            first_step: where to begin.
            steps: where to end.
            rank: of the process.
            processes: that share each step.
            parts: in which a process computes its share.
        """
        size = batch // (processes * parts)
        for step in range(first_step, steps):
            for part in range(parts):
                start = step * batch + (part * processes + rank) * size
                yield list(range(start, start + size))


def numpy_generator(seed: int, position: int) -> np.random.Generator:
    """The chance of the sample at a position."""
    return np.random.default_rng([seed, position])


def torch_generator(*numbers: int) -> torch.Generator:
    """Chance that follows from some numbers."""
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


@lru_cache(maxsize=2)
def _permutation(count: int, seed: int, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.random.default_rng([seed, epoch, count]).permutation(count)
