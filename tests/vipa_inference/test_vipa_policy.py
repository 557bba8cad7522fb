"""The policy ``vipa``: from a checkpoint and an observation to a chunk, and what it refuses."""

import itertools
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.vipa_inference.model.tiny import TINY
from vipa_inference.checkpoint import CheckpointError, save_checkpoint
from vipa_inference.config import VipaVlaConfig
from vipa_inference.description import DescribedPolicy, PolicyDescription
from vipa_inference.model.vipa_vla import VipaVla
from vipa_inference.policy import ActionChunk, CameraView, CommittedPlan, Observation, PolicyError
from vipa_inference.registry import make_policy
from vipa_inference.statistics import Statistics
from vipa_inference.vipa_policy import VipaPolicy, VipaPolicyConfig

INTRINSICS = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])
GENERATOR = np.random.default_rng(3)
STATISTICS = Statistics.fit(
    GENERATOR.normal(0.3, 0.5, (200, 22)),
    np.concatenate([GENERATOR.normal(0.0, 0.02, (200, 6)), GENERATOR.uniform(0.0, 1.0, (200, 6))], axis=-1),
)
HORIZON, STEP_NS = TINY.action.horizon, 50_000_000


def make_model(config: VipaVlaConfig = TINY, seed: int = 0) -> VipaVla:
    """Random weights, also where a new model begins at zero, so that actions depend on every input."""
    torch.manual_seed(seed)
    model = VipaVla(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def model() -> VipaVla:
    return make_model()


@pytest.fixture
def folder(model: VipaVla, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "tiny", model, TINY, STATISTICS.to_mapping())
    return tmp_path / "tiny"


@pytest.fixture
def policy(folder: Path) -> VipaPolicy:
    return VipaPolicy(VipaPolicyConfig(str(folder), runtime="torch", real_time_chunking="training"))


def make_observation(seed: int = 0, **changes: Any) -> Observation:
    generator = np.random.default_rng(seed)
    views = {
        name: CameraView(generator.integers(0, 256, (48, 64, 3), np.uint8), 2_000_000_000, INTRINSICS, np.eye(4))
        for name in ("front", "side")
    }
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[:3, 3] = 0.45, 0.0, 0.3
    observation = Observation(views, pose, np.linspace(-1.0, 1.0, 7), np.ones(6), "touch the red ball")
    return replace(observation, **changes)


def make_plan(rows: int, first_ns: int = 2_000_000_000) -> CommittedPlan:
    """Along x at 0.1 m/s from the pose of the observation, the hand half closed."""
    times_ns = first_ns + STEP_NS * np.arange(rows)
    poses = np.tile(make_observation().end_effector_pose, (rows, 1, 1))
    poses[:, 0, 3] += 0.1e-9 * (times_ns - 2_000_000_000)
    return CommittedPlan(times_ns, poses, np.full((rows, 6), 0.5))


def test_a_chunk_says_where_it_came_from(policy: VipaPolicy) -> None:
    observation = make_observation()
    chunk = policy.infer(observation)
    assert chunk.actions.shape == (HORIZON, 12)
    assert np.isfinite(chunk.actions).all()
    assert ((chunk.actions[:, 6:] >= 0.0) & (chunk.actions[:, 6:] <= 1.0)).all()
    assert (chunk.step_period, chunk.observation_ns) == (0.05, 2_000_000_000)
    assert (chunk.policy, chunk.policy_hash) == ("vipa", policy.policy_hash)
    assert chunk.instruction == observation.instruction
    np.testing.assert_array_equal(chunk.reference_pose, observation.end_effector_pose)


def test_it_is_what_the_model_says(policy: VipaPolicy, model: VipaVla) -> None:
    observation = make_observation()
    batch = {name: torch.from_numpy(values) for name, values in policy.processor.batch(observation).items()}
    noise = np.random.default_rng(0).standard_normal((1, HORIZON, 12), dtype=np.float32)
    wanted = policy.processor.unnormalise_actions(model.eval().act(batch, torch.from_numpy(noise)).numpy()[0])
    wanted[:, 6:] = wanted[:, 6:].clip(0.0, 1.0)
    np.testing.assert_allclose(policy.infer(observation).actions, wanted, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"views": make_observation(1).views},
        {"instruction": "touch the blue ball"},
        {"joint_positions": np.zeros(7)},
        {"hand_positions": np.zeros(6)},
    ],
)
def test_actions_depend_on_everything_that_is_observed(policy: VipaPolicy, changes: dict[str, Any]) -> None:
    first = policy.infer(make_observation()).actions
    policy.reset()
    assert np.abs(policy.infer(make_observation(**changes)).actions - first).max() > 1e-5


