"""One trial: chunks are asked for, and each is executed for a while."""

import time
from dataclasses import dataclass

import numpy as np

from vipa_inference.policy import ActionChunk, CommittedPlan, Policy
from vipa_inference.real_time_chunking import interpolate
from vipa_training.evaluation.libero.environment import STEP_NS, LiberoTask


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


def run_episode(task: LiberoTask, number: int, trial: int, policy: Policy, max_steps: int, execute: int) -> Episode:
    """Do a trial of a task.

    Args:
        task: it.
        number: of the task in its suite.
        trial: number of the initial state.
        policy: that does it.
        max_steps: of 50 ms; then it has failed.
        execute: at most so many steps of a chunk are executed.

    Raises:
        PolicyError: the policy gave no chunk.
    """
    start = time.perf_counter()
    task.begin(trial)
    policy.reset()
    steps, chunks, waited, name, success = 0, 0, 0.0, policy.name, False
    while steps < max_steps and not success:
        asked = time.perf_counter()
        chunk = policy.infer(task.observation)
        waited, chunks, name = waited + time.perf_counter() - asked, chunks + 1, chunk.policy
        plan = resampled(chunk, min(execute, max_steps - steps))
        for target, hand in zip(plan.poses, plan.hand, strict=True):
            steps += 1
            if success := task.step(target, hand):
                break
    wall = time.perf_counter() - start
    return Episode(number, task.name, trial, success, steps, task.clipped_steps, chunks, waited / chunks, wall, name)


def resampled(chunk: ActionChunk, steps: int) -> CommittedPlan:
    """The chunk's targets at LIBERO's 20 Hz, at most so many, at least one, and none after the chunk's end."""
    count = max(1, min(steps, round(chunk.horizon * chunk.step_period * 1e9) // STEP_NS))
    rows = np.arange(chunk.horizon + 1) * chunk.step_period * 1e9
    plan = CommittedPlan(  # it begins where the end effector is
        chunk.observation_ns + np.round(rows).astype(np.int64),
        np.concatenate([chunk.reference_pose[None], chunk.target_poses()]),
        np.concatenate([chunk.actions[:1, 6:], chunk.actions[:, 6:]]),
    )
    return interpolate(plan, chunk.observation_ns + STEP_NS * np.arange(1, count + 1, dtype=np.int64))
