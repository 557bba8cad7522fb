"""Batches for a training process, read ahead by worker processes."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import cv2
from torch import Tensor
from torch.utils.data import DataLoader

from vipa_inference.policy import PolicyError
from vipa_training.engine.order import Order

Batch = dict[str, Tensor]
COUNT = "count"
"""In each batch: how much its mean loss counts, ()."""


class Samples(Protocol):
    """What is learned from. It is copied into the worker processes."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def sample(self, number: int, position: int) -> Any:
        """One of them; ``position`` in the stream of the training tells which chance it meets."""
        ...

    def collate(self, samples: Sequence[Any]) -> Batch:
        """A batch of some, with ``COUNT``."""
        ...


class _Stream:
    """The samples in the order of the training."""

    def __init__(self, samples: Samples, order: Order, errors: tuple[type[Exception], ...]) -> None:
        self._samples, self._order, self._errors = samples, order, errors

    def __getitem__(self, position: int) -> Any:
        try:
            return self._samples.sample(self._order.sample(position), position)
        except self._errors as error:
            return error

    def collate(self, samples: Sequence[Any]) -> Batch | Exception:
        """A batch, or what went wrong, which crosses from a worker as it is."""
        for sample in samples:
            if isinstance(sample, Exception):
                return sample
        return self._samples.collate(samples)


def batches(
    samples: Samples,
    order: Order,
    positions: Iterator[list[int]],
    workers: int,
    pin: bool = False,
    errors: tuple[type[Exception], ...] = (PolicyError, OSError),
) -> Iterator[Batch]:
    """The batches at some positions, in order.

    Args:
        samples: what is learned from.
        order: of the samples.
        positions: of each batch.
        workers: processes that read ahead; 0: read here, when a batch is asked for.
        pin: in memory from which a GPU reads fast.
        errors: what reading may raise.

    Raises:
        Exception: one of ``errors``.
    """
    stream = _Stream(samples, order, errors)
    loader: DataLoader[Any] = DataLoader(
        stream,  # pyright: ignore[reportArgumentType] - a mapping from positions is all that it needs
        batch_sampler=positions,  # pyright: ignore[reportArgumentType] - it is read once
        collate_fn=stream.collate,
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=_one_thread if workers else None,
        multiprocessing_context="spawn" if workers else None,
    )
    for batch in loader:
        if isinstance(batch, Exception):
            raise batch
        yield batch


def _one_thread(_: int) -> None:
    cv2.setNumThreads(1)