def test_an_episode_can_be_repeated(policy: VipaPolicy, folder: Path) -> None:
    episode = [policy.infer(make_observation(seed)).actions for seed in range(3)]
    policy.reset()
    again = [policy.infer(make_observation(seed)).actions for seed in range(3)]
    np.testing.assert_array_equal(episode, again)
    other = VipaPolicy(VipaPolicyConfig(str(folder), "torch", seed=1))
    assert np.abs(other.infer(make_observation()).actions - episode[0]).max() > 1e-4


def test_a_policy_by_name_is_warm_and_begins_as_if_nothing_had_been(
    policy: VipaPolicy, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Observation] = []
    infer = VipaPolicy.infer
    monkeypatch.setattr(
        VipaPolicy, "infer", lambda self, observation: (seen.append(observation), infer(self, observation))[1]
    )
    warm = make_policy("vipa", checkpoint=str(folder))
    assert len(seen) == 1
    np.testing.assert_array_equal(warm.infer(make_observation()).actions, infer(policy, make_observation()).actions)


def test_earlier_frames_are_remembered_until_the_reset(tmp_path: Path) -> None:
    config = replace(TINY, frames=2)
    save_checkpoint(tmp_path, make_model(config), config, STATISTICS.to_mapping())
    policy = VipaPolicy(VipaPolicyConfig(str(tmp_path), "torch"))
    seen: list[Any] = []
    condition = policy.runtime.condition
    policy.runtime.condition = lambda batch: seen.append(batch["semantic_pixels"][0]) or condition(batch)
    for seed in (1, 2, 3):
        policy.infer(make_observation(seed))
    policy.reset()
    policy.infer(make_observation(4))
    single = policy.processor.batch(make_observation(1))["semantic_pixels"][0, :2]
    np.testing.assert_array_equal(seen[0], np.concatenate([single, single]))
    for before, after in itertools.pairwise(seen[:3]):
        np.testing.assert_array_equal(before[2:], after[:2])
    np.testing.assert_array_equal(seen[3][:2], seen[3][2:])


