"""Success of the experts, measured through the environment."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vipa_sim.environment import LaboratoryEnvironment
from vipa_sim.experts.base import Expert
from vipa_sim.experts.situation import Situation


@dataclass(frozen=True)
class EpisodeResult:
    """How one episode ended."""

    task: str
    variant: str
    seed: int
    done: dict[str, bool]  # by sub-task
    time_s: float
    changes: dict[str, int]  # how often which rule of the gate changed or refused an action
    state_hash: str

    @property
    def success(self) -> bool:
        """Whether every sub-task is done."""
        return all(self.done.values())


def run_episode(
    environment: LaboratoryEnvironment, expert: Expert, seed: int, variant: str = "seen", rows: int = 2
) -> EpisodeResult:
    """Let an expert try the environment's task once.

    Args:
        environment: its step period must be the expert's.
        expert: of the same task.
        seed: of the episode.
        variant: of the scene.
        rows: actions that are carried out of each chunk.
    """
    environment.reset(seed=seed, options={"variant": variant})
    expert.reset()
    changes: dict[str, int] = {}
    over = False
    while not over:
        chunk = expert.infer(environment.observation, Situation.of(environment.world))
        for pose, hand in zip(chunk.target_poses()[:rows], chunk.actions[:rows, 6:], strict=True):
            _, _, done, late, info = environment.step(environment.action_to(pose, hand))
            for rule in info["changes"]:
                changes[rule] = changes.get(rule, 0) + 1
            over = done or late
            if over:
                break
    world = environment.world
    done = dict(zip(environment.scene.sub_tasks, environment.scene.done, strict=True))
    return EpisodeResult(environment.scene.name, variant, seed, done, world.time_ns * 1e-9, changes, world.state_hash())


def evaluate(
    environment: LaboratoryEnvironment, expert: Expert, seeds: Iterable[int], variant: str = "seen"
) -> list[EpisodeResult]:
    """One episode a seed; see ``run_episode``."""
    return [run_episode(environment, expert, seed, variant) for seed in seeds]


def success_rates(results: Iterable[EpisodeResult]) -> dict[str, float]:
    """Shares (0-1) of the episodes in which each sub-task and ``whole task`` succeeded; ``sub-tasks`` is their mean.

    Raises:
        ValueError: no results.
    """
    results = list(results)
    if not results:
        raise ValueError("results: none")
    names = list(results[0].done)
    rates = {name: float(np.mean([result.done[name] for result in results])) for name in names}
    sub_tasks = float(np.mean([rates[name] for name in names]))
    return {**rates, "sub-tasks": sub_tasks, "whole task": float(np.mean([result.success for result in results]))}
