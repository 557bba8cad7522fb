"""Processed observations become one batch of tensors."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def collate(observations: Sequence[dict[str, NDArray[np.generic]]]) -> dict[str, Tensor]:
    """The batch of observations as ``Processor.batch`` makes them, each (1, ...), in order.

    Padding that all prompts share is left out: positions count from the first token on (see ``VipaVla.prefill``), so
    that the result is the same and the language model has less to do.

    Raises:
        ValueError: no observations.
    """
    if not observations:
        raise ValueError("observations: none")
    names = observations[0].keys()
    batch = {name: torch.from_numpy(np.concatenate([values[name] for values in observations])) for name in names}
    length = int(batch["attention_mask"].sum(dim=1).max())
    for name in ("input_ids", "attention_mask"):
        batch[name] = batch[name][:, -length:]
    return batch
