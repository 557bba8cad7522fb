"""A moving average of the weights: smoother than the last ones, and often better."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class MovingAverage:
    """The average of parameters that learn; in the first steps it follows faster.

    Args:
        parameters: by name.
        decay: of a step.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.tensors: dict[str, Tensor] = {name: p.detach().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, nn.Parameter], steps_done: int) -> None:
        """Take in the parameters after a step."""
        decay = min(self.decay, (1 + steps_done) / (10 + steps_done))
        for name, tensor in self.tensors.items():
            tensor.lerp_(parameters[name].detach(), 1.0 - decay)
