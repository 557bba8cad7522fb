"""Chunks of actions lead to the targets that were commanded, whatever the rows' times."""

import numpy as np
from fabricated_datasets import hand_at, pose_at
from hypothesis import given
from hypothesis import strategies as st

from vipa_inference.policy import ActionChunk, CommittedPlan
from vipa_training.data.chunks import action_chunk

SECOND = 1_000_000_000


def targets(times: np.ndarray) -> CommittedPlan:
    poses = np.stack([pose_at(t) for t in times])
    return CommittedPlan(np.round(times * SECOND).astype(np.int64), poses, np.stack([hand_at(t) for t in times]))


@given(row=st.integers(0, 15))
def test_rows_on_the_grid_are_the_targets_themselves(row: int) -> None:
    known = targets(0.05 * np.arange(1, 21))
    reference = pose_at(0.05 * row + 0.01)
    actions, inside = action_chunk(known, row * SECOND // 20, reference, 8, 0.05)
    chunk = ActionChunk(actions, 0.05, reference, 0, "", "")
    last = np.minimum(row + np.arange(8), 19)
    np.testing.assert_allclose(chunk.target_poses(), known.poses[last], atol=1e-9)
    np.testing.assert_allclose(actions[:, 6:], known.hand[last], atol=1e-9)
    assert inside.tolist() == [row + k <= 19 for k in range(8)]


@given(
    jitter=st.lists(st.floats(-0.015, 0.015), min_size=20, max_size=20),
    time=st.floats(0.0, 0.5),
    step=st.sampled_from([0.02, 0.05, 0.1]),
)
def test_uneven_rows_and_other_steps_give_the_same_path(jitter: list[float], time: float, step: float) -> None:
    known = targets(0.05 * np.arange(1, 21) + np.array(jitter))
    reference = pose_at(time)
    actions, _ = action_chunk(known, round(time * SECOND), reference, 3, step)
    chunk = ActionChunk(actions, step, reference, 0, "", "")
    for k, pose in enumerate(chunk.target_poses()):
        moment = max(time + (k + 1) * step, known.times_ns[0] / SECOND)
        assert np.abs(pose[:3, 3] - pose_at(moment)[:3, 3]).max() < 1e-3


def test_one_row() -> None:
    actions, inside = action_chunk(targets(np.array([0.05])), 0, pose_at(0.0), 3, 0.05)
    assert np.ptp(actions, axis=0).max() == 0.0
    assert inside.tolist() == [True, False, False]
