"""The policy ``vipa``: which kind of real-time chunking it uses, and inference-time real-time chunking."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.vipa_inference.model.tiny import TINY
from tests.vipa_inference.test_vipa_policy import HORIZON, STATISTICS, make_model, make_observation, make_plan
from vipa_inference.checkpoint import save_checkpoint
from vipa_inference.model.guided_sampling import sample_guided
from vipa_inference.policy import ActionChunk, Observation
from vipa_inference.real_time_chunking import continued
from vipa_inference.vipa_policy import VipaPolicy, VipaPolicyConfig

WITH_PREFIXES = replace(TINY, action=replace(TINY.action, max_prefix=2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    save_checkpoint(folder, make_model(), TINY, STATISTICS.to_mapping())
    return folder


@pytest.fixture
def policy(folder: Path) -> VipaPolicy:
    return VipaPolicy(VipaPolicyConfig(str(folder), "torch"))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def refuse(*arguments: Any) -> Any:
    raise AssertionError("the runtime's own sampling is not for this")


def guided(
    policy: VipaPolicy, observation: Observation, noise: NDArray[np.float32], length: int, last: ActionChunk | None
) -> NDArray[np.float64]:
    """The chunk's actions by ``sample_guided`` itself."""
    assert observation.committed is not None
    plan = observation.committed if last is None else continued(observation.committed, last)
    pose, moment_ns = observation.end_effector_pose, observation.observation_ns
    prefix, soft = policy.processor.prefix(plan, pose, moment_ns, HORIZON if last is not None else length)
    batch = policy.processor.batch(observation)
    context, state = policy.runtime.condition(batch), batch["proprioception"]
    tensors = [torch.from_numpy(np.asarray(values)) for values in (noise, state, context, prefix)]
    head = make_model().eval().action_head
    actions = sample_guided(head, *tensors, torch.tensor([length]), torch.tensor([soft]))
    wanted = policy.processor.unnormalise_actions(actions.numpy()[0])
    wanted[:, 6:] = wanted[:, 6:].clip(0.0, 1.0)
    return wanted


def test_a_checkpoint_trained_without_prefixes_is_guided(policy: VipaPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).standard_normal((1, HORIZON, 12), dtype=np.float32)
    monkeypatch.setattr(policy.runtime, "act", refuse)
    observation = make_observation(committed=make_plan(3))
    wanted = guided(policy, observation, noise, 2, None)
    np.testing.assert_allclose(policy.infer(observation).actions, wanted, atol=1e-6)


def test_beyond_what_is_committed_it_keeps_to_the_last_chunk(policy: VipaPolicy) -> None:
    generator = np.random.default_rng(0)
    first, second = (generator.standard_normal((1, HORIZON, 12), dtype=np.float32) for _ in range(2))
    last = policy.infer(make_observation())
    observation = make_observation(1, committed=make_plan(3))
    wanted = guided(policy, observation, second, 2, last)
    alone = guided(policy, observation, second, 2, None)
    np.testing.assert_allclose(policy.infer(observation).actions, wanted, atol=1e-6)
    assert np.abs(wanted - alone).max() > 1e-4
    policy.reset()
    wanted = guided(policy, observation, first, 2, None)
    np.testing.assert_allclose(policy.infer(observation).actions, wanted, atol=1e-6)


def test_at_most_the_share_of_a_chunk_is_held(folder: Path) -> None:
    policy = VipaPolicy(VipaPolicyConfig(str(folder), "torch", committed_share=0.5))
    noise = np.random.default_rng(0).standard_normal((1, HORIZON, 12), dtype=np.float32)
    observation = make_observation(committed=make_plan(20))
    wanted = guided(policy, observation, noise, HORIZON // 2, None)
    np.testing.assert_allclose(policy.infer(observation).actions, wanted, atol=1e-6)


def test_without_a_plan_the_runtime_samples(policy: VipaPolicy, folder: Path) -> None:
    other = VipaPolicy(VipaPolicyConfig(str(folder), "torch", real_time_chunking="none"))
    np.testing.assert_array_equal(policy.infer(make_observation()).actions, other.infer(make_observation()).actions)


def test_a_checkpoint_trained_with_prefixes_gets_them_up_to_their_length(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, make_model(WITH_PREFIXES), WITH_PREFIXES, STATISTICS.to_mapping())
    policy = VipaPolicy(VipaPolicyConfig(str(tmp_path), "torch"))
    lengths: list[int] = []
    act = policy.runtime.act
    policy.runtime.act = lambda *arguments: lengths.append(arguments[-1]) or act(*arguments)
    for rows in (1, 2, 3, 20):
        poses = policy.infer(make_observation(committed=make_plan(rows))).target_poses()
        np.testing.assert_allclose(poses[: lengths[-1]], make_plan(20).poses[1 : lengths[-1] + 1], atol=1e-6)
    assert lengths == [0, 1, 2, 2]
