"""The adapter with the genuine LIBERO, where the variable LIBERO_PYTHON names the Python of its environment."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from fabricated_libero import ReachingPolicy

import vipa_training
from tests.vipa_inference.serving.running import running, url
from vipa_inference.observation_checks import check_observation

PYTHON = os.environ.get("LIBERO_PYTHON", "")
WAY = np.array([0.05, 0.08, -0.06])  # m, in the base frame

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not PYTHON, reason="LIBERO_PYTHON is not set; see vipa_training/evaluation/libero/README.md"),
]


class WayPolicy(ReachingPolicy):
    """Goes a way from where each trial begins."""

    def reset(self) -> None:
        super().reset()
        self._begun = False

    def infer(self, observation):
        if not self._begun:
            self._begun, self._goal = True, observation.end_effector_pose[:3, 3] + WAY
        return super().infer(observation)


@pytest.mark.parametrize("suite", ["libero_spatial", "libero_object", "libero_goal", "libero_10"])
@pytest.mark.parametrize("cameras", [("agentview", "wrist"), ("agentview",)], ids=len)
def test_the_arm_goes_where_the_policy_wants(suite, cameras, tmp_path):
    policy, path = WayPolicy(np.zeros(3)), tmp_path / "results.json"
    command = [PYTHON, "-m", "vipa_training.evaluation.libero", "--suite", suite, "--output", str(path)]
    command += ["--tasks", "0", "--trials", "1", "--max-steps", "49", "--cameras", *cameras]
    with running(policy) as server:
        done = subprocess.run(
            [*command, "--url", url(server)],
            env={**os.environ, "PYTHONPATH": str(Path(vipa_training.__file__).parents[1])},
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    episode = json.loads(path.read_text())["episodes"][0]
    assert (episode["steps"], episode["chunks"], episode["success"]) == (49, 7, False)
    for seen in policy.seen:
        check_observation(seen, cameras)
        assert all(view.image.std() > 5 for view in seen.views.values())  # not black
    first, last = policy.seen[0], policy.seen[-1]
    went = last.end_effector_pose[:3, 3] - first.end_effector_pose[:3, 3]
    np.testing.assert_allclose(went, WAY, atol=0.01)
    np.testing.assert_allclose(last.end_effector_pose[:3, :3], first.end_effector_pose[:3, :3], atol=0.05)
    assert first.hand_positions[0] > 0.9  # open
    assert last.hand_positions[0] < 0.6  # closed at the goal
