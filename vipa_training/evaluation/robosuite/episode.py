"""One trial: chunks are asked for, and each is executed for a while."""

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vipa_inference.policy import ActionChunk, CommittedPlan, Observation, Policy
from vipa_inference.real_time_chunking import interpolate
from vipa_training.evaluation.robosuite.geometry import STEP_NS

Array = NDArray[np.float64]


class Task(Protocol):
    """A task and its simulator, as a policy sees and moves it."""

    name: str
    step_limit: int  # of 50 ms, of a trial
    clipped_steps: int  # of this trial, whose target was further away than one step leads

    def begin(self, trial: int) -> None:
        """Begin a trial."""
        ...

    @property
    def observation(self) -> Observation:
        """What the policy sees now."""
        ...

    def step(self, target: Array, hand: Array) -> bool:
        """Go towards a target (4, 4), base frame, m, with the hand (6,) for 50 ms; whether the task is done then."""
        ...

    def close(self) -> None:
        """Let go of the simulator."""
        ...


@dataclass(frozen=True)
class Episode:
    """What came of a trial."""

    task: int
    name: str
    trial: int
    success: bool
    steps: int  # of 50 ms, without those until the objects rest
    clipped_steps: int  # whose target was further away than one step leads
    chunks: int
    chunk_s: float  # mean time for a chunk, transfer included
    wall_s: float
    policy: str


def run_episode(task: Task, number: int, trial: int, policy: Policy, execute: int) -> Episode:
    """Do a trial of a task; it has failed when its steps are used up.

    Args:
        task: it.
        number: of the task.
        trial: its number, from 0.
        policy: that does it.
        execute: at most so many steps of a chunk are executed.

    Raises:
        PolicyError: the policy gave no chunk.
    """
    start = time.perf_counter()
    task.begin(trial)
    policy.reset()
    steps, chunks, waited, name, success = 0, 0, 0.0, policy.name, False
    while steps < task.step_limit and not success:
        asked = time.perf_counter()
        chunk = policy.infer(task.observation)
        waited, chunks, name = waited + time.perf_counter() - asked, chunks + 1, chunk.policy
        plan = resampled(chunk, min(execute, task.step_limit - steps))
        for target, hand in zip(plan.poses, plan.hand, strict=True):
            steps += 1
            if success := task.step(target, hand):
                break
    wall = time.perf_counter() - start
    return Episode(number, task.name, trial, success, steps, task.clipped_steps, chunks, waited / chunks, wall, name)


def resampled(chunk: ActionChunk, steps: int) -> CommittedPlan:
    """The chunk's targets at 20 Hz, at most so many, at least one, and none after the chunk's end."""
    count = max(1, min(steps, round(chunk.horizon * chunk.step_period * 1e9) // STEP_NS))
    rows = np.arange(chunk.horizon + 1) * chunk.step_period * 1e9
    plan = CommittedPlan(  # it begins where the end effector is
        chunk.observation_ns + np.round(rows).astype(np.int64),
        np.concatenate([chunk.reference_pose[None], chunk.target_poses()]),
        np.concatenate([chunk.actions[:1, 6:], chunk.actions[:, 6:]]),
    )
    return interpolate(plan, chunk.observation_ns + STEP_NS * np.arange(1, count + 1, dtype=np.int64))
