"""Rollouts: judged like trials, the same in one process and in many, and never run twice."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from vipa.trials.result import TrialLog
from vipa_inference.policy import ActionChunk, Observation, PolicyError
from vipa_sim.environment import EnvironmentConfig, LaboratoryEnvironment
from vipa_sim.errors import SimulationError
from vipa_sim.evaluation import Episode, PolicyChoice, evaluate, main, planned
from vipa_sim.experts import WorldExpert, make_expert
from vipa_sim.rollout import rollout

EPISODES = [Episode("water_plant", "seen", 1000), Episode("water_plant", "unseen_cloth", 1001)]
EXPERT = PolicyChoice("expert", {})


class Waits:
    """A policy that stays where it is; or lets the hand drop far below the table, which the gate must prevent."""

    name, policy_hash = "waits", "0" * 16

    def __init__(self, step_period: float = 0.05, down: float = 0.0) -> None:
        self._period, self._down = step_period, down
        self.inferences = 0

    def reset(self) -> None:
        self.inferences = 0

    def infer(self, observation: Observation) -> ActionChunk:
        self.inferences += 1
        actions = np.zeros((4, 12))
        actions[:, 2], actions[:, 6:] = -self._down, np.clip(observation.hand_positions, 0.0, 1.0)
        pose = observation.end_effector_pose
        return ActionChunk(actions, self._period, pose, observation.observation_ns, self.name, self.policy_hash)


@pytest.fixture
def environment() -> LaboratoryEnvironment:
    environment = LaboratoryEnvironment("water_plant", EnvironmentConfig(render=False))
    environment.scene.time_limit_s = 2.0
    return environment


def test_a_policy_that_waits_meets_the_time_limit(environment: LaboratoryEnvironment) -> None:
    policy = Waits()
    result = rollout(environment, policy, 3, rows=4)
    assert (result.outcome, result.done) == ("time_limit", (False,) * len(result.sub_tasks))
    assert (result.policy, result.policy_hash, result.seed, result.variant) == ("waits", "0" * 16, 3, "seen")
    assert result.figures == {"executed_steps": 41.0, "changed_steps": 0.0}
    assert policy.inferences == 11  # a chunk for every four steps


def test_steps_that_the_gate_changed_are_counted(environment: LaboratoryEnvironment) -> None:
    result = rollout(environment, Waits(down=1.5), 3)
    assert result.figures["changed_steps"] > 30


def test_actions_of_another_period_are_refused(environment: LaboratoryEnvironment) -> None:
    with pytest.raises(PolicyError, match=r"its actions are 0\.1 s apart, the environment's 0\.05 s"):
        rollout(environment, Waits(step_period=0.1), 3)


def test_same_seed_same_rollout() -> None:
    environment = LaboratoryEnvironment("water_plant", EnvironmentConfig(render=False))
    ends: list[tuple[object, str]] = []
    for _ in range(2):
        result = rollout(environment, WorldExpert(make_expert("water_plant"), environment.world), 1000)
        ends.append((result, environment.world.state_hash()))
    assert ends[0] == ends[1]


def test_processes_give_what_one_process_gives_in_order() -> None:
    alone, spread = list(evaluate(EXPERT, EPISODES)), list(evaluate(EXPERT, EPISODES, workers=2))
    assert alone == spread
    assert [Episode(r.task, r.variant, r.seed) for r in spread] == EPISODES
    assert all(result.succeeded for result in spread)


def test_every_seed_in_every_variant() -> None:
    found = planned(["wipe_board"], [], range(5, 7))
    assert len(found) == len(set(found)) >= 2 * 5
    assert found[:2] == [Episode("wipe_board", "seen", 5), Episode("wipe_board", "seen", 6)]
    with pytest.raises(SimulationError, match="no variant 'upside_down'"):
        planned(["wipe_board"], ["upside_down"], [0])


def test_a_log_is_continued(tmp_path: Path) -> None:
    log = TrialLog(tmp_path / "trials.jsonl")
    (result,) = evaluate(EXPERT, EPISODES[:1])
    log.append(dataclasses.replace(result, detail="of an earlier run"))
    arguments = ["--log", str(log.path), "--tasks", "water_plant", "--variants", "seen", "--seed", "1000"]
    assert main([*arguments, "--trials", "2", "--workers", "1"]) == 0
    first, second = log.read()
    assert first.detail == "of an earlier run"
    assert (second.seed, second.succeeded) == (1001, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "juggle"], "juggle"),
        (["--tasks", "water_plant", "--rows", "0"], "rows: must be positive, is 0"),
        (["--tasks", "water_plant", "--variants", "seen", "--policy", "none"], "unknown policy 'none'"),
        (["--tasks", "reach", "--variants", "seen"], "none for task 'reach'"),
        (["--tasks", "water_plant", "--variants", "seen", "--policy-options", '{"speed": 1}'], "unknown option speed"),
    ],
)
def test_what_cannot_be_run_is_told(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--log", str(tmp_path / "log.jsonl"), "--workers", "1", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "log.jsonl").exists()
