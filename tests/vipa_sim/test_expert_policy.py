"""The experts as policies of the graph: the laboratory's command, the adapter, and the process that runs it."""

import dataclasses
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from vipa.errors import ConfigurationError
from vipa.graph import GraphArguments, NodeDescription, describe
from vipa.lab import load_lab
from vipa.laboratory_client import LaboratoryClient, LaboratoryError
from vipa_inference.policy import PolicyError
from vipa_sim.control_port import ControlPort
from vipa_sim.environment import EnvironmentConfig, LaboratoryEnvironment
from vipa_sim.errors import SimulationError
from vipa_sim.experts import EXPERTS, Situation, make_expert
from vipa_sim.experts.policy import ExpertPolicy
from vipa_sim.laboratory import Laboratory, LaboratoryConfig
from vipa_sim.scenes import make_scene
from vipa_sim.world import World


class Port:
    """A control port that tells the situation of an environment's world, as the laboratory does."""

    def __init__(self, environment: LaboratoryEnvironment) -> None:
        self.environment = environment
        self.episode = 0
        self.answer: dict[str, Any] | None = None
        self._port = ControlPort({"situation": self._situation}, "127.0.0.1", 0)
        self._port.start()

    def client(self) -> LaboratoryClient:
        return LaboratoryClient(self._port.address)

    def stop(self) -> None:
        self._port.stop()

    def _situation(self) -> dict[str, Any]:
        if self.answer is not None:
            return self.answer
        return {**Situation.of(self.environment.world).as_mapping(), "episode": self.episode}


@pytest.fixture
def port() -> Iterator[Port]:
    environment = LaboratoryEnvironment("water_plant", EnvironmentConfig(render=False))
    environment.reset(seed=1000)
    instance = Port(environment)
    yield instance
    instance.stop()


def test_through_the_port_the_expert_decides_as_beside_the_world(port: Port) -> None:
    environment, beside = port.environment, make_expert("water_plant")
    policy = ExpertPolicy("water_plant", port.client())
    assert (policy.name, policy.policy_hash) == ("water_plant", beside.policy_hash)
    for _ in range(40):
        chunk = policy.infer(environment.observation)
        expected = beside.infer(environment.observation, Situation.of(environment.world))
        np.testing.assert_array_equal(chunk.actions, expected.actions)
        for pose, hand in zip(chunk.target_poses()[:2], chunk.actions[:2, 6:], strict=True):
            environment.step(environment.action_to(pose, hand))
    policy.close()


@pytest.mark.parametrize("how", ["policy", "scene"])
def test_a_reset_of_the_policy_or_of_the_scene_begins_anew(port: Port, how: str) -> None:
    environment = port.environment
    policy = ExpertPolicy("water_plant", port.client())
    first = policy.infer(environment.observation)
    for pose, hand in zip(first.target_poses(), first.actions[:, 6:], strict=True):
        environment.step(environment.action_to(pose, hand))
    going_on = policy.infer(environment.observation)
    assert np.abs(np.diff(going_on.actions[:, :3], axis=0)[0]).max() > 1e-3
    if how == "policy":
        policy.reset()
    else:
        port.episode += 1
    begun = policy.infer(environment.observation)
    fresh = make_expert("water_plant").infer(environment.observation, Situation.of(environment.world))
    np.testing.assert_array_equal(begun.actions, fresh.actions)
    np.testing.assert_allclose(begun.actions[0, :3], 0.0, atol=1e-4)
    policy.close()


def test_what_is_no_situation_is_a_policy_error(port: Port) -> None:
    policy = ExpertPolicy("water_plant", port.client())
    port.answer = {"time_ns": 5}
    with pytest.raises(PolicyError, match=r"laboratory 127\.0\.0\.1:\d+: situation: cannot be read .*poses"):
        policy.infer(port.environment.observation)
    policy.close()


