"""The experts: they solve the tasks, recover from faults, and what they record is valid as demonstration."""

import json
from collections.abc import Callable, Iterator

import pytest

from vipa.control.gate import SafetyGate
from vipa.control.kinematics import Kinematics
from vipa_inference.policy import ActionChunk
from vipa_sim.environment import EnvironmentConfig, LaboratoryEnvironment
from vipa_sim.errors import SimulationError
from vipa_sim.experts import EXPERTS, Expert, Situation, WorldExpert, make_expert
from vipa_sim.hand_model import PINCH_IN_FLANGE
from vipa_sim.rollout import rollout
from vipa_sim.scenes import make_scene
from vipa_sim.world import World

TASKS = ("put_three_obj", "wipe_board", "water_plant")


@pytest.fixture(scope="module")
def environments() -> dict[str, LaboratoryEnvironment]:
    return {task: LaboratoryEnvironment(task, EnvironmentConfig(render=False)) for task in TASKS}


def play(environment: LaboratoryEnvironment, expert: Expert, seconds: float) -> Iterator[ActionChunk]:
    """The chunks of an expert, each carried out for two steps, until the task is done or the time is over."""
    while environment.world.time_ns < seconds * 1e9 and not all(environment.scene.done):
        chunk = expert.infer(environment.observation, Situation.of(environment.world))
        yield chunk
        for pose, hand in zip(chunk.target_poses()[:2], chunk.actions[:2, 6:], strict=True):
            environment.step(environment.action_to(pose, hand))


@pytest.mark.parametrize(
    ("task", "seed", "variant"),
    [
        ("put_three_obj", 1000, "seen"),
        ("wipe_board", 1001, "unseen_markers"),
        ("water_plant", 1001, "object_scale"),
    ],
)
def test_expert_solves_its_task_within_the_gate(
    environments: dict[str, LaboratoryEnvironment], task: str, seed: int, variant: str
) -> None:
    environment = environments[task]
    result = rollout(environment, WorldExpert(make_expert(task), environment.world), seed, variant)
    assert result.succeeded, result.done
    assert result.figures["changed_steps"] == 0, "the gate would have changed or refused actions"
    assert result.duration < 0.8 * environment.scene.time_limit_s


def test_whole_chunks_pass_the_gate_unchanged(environments: dict[str, LaboratoryEnvironment]) -> None:
    environment = environments["water_plant"]
    control = environment.config.lab.control
    gate = SafetyGate(control.gate, Kinematics(control.kinematics, PINCH_IN_FLANGE))
    environment.reset(seed=1002)
    count = 0
    for chunk in play(environment, make_expert("water_plant"), 60.0):
        verdict = gate.check_chunk(chunk, chunk.observation_ns, environment.observation.end_effector_pose)
        assert verdict.accepted, verdict.changes
        assert verdict.changes == ()
        count += 1
    assert all(environment.scene.done)
    assert count > 50


def test_dropped_can_is_picked_up_again(environments: dict[str, LaboratoryEnvironment]) -> None:
    environment = environments["water_plant"]
    environment.reset(seed=1003)
    world, dropped = environment.world, False
    start = world.body_pose("can")[:3, 3]
    for _ in play(environment, make_expert("water_plant"), 60.0):
        if not dropped and environment.scene.done[0]:
            world.place_free("can", start)
            dropped = True
    assert dropped
    assert all(environment.scene.done)


def test_fruit_that_fell_is_taken_again(environments: dict[str, LaboratoryEnvironment]) -> None:
    environment = environments["put_three_obj"]
    environment.reset(seed=1005)
    world, dropped = environment.world, False
    start = world.body_pose("apple")[:3, 3]
    for _ in play(environment, make_expert("put_three_obj"), 60.0):
        if not dropped and world.body_pose("apple")[2, 3] > 0.2:
            world.place_free("apple", start)
            dropped = True
        if environment.scene.done[1]:
            break
    assert dropped
    assert environment.scene.done[1]


def test_arm_that_was_pushed_away_goes_on(environments: dict[str, LaboratoryEnvironment]) -> None:
    environment = environments["water_plant"]
    environment.reset(seed=1004)
    world, expert = environment.world, make_expert("water_plant")
    for _ in play(environment, expert, 60.0):
        seconds = world.time_ns * 1e-9
        world.apply_push([0.0, 60.0, 0.0, 0.0, 0.0, 0.0] if 1.0 < seconds < 1.3 else None)
    assert all(environment.scene.done)


@pytest.mark.parametrize("task", TASKS)
def test_situation_survives_json(task: str) -> None:
    situation = Situation.of(World(make_scene(task), seed=3))
    again = Situation.from_mapping(json.loads(json.dumps(situation.as_mapping())))
    assert again.as_mapping() == situation.as_mapping()
    assert len(json.dumps(situation.as_mapping())) < 8_000, "it must fit a line of the control port"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda values: values.pop("poses"),
        lambda values: values.update(poses={"can": [1.0]}),
        lambda values: values.update(scale="large"),
        lambda values: values.update(joints=[1.0]),
    ],
)
def test_spoilt_situation_is_told(spoil: Callable[[dict[str, object]], object]) -> None:
    values = Situation.of(World(make_scene("water_plant"))).as_mapping()
    spoil(values)
    with pytest.raises(SimulationError, match="situation: cannot be read"):
        Situation.from_mapping(values)


def test_unknown_task_is_named_with_the_known_ones() -> None:
    with pytest.raises(SimulationError, match="none for task 'reach'; known: put_three_obj, water_plant, wipe_board"):
        make_expert("reach")
    with pytest.raises(SimulationError, match="task reach: tells nothing to experts"):
        Situation.of(World(make_scene("reach")))
    assert set(EXPERTS) == set(TASKS)