class TestCommitted:
    """Real-time chunking: chunks begin with what the robot will do anyway."""

    @pytest.mark.parametrize(("rows", "expected"), [(3, 2), (20, HORIZON // 2)])
    def test_the_chunk_begins_with_the_plan(self, policy: VipaPolicy, rows: int, expected: int) -> None:
        free = policy.infer(make_observation())
        policy.reset()
        chunk = policy.infer(make_observation(committed=make_plan(rows)))
        poses = chunk.target_poses()
        np.testing.assert_allclose(poses[:expected], make_plan(20).poses[1 : expected + 1], atol=1e-6)
        np.testing.assert_allclose(chunk.actions[:expected, 6:], 0.5, atol=1e-6)
        assert np.abs(chunk.actions[expected] - make_chunk_of_plan().actions[expected]).max() > 1e-3
        assert np.abs(chunk.actions[expected:] - free.actions[expected:]).max() > 1e-6

    def test_share_of_the_chunk(self, folder: Path) -> None:
        policy = VipaPolicy(VipaPolicyConfig(str(folder), "torch", real_time_chunking="training", committed_share=1.0))
        chunk = policy.infer(make_observation(committed=make_plan(20)))
        np.testing.assert_allclose(chunk.target_poses(), make_plan(20).poses[1 : HORIZON + 1], atol=1e-6)

    def test_switched_off_nothing_is_regarded(self, folder: Path) -> None:
        policy = VipaPolicy(VipaPolicyConfig(str(folder), "torch", real_time_chunking="none"))
        free = policy.infer(make_observation())
        policy.reset()
        chunk = policy.infer(make_observation(committed=make_plan(20)))
        np.testing.assert_array_equal(chunk.actions, free.actions)

    def test_a_plan_that_is_over_changes_nothing(self, policy: VipaPolicy) -> None:
        free = policy.infer(make_observation())
        policy.reset()
        chunk = policy.infer(make_observation(committed=make_plan(3, first_ns=1_000_000_000)))
        np.testing.assert_array_equal(chunk.actions, free.actions)


def make_chunk_of_plan() -> ActionChunk:
    actions = np.zeros((HORIZON, 12))
    actions[:, 0], actions[:, 6:] = 0.005 * np.arange(1, HORIZON + 1), 0.5
    return ActionChunk(actions, 0.05, make_observation().end_effector_pose, 0, "", "")


class TestHash:
    """What decides the actions is in the hash, nothing else."""

    def hash(self, folder: Path, **options: Any) -> str:
        return VipaPolicy(VipaPolicyConfig(str(folder), "torch", **options)).policy_hash

    def test_the_same_checkpoint_has_the_same_hash_wherever_it_lies(self, folder: Path) -> None:
        first = self.hash(folder)
        assert self.hash(folder.rename(folder.with_name("elsewhere"))) == first
        assert len(first) == 16

    @pytest.mark.parametrize("what", ["weights", "statistics", "config"])
    def test_it_sees_a_change_of(self, what: str, folder: Path, model: VipaVla) -> None:
        first = self.hash(folder)
        statistics, config, weights = STATISTICS, TINY, model
        if what == "weights":
            weights = make_model(seed=1)
        elif what == "statistics":
            statistics = replace(STATISTICS, action=replace(STATISTICS.action, mean=(0.0,) * 12))
        else:
            config = replace(TINY, action=replace(TINY.action, denoising_steps=5))
        save_checkpoint(folder, weights, config, statistics.to_mapping())
        assert self.hash(folder) != first


class TestUntrained:
    """Without a checkpoint the loop can be tried."""

    def test_moves_by_millimetres_says_so_and_is_always_the_same(self, caplog: pytest.LogCaptureFixture) -> None:
        state = torch.get_rng_state()
        with caplog.at_level(logging.WARNING):
            policy = make_policy("vipa", runtime="torch")
        assert [record.message for record in caplog.records if "untrained" in record.message] == [
            "policy vipa: no checkpoint is named, so the model is untrained: the robot moves at random, by millimetres"
        ]
        assert torch.equal(torch.get_rng_state(), state)
        chunk = policy.infer(make_observation())
        assert chunk.actions.shape == (16, 12)
        assert np.abs(chunk.actions[:, :3]).max() < 0.015
        assert np.abs(chunk.actions[:, 3:6]).max() < 0.08
        assert chunk.actions[:, 6:].min() > 0.9
        assert chunk.actions[:, :6].std() > 1e-4
        again = VipaPolicy(VipaPolicyConfig(runtime="torch"))
        assert again.policy_hash == policy.policy_hash
        np.testing.assert_array_equal(again.infer(make_observation()).actions, chunk.actions)
        again.close()


class TestRefused:
    """Each one clear error."""

    def test_a_checkpoint_without_statistics(self, folder: Path) -> None:
        (folder / "statistics.json").unlink()
        with pytest.raises(PolicyError, match=r"tiny: holds no statistics\.json"):
            make_policy("vipa", checkpoint=str(folder))

    def test_statistics_that_were_changed(self, folder: Path) -> None:
        file = folder / "statistics.json"
        content = json.loads(file.read_text())
        content["statistics"]["action"]["std"][0] *= 10
        file.write_text(json.dumps(content))
        with pytest.raises(CheckpointError, match="the statistics have the hash"):
            make_policy("vipa", checkpoint=str(folder))

    @pytest.mark.parametrize(
        ("statistics", "message"),
        [
            ({"action": {}}, "tiny: statistics: expected proprioception, action; found action"),
            (Statistics.fit(np.eye(22), np.eye(7)).to_mapping(), "action has 12 dimensions, the .* its statistics 7"),
        ],
    )
    def test_foreign_statistics(self, folder: Path, model: VipaVla, statistics: Any, message: str) -> None:
        save_checkpoint(folder, model, TINY, statistics)
        with pytest.raises(PolicyError, match=message):
            make_policy("vipa", checkpoint=str(folder))

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(PolicyError, match="cannot be read: No such file"):
            make_policy("vipa", checkpoint=str(tmp_path / "nowhere"))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"real_time_chunking": "sometimes"}, "policy vipa: real_time_chunking: expected .*training"),
            ({"committed_share": 1.5}, "policy vipa: committed_share: 1.5 is outside 0-1"),
            ({"seed": -1}, "policy vipa: seed: -1 is negative"),
            ({"weights": "x"}, "policy vipa: unknown option weights; known: checkpoint, committed_share"),
        ],
    )
    def test_bad_options(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(PolicyError, match=message):
            make_policy("vipa", **options)

    def test_an_unknown_runtime(self, folder: Path) -> None:
        with pytest.raises(PolicyError, match="abacus"):
            make_policy("vipa", checkpoint=str(folder), runtime="abacus")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"instruction": ""}, "the instruction is empty"),
            ({"instruction": "touch " * 10_000}, "the instruction takes 59999 tokens, at most 40 fit"),
            ({"joint_positions": np.full(7, np.nan)}, "joint positions not finite"),
            ({"views": {}}, "no frame of camera front"),
        ],
    )
    def test_an_observation_and_the_next_good_one_is_taken(
        self, policy: VipaPolicy, changes: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(PolicyError, match=message):
            policy.infer(make_observation(**changes))
        assert policy.infer(make_observation()).actions.shape == (HORIZON, 12)

    def test_actions_that_are_not_finite(self, tmp_path: Path) -> None:
        model = make_model()
        with torch.no_grad():
            model.action_head.action_decoder.bias[3] = float("nan")
        save_checkpoint(tmp_path, model, TINY, STATISTICS.to_mapping())
        policy = VipaPolicy(VipaPolicyConfig(str(tmp_path), "torch"))
        with pytest.raises(PolicyError, match="policy vipa: actions are not finite"):
            policy.infer(make_observation())


def test_it_describes_itself(policy: VipaPolicy) -> None:
    assert isinstance(policy, DescribedPolicy)
    assert policy.description == PolicyDescription(("front", "side"), HORIZON, 0.05, 32)
