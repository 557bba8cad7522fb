"""The Gymnasium environment: its interface, determinism, the gate in it, and how arm and hand follow."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray

from vipa_inference.rotations import matrix_from_rotation_vector
from vipa_sim.environment import EnvironmentConfig, LaboratoryEnvironment
from vipa_sim.errors import SimulationError
from vipa_sim.scenes.base import CAMERAS

Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def blind() -> LaboratoryEnvironment:
    return LaboratoryEnvironment("wipe_board", EnvironmentConfig(render=False))


@pytest.fixture(scope="module")
def seeing() -> Iterator[LaboratoryEnvironment]:
    environment = LaboratoryEnvironment("put_three_obj", EnvironmentConfig(image_size=(112, 96)))
    yield environment
    environment.close()


def hold(environment: LaboratoryEnvironment, steps: int, pose: Array, hand: Array) -> list[dict[str, Any]]:
    return [environment.step(environment.action_to(pose, hand))[4] for _ in range(steps)]


def test_interface_is_that_of_gymnasium(seeing: LaboratoryEnvironment) -> None:
    check_env(seeing, skip_render_check=True)


def test_same_seed_same_course(blind: LaboratoryEnvironment) -> None:
    rng = np.random.default_rng(0)
    actions = np.concatenate([rng.normal(0, 0.01, (20, 6)), rng.uniform(0, 1, (20, 6))], axis=1)

    def course(environment: LaboratoryEnvironment, seed: int) -> list[str]:
        environment.reset(seed=seed)
        hashes = [environment.world.state_hash()]
        for action in actions:
            environment.step(action)
            hashes.append(environment.world.state_hash())
        return hashes

    first, other = course(blind, 5), course(blind, 6)
    assert course(blind, 5) == first, "a second episode of the same environment"
    fresh = LaboratoryEnvironment("wipe_board", EnvironmentConfig(render=False))
    assert course(fresh, 5) == first, "an episode of a new environment"
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_pictures_do_not_change_the_course(seeing: LaboratoryEnvironment) -> None:
    blind = LaboratoryEnvironment("put_three_obj", EnvironmentConfig(render=False))
    hashes: list[str] = []
    for environment in (seeing, blind):
        environment.reset(seed=3)
        hold(environment, 10, environment.observation.end_effector_pose, np.full(6, 0.4))
        hashes.append(environment.world.state_hash())
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("variant", ["unseen_cloth", "lighting", "camera_shift", "unseen_markers"])
def test_variants_of_looks_leave_the_course_alone(blind: LaboratoryEnvironment, variant: str) -> None:
    states: list[Array] = []
    for name in ("seen", variant):
        blind.reset(seed=4, options={"variant": name})
        target = blind.observation.end_effector_pose.copy()
        for _ in range(15):
            target[:3, 3] += (0.0, -0.01, -0.01)
            blind.step(blind.action_to(target, np.full(6, 0.6)))
        states.append(np.concatenate([blind.world.data.qpos, blind.world.data.qvel]))
    np.testing.assert_array_equal(states[0], states[1])


def test_observation_is_that_of_the_policy(seeing: LaboratoryEnvironment) -> None:
    seen, info = seeing.reset(seed=1)
    assert set(seen) == {*CAMERAS, "proprioception", "instruction"}
    assert seen["front"].shape == (96, 112, 3)
    assert seen["instruction"] == seeing.scene.instruction
    assert set(info["done"]) == set(seeing.scene.sub_tasks)
    observation = seeing.observation
    pose = observation.end_effector_pose
    np.testing.assert_allclose(seen["proprioception"][:3], pose[:3, 3])
    np.testing.assert_allclose(seen["proprioception"][3:6], pose[:3, 0])
    np.testing.assert_allclose(seen["proprioception"][9:16], observation.joint_positions)
    np.testing.assert_allclose(seen["proprioception"][16:], observation.hand_positions)
    view = observation.views["side"]
    assert view.intrinsics[0, 2] == pytest.approx((112 - 1) / 2)
    assert seeing.render() is not None


def test_without_rendering_there_are_no_pictures(blind: LaboratoryEnvironment) -> None:
    seen, _ = blind.reset(seed=1)
    assert set(seen) == {"proprioception", "instruction"}
    assert blind.render() is None


def test_shifted_cameras_show_another_picture(seeing: LaboratoryEnvironment) -> None:
    pictures = {variant: seeing.reset(seed=1, options={"variant": variant})[0] for variant in ("seen", "camera_shift")}
    for camera in CAMERAS:
        changed = (pictures["seen"][camera] != pictures["camera_shift"][camera]).any(axis=-1)
        assert changed.mean() > 0.1
        assert changed[:, :20].any(), "what stands still is seen from elsewhere, too"


def test_arm_follows_a_moving_target_half_a_step_late_and_arrives(blind: LaboratoryEnvironment) -> None:
    blind.reset(seed=0)
    start = blind.observation.end_effector_pose.copy()
    target, hand = start.copy(), np.ones(6)
    for step in range(1, 31):
        x = step / 30
        target[:3, 3] = start[:3, 3] + np.array([0.06, 0.10, -0.08]) * x * x * (3 - 2 * x)
        target[:3, :3] = matrix_from_rotation_vector([0.0, 0.0, 0.3 * x]) @ start[:3, :3]
        *_, info = blind.step(blind.action_to(target, hand))
        assert info["changes"] == ()
        assert np.linalg.norm(blind.observation.end_effector_pose[:3, 3] - target[:3, 3]) < 0.012
    hold(blind, 10, target, hand)
    np.testing.assert_allclose(blind.observation.end_effector_pose, target, atol=1e-3)


def test_hand_moves_after_its_latency_at_its_speed(blind: LaboratoryEnvironment) -> None:
    blind.reset(seed=0)
    pose = blind.observation.end_effector_pose
    hold(blind, 1, pose, np.full(6, 0.5))
    np.testing.assert_allclose(blind.observation.hand_positions, 1.0, atol=0.01)
    hold(blind, 12, pose, np.full(6, 0.5))
    np.testing.assert_allclose(blind.observation.hand_positions, 0.5, atol=0.02)


@pytest.mark.parametrize(
    ("shift", "rule"),
    [
        pytest.param([0.0, 0.09, 0.0], "step_translation", id="far"),
        pytest.param([0.0, 0.5, 0.0], "step_translation", id="absurd"),
        pytest.param([0.0, 0.05, 0.0], "joint_rate", id="fast"),
    ],
)
def test_gate_stands_before_the_arm(blind: LaboratoryEnvironment, shift: list[float], rule: str) -> None:
    blind.reset(seed=0)
    pose = blind.observation.end_effector_pose.copy()
    moved = pose.copy()
    moved[:3, 3] += shift
    info = hold(blind, 1, moved, np.ones(6))[0]
    assert rule in info["changes"]
    assert np.linalg.norm(blind.observation.end_effector_pose[:3, 3] - pose[:3, 3]) < 0.05


def test_workspace_is_not_left_however_often_it_is_asked(blind: LaboratoryEnvironment) -> None:
    blind.reset(seed=0)
    target = blind.observation.end_effector_pose.copy()
    for _ in range(60):
        target[2, 3] -= 0.008
        blind.step(blind.action_to(target, np.zeros(6)))
        assert blind.observation.end_effector_pose[2, 3] > 0.0


@pytest.mark.parametrize("action", [np.zeros(11), np.full(12, np.nan), np.zeros((1, 12))])
def test_bad_actions_are_refused(blind: LaboratoryEnvironment, action: Array) -> None:
    blind.reset(seed=0)
    before = blind.world.state_hash()
    with pytest.raises(ValueError, match="action: expected 12 finite numbers"):
        blind.step(action)
    assert blind.world.state_hash() == before


def test_unknown_task_variant_and_option_are_named(blind: LaboratoryEnvironment) -> None:
    with pytest.raises(SimulationError, match=r"no such task; known: .*water_plant"):
        LaboratoryEnvironment("juggle")
    with pytest.raises(SimulationError, match="no variant 'underwater'"):
        blind.reset(seed=0, options={"variant": "underwater"})
    with pytest.raises(SimulationError, match="unknown option 'colour'; known: variant"):
        blind.reset(seed=0, options={"colour": "red"})
    blind.reset(seed=0, options={"variant": "seen"})


@pytest.mark.parametrize(
    ("key", "value"), [("step_period", 0.0), ("step_period", 0.0511), ("physics_step", 0.1), ("image_size", (0, 8))]
)
def test_configuration_that_cannot_work_names_its_key(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{key}:"):
        EnvironmentConfig(**{key: value})


def test_time_limit_truncates() -> None:
    environment = LaboratoryEnvironment("water_plant", EnvironmentConfig(render=False, step_period=0.5))
    environment.reset(seed=0)
    pose, steps, late = environment.observation.end_effector_pose, 0, False
    while not late:
        *_, done, late, info = environment.step(environment.action_to(pose, np.ones(6)))
        steps += 1
        assert not done
    assert steps == pytest.approx(environment.scene.time_limit_s / 0.5, abs=1)
    assert info["time_s"] == pytest.approx(environment.scene.time_limit_s)
