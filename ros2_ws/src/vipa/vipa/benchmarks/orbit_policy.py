"""A small policy whose chunks disagree: an action head fitted in seconds to orbits of either sense and any speed.

Where the end effector is on its orbit says nothing about the sense of rotation or the speed, so every chunk is a new
choice between two modes, as that of a large policy may be between two ways around an obstacle.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from vipa_inference.config import ActionHeadConfig
from vipa_inference.model.action_head import ActionHead, sample_prefix_lengths
from vipa_inference.model.guided_sampling import sample_guided
from vipa_inference.policy import ACTION_DIMENSION, ActionChunk, CommittedPlan
from vipa_inference.real_time_chunking import continued

Array = NDArray[np.float64]
Mode = Literal["none", "training", "inference"]

NS = 1_000_000_000
DIMENSION = 3  # m, the action head moves the end effector without turning it


@dataclass(frozen=True)
class OrbitConfig:
    """The orbits, in a horizontal plane around a centre."""

    radius: tuple[float, float] = (0.045, 0.055)  # m
    speed: tuple[float, float] = (1.2, 2.4)  # rad/s, of either sense
    wobble: float = 0.004  # m, of radius and height
    off: float = 0.01  # m, standard deviation of the distance from the orbit at the beginning
    settling: float = 0.4  # s, in which that distance falls to 1/e


@dataclass(frozen=True)
class FitConfig:
    """The action head and its training."""

    steps: int = 350
    batch: int = 64
    learning_rate: float = 4e-3
    width: int = 48
    layers: int = 2
    heads: int = 2
    horizon: int = 12
    step_period: float = 0.05  # s
    max_prefix: int = 6  # steps
    denoising_steps: int = 4


def orbits(count: int, times: Array, config: OrbitConfig, random: np.random.Generator) -> Array:
    """Positions (count, N, 3) m relative to the centre at the times (N,) s of random orbits."""

    def draw(low: float, high: float) -> Array:
        return random.uniform(low, high, (count, 1))

    turned = draw(0.0, 2.0 * np.pi) + draw(*config.speed) * np.sign(draw(-1.0, 1.0)) * times
    radius = draw(*config.radius) + config.wobble * np.sin(draw(1.0, 3.0) * times + draw(0.0, 2.0 * np.pi))
    height = config.wobble * np.sin(draw(1.0, 3.0) * times + draw(0.0, 2.0 * np.pi))
    positions = np.stack([radius * np.cos(turned), radius * np.sin(turned), height], axis=-1)
    fading = (1.0 + times / config.settling) * np.exp(-times / config.settling)
    return positions + config.off * random.normal(size=(count, 1, 3)) * fading[:, None]


@dataclass(frozen=True)
class FittedHead:
    """An action head and the scales of what it takes and gives."""

    head: ActionHead
    state_scale: float  # m
    action_scale: float  # m
    fit: FitConfig


def fit_head(prefixes: bool, fit: FitConfig, config: OrbitConfig, seed: int) -> FittedHead:
    """Fit an action head to orbits, with or without committed prefixes.

    Args:
        prefixes: train it with prefixes of up to ``fit.max_prefix`` rows (training-time real-time chunking).
        fit: size and training.
        config: the orbits.
        seed: of weights and data; two heads with the same seed see the same orbits.
    """
    torch.manual_seed(seed)
    random, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    head = ActionHead(
        ActionHeadConfig(
            action_dimension=DIMENSION,
            proprioception_dimension=DIMENSION,
            horizon=fit.horizon,
            width=fit.width,
            layers=fit.layers,
            heads=fit.heads,
            feed_forward_ratio=2.0,
            denoising_steps=fit.denoising_steps,
            max_prefix=fit.max_prefix if prefixes else 0,
        ),
        context_width=8,
    )
    times = fit.step_period * np.arange(fit.horizon + 1, dtype=np.float64)
    sample = orbits(4096, times, config, random)
    state_scale, action_scale = float(sample[:, 0].std()), float((sample[:, 1:] - sample[:, :1]).std())
    optimiser = torch.optim.AdamW(head.parameters(), fit.learning_rate, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, fit.learning_rate, fit.steps)
    context, weight = torch.zeros(fit.batch, 1, 8), torch.ones(fit.batch, fit.horizon)
    kind = "with" if prefixes else "without"
    for _ in tqdm(range(fit.steps), f"fitting an action head {kind} prefixes", leave=False, disable=None):
        positions = torch.from_numpy(orbits(fit.batch, times, config, random)).float()
        actions = (positions[:, 1:] - positions[:, :1]) / action_scale
        prefix = sample_prefix_lengths(fit.batch, fit.max_prefix, generator) if prefixes else None
        optimiser.zero_grad()
        head.loss(actions, positions[:, 0] / state_scale, context, weight, prefix).backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return FittedHead(head.eval().requires_grad_(False), state_scale, action_scale, fit)


class OrbitPolicy:
    """Makes chunks with a fitted head.

    Args:
        fitted: the head.
        mode: what it does with the controller's plan: nothing, or training-time or inference-time real-time chunking.
        centre: (3,) m of the orbits in the base frame.
        seed: of the noise.
    """

    def __init__(self, fitted: FittedHead, mode: Mode, centre: Array, seed: int) -> None:
        self._fitted, self.mode, self._centre = fitted, mode, centre
        self._generator = torch.Generator().manual_seed(seed)
        self._hash = hashlib.sha256(f"orbit {mode} {seed} {fitted.fit!r}".encode()).hexdigest()
        self._last: ActionChunk | None = None

    def infer(
        self, pose: Array, hand: Array, committed: CommittedPlan | None, now_ns: int, chunk_id: int
    ) -> ActionChunk:
        """The chunk for the end-effector pose (4, 4) at this time, with the hand (6,) as it is."""
        fitted, fit = self._fitted, self._fitted.fit
        state = torch.from_numpy((pose[:3, 3] - self._centre) / fitted.state_scale).float()[None]
        noise = torch.randn(1, fit.horizon, DIMENSION, generator=self._generator)
        context = torch.zeros(1, 1, 8)
        if self.mode == "none" or committed is None or self._last is None:
            sampled = fitted.head.sample(noise, state, context)
        elif self.mode == "training":
            prefix = self._prefix(committed, pose)
            length = torch.tensor([min(len(committed.times_ns), fit.max_prefix)])
            sampled = fitted.head.sample(noise, state, context, prefix, length)
        else:
            intended = continued(committed, self._last)
            hard, soft = (torch.tensor([min(len(plan.times_ns), fit.horizon)]) for plan in (committed, intended))
            prefix = self._prefix(intended, pose)
            sampled = sample_guided(fitted.head, noise, state, context, prefix, hard, soft)
        actions = np.zeros((fit.horizon, ACTION_DIMENSION))
        actions[:, :DIMENSION] = sampled[0].double().numpy() * fitted.action_scale
        actions[:, 6:] = hand
        name = f"orbit ({self.mode})"
        self._last = ActionChunk(actions, fit.step_period, pose, now_ns, name, self._hash, chunk_id=chunk_id)
        return self._last

    def _prefix(self, plan: CommittedPlan, pose: Array) -> torch.Tensor:
        """The rows of a plan as normalised actions (1, H, 3) relative to the pose (4, 4), filled up with zeros."""
        prefix = torch.zeros(1, self._fitted.fit.horizon, DIMENSION)
        rows = (plan.poses[: prefix.shape[1], :3, 3] - pose[:3, 3]) / self._fitted.action_scale
        prefix[0, : len(rows)] = torch.from_numpy(rows)
        return prefix