def test_a_laboratory_that_does_not_answer_is_an_error(port: Port) -> None:
    policy = ExpertPolicy("water_plant", LaboratoryClient(("127.0.0.1", 9), time_out=0.2))
    with pytest.raises(LaboratoryError, match="Start the laboratory"):
        policy.infer(port.environment.observation)


def test_a_task_without_an_expert_is_refused(port: Port) -> None:
    with pytest.raises(SimulationError, match="none for task 'reach'; known: put_three_obj, water_plant, wipe_board"):
        ExpertPolicy("reach", port.client())


@contextmanager
def running(task: str) -> Iterator[LaboratoryClient]:
    """A laboratory with one camera, in a thread; a client of its control port."""
    host = f"127.0.{random.randint(1, 250)}.{random.randint(10, 250)}"
    lab = load_lab("simulated")
    front = lab.cameras["front"]
    lab = dataclasses.replace(
        lab,
        referee=f"{host}:13370",
        arm=dataclasses.replace(lab.arm, address=host),
        hand=dataclasses.replace(lab.hand, address=f"{host}:6000"),
        cameras={"front": dataclasses.replace(front, feed=str(front.feed).replace("127.0.0.1", host))},
    )
    laboratory = Laboratory(lab, LaboratoryConfig(task=task, seed=3), lambda now_ns: None, lambda now_ns: None)
    client = LaboratoryClient((host, 13370), time_out=60.0)
    thread = threading.Thread(target=laboratory.run)
    thread.start()
    try:
        yield client
    finally:
        client.close()
        laboratory.stop()
        thread.join(timeout=10)


@pytest.mark.protocol
@pytest.mark.parametrize("task", sorted(EXPERTS))
def test_the_laboratory_tells_the_situation_and_counts_episodes(task: str) -> None:
    with running(task) as client:
        answer = client.request("situation")
        assert answer["episode"] == 0
        client.request("reset", task=task, seed=5)
        answer = client.request("situation")
        assert answer["episode"] == 1
        found = Situation.from_mapping(answer)
    world = World(make_scene(task), seed=5)
    expected = Situation.of(world)
    assert found.done == (False,) * len(world.scene.sub_tasks)
    assert (found.poses.keys(), found.joints.keys()) == (expected.poses.keys(), expected.joints.keys())
    for name, pose in expected.poses.items():
        np.testing.assert_allclose(found.poses[name], pose, atol=0.02, err_msg=name)
    for name, values in expected.facts.items():
        np.testing.assert_allclose(found.facts[name], values, atol=1e-6, err_msg=name)


@pytest.mark.protocol
def test_a_scene_that_tells_nothing_to_experts_is_named() -> None:
    with running("reach") as client, pytest.raises(LaboratoryError, match="task reach: tells nothing to experts"):
        client.request("situation")


def policy_of(arguments: GraphArguments) -> NodeDescription:
    return next(node for node in describe(arguments) if node.name == "policy")


def test_the_expert_replaces_the_process_of_the_policy_and_knows_its_task() -> None:
    arguments = GraphArguments(policy="expert", task="wipe_board", policy_options='{"careful": 0.1}')
    node, genuine = policy_of(arguments), policy_of(GraphArguments(task="wipe_board"))
    assert (node.package, node.executable, node.module) == ("vipa_sim", "policy", "vipa_sim.expert_policy")
    assert (node.full_name, node.nice, node.respawn) == (genuine.full_name, genuine.nice, genuine.respawn)
    assert node.parameters["task"] == "wipe_board"
    assert node.parameters["policy_options"] == '{"careful": 0.1}'
    assert genuine.module == "vipa.nodes.policy"
    names = [node.name for node in describe(arguments)]
    assert names == [node.name for node in describe(GraphArguments())]


def test_a_real_laboratory_has_no_expert() -> None:
    assert not load_lab("example_real").simulated
    with pytest.raises(ConfigurationError, match="sees the world's state and exists in the simulated laboratory only"):
        describe(GraphArguments(lab="example_real", policy="expert", task="water_plant"))
