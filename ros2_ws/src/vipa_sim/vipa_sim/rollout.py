"""Rollouts: a policy tries a task in the Gymnasium environment, judged as a trial of the whole graph is."""

import dataclasses

from vipa.trials.referee import Assignment
from vipa.trials.result import TrialResult
from vipa.trials.trial import Trial
from vipa_inference.policy import Policy, PolicyError
from vipa_sim.environment import LaboratoryEnvironment


def rollout(
    environment: LaboratoryEnvironment, policy: Policy, seed: int, variant: str = "seen", rows: int = 2
) -> TrialResult:
    """Let a policy try the environment's task once.

    The world stands still while the policy thinks; what a late chunk does to a policy only the whole graph shows.

    Args:
        environment: its step period must be the policy's.
        policy: what acts.
        seed: of the episode.
        variant: of the scene.
        rows: actions that are carried out of each chunk before the next one is asked for.

    Returns:
        The result; its figures count the steps, and those whose action the gate changed or refused.

    Raises:
        PolicyError: the policy cannot use an observation, or its actions have another period.
    """
    environment.reset(seed=seed, options={"variant": variant})
    policy.reset()
    scene, world = environment.scene, environment.world
    assignment = Assignment(scene.name, scene.instruction, scene.sub_tasks, scene.time_limit_s)
    trial = Trial(assignment, seed=seed, variant=variant, policy=policy.name, policy_hash=policy.policy_hash)
    trial.start(world.time_ns)
    steps = changed = 0
    while trial.running:
        chunk = policy.infer(environment.observation)
        if abs(chunk.step_period - environment.config.step_period) > 1e-9:
            raise PolicyError(
                f"policy {policy.name}: its actions are {chunk.step_period} s apart, the environment's "
                f"{environment.config.step_period} s. Set EnvironmentConfig.step_period"
            )
        for pose, hand in zip(chunk.target_poses()[:rows], chunk.actions[:rows, 6:], strict=True):
            *_, info = environment.step(environment.action_to(pose, hand))
            steps += 1
            changed += bool(info["changes"])
            trial.update(world.time_ns, scene.done)
            if not trial.running:
                break
    result = trial.result
    assert result is not None
    return dataclasses.replace(result, figures={"executed_steps": float(steps), "changed_steps": float(changed)})
