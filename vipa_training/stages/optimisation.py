"""What every stage of training shares: which parameters learn, how fast, and the step itself."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from vipa_inference.model.vipa_vla import VipaVla


@dataclass(frozen=True)
class OptimisationConfig:
    """AdamW with a warm-up and a cosine; the defaults are those of post-training on robots (paper Sec. 4.1)."""

    steps: int = 30_000
    backbone_learning_rate: float = 5e-5  # of language model, projector, fusion and action queries
    head_learning_rate: float = 5e-5  # of the action head
    warmup_ratio: float = 0.05  # of the steps
    final_ratio: float = 0.0  # of the learning rates, at the last step
    weight_decay: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.95)
    max_gradient_norm: float = 1.0  # of each group of parameters by itself

    def __post_init__(self) -> None:
        for name in ("steps", "backbone_learning_rate", "head_learning_rate", "max_gradient_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive")
        for name in ("warmup_ratio", "final_ratio"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}: {getattr(self, name)} is outside 0-1")
        if self.weight_decay < 0.0:
            raise ValueError(f"weight_decay: {self.weight_decay} is negative")


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that learn at one rate."""

    name: str
    parameters: Sequence[nn.Parameter]
    learning_rate: float  # at its highest


def freeze_encoders(model: VipaVla) -> None:
    """Let neither visual encoder learn, as in stages 2 and 3 (paper Sec. 3.2.3, 4.1)."""
    model.internvl.model.vision_tower.requires_grad_(False)
    if model.spatial_encoder is not None:
        model.spatial_encoder.requires_grad_(False)


def post_training_groups(model: VipaVla, config: OptimisationConfig) -> list[ParameterGroup]:
    """The action head, and all else of the model that is not frozen."""
    head = [parameter for parameter in model.action_head.parameters() if parameter.requires_grad]
    known = {id(parameter) for parameter in head}
    backbone = [p for p in model.parameters() if p.requires_grad and id(p) not in known]
    groups = (
        ParameterGroup("backbone", backbone, config.backbone_learning_rate),
        ParameterGroup("action_head", head, config.head_learning_rate),
    )
    return [group for group in groups if group.parameters]


def learning_rate_factor(step: int, config: OptimisationConfig) -> float:
    """Share of the highest learning rate at a step, from 0: up on a line, down on half a cosine."""
    warmup = round(config.warmup_ratio * config.steps)
    if step < warmup:
        return (step + 1) / warmup
    progress = min((step - warmup) / max(config.steps - warmup, 1), 1.0)
    return config.final_ratio + (1.0 - config.final_ratio) * (1.0 + math.cos(math.pi * progress)) / 2.0


class Optimiser:
    """AdamW over groups of parameters, which may be spread over processes with FSDP2.

    Gradients are clipped for each group by itself: a new action head and a language model have gradients of different
    size, and one must not take the other's share.

    Args:
        groups: of parameters.
        config: of the learning rates and the rest.

    Raises:
        ValueError: there are no parameters.
    """

    def __init__(self, groups: Sequence[ParameterGroup], config: OptimisationConfig) -> None:
        if not any(group.parameters for group in groups):
            raise ValueError("optimiser: no parameter may learn. Freeze less")
        self.groups, self.config = groups, config
        self.steps_done = 0
        self._adamw = torch.optim.AdamW(
            [
                {"params": part, "lr": group.learning_rate, "peak": group.learning_rate}
                for group in groups
                for part in _alike(group.parameters)
            ],
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
        )

    def step(self, loss: Tensor) -> dict[str, float]:
        """One step down the gradient of a loss; otherwise as ``update``."""
        self.clear()
        loss.backward()
        return self.update()

    def clear(self) -> None:
        """Forget the gradients."""
        self._adamw.zero_grad(set_to_none=True)

    def update(self) -> dict[str, float]:
        """One step down the gradients that the parameters have.

        Returns:
            The norm of each group's gradient before clipping.

        Raises:
            FloatingPointError: a gradient is not finite; nothing was changed.
        """
        norms = {group.name: gradient_norm(group.parameters) for group in self.groups}
        if not all(math.isfinite(norm) for norm in norms.values()):
            raise FloatingPointError(
                f"training: gradients are not finite at step {self.steps_done}: {norms}. Lower the learning rates"
            )
        for group in self.groups:
            share = self.config.max_gradient_norm / (norms[group.name] + 1e-6)
            if share < 1.0:
                for parameter in group.parameters:
                    if parameter.grad is not None:
                        parameter.grad.mul_(share)
        factor = learning_rate_factor(self.steps_done, self.config)
        for settings in self._adamw.param_groups:
            settings["lr"] = settings["peak"] * factor
        self._adamw.step()
        self.steps_done += 1
        return norms

    def learning_rates(self) -> dict[str, float]:
        """Of each group, in the last step."""
        factor = learning_rate_factor(max(self.steps_done - 1, 0), self.config)
        return {group.name: group.learning_rate * factor for group in self.groups}

    def tensors(self, names: Mapping[int, str]) -> dict[str, Tensor]:
        """What AdamW remembers of each parameter, to be saved, or to be filled with what was saved.

        Args:
            names: of the parameters, by ``id``.
        """
        found: dict[str, Tensor] = {}
        for group in self.groups:
            for parameter in group.parameters:
                state = self._adamw.state[parameter]
                if not state:
                    state["step"] = torch.zeros((), device=parameter.device)
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                found |= {f"{names[id(parameter)]}.{key}": value for key, value in state.items()}
        return found

    def state_dict(self) -> dict[str, object]:
        """What ``load_state_dict`` needs to go on."""
        return {"adamw": self._adamw.state_dict(), "steps_done": self.steps_done}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on where ``state_dict`` was called, with the same groups and configuration."""
        self._adamw.load_state_dict(state["adamw"])  # pyright: ignore[reportArgumentType]
        self.steps_done = int(state["steps_done"])  # pyright: ignore[reportArgumentType]


def gradient_norm(parameters: Sequence[nn.Parameter]) -> float:
    """The norm of the gradient of some parameters; of those that are spread, of all processes."""
    squares = 0.0
    for part in _alike(parameters):
        gradients = [parameter.grad for parameter in part if parameter.grad is not None]
        if gradients:
            norm = nn.utils.get_total_norm(gradients)
            squares += float(norm.full_tensor() if isinstance(norm, DTensor) else norm) ** 2
    return math.sqrt(squares)


def _alike(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Parameters that are spread over processes, and those that are not: torch computes with one kind at a time."""
    spread: list[nn.Parameter] = []
    own: list[nn.Parameter] = []
    for parameter in parameters:
        (spread if isinstance(parameter, DTensor) else own).append(parameter)
    return [part for part in (spread, own) if part]
