"""The adapter with the genuine RoboCasa, where the variable ROBOCASA_PYTHON names the Python of its environment."""

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

PYTHON = os.environ.get("ROBOCASA_PYTHON", "")
WAY = np.array([0.05, 0.05, 0.03])  # m, in the base frame

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not PYTHON, reason="ROBOCASA_PYTHON is not set; see vipa_training/evaluation/robocasa/README.md"
    ),
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


@pytest.mark.parametrize("task", ["PnPCounterToCab", "OpenDrawer", "CoffeePressButton"])
def test_the_arm_goes_where_the_policy_wants(task, tmp_path):
    policy, path = WayPolicy(np.zeros(3)), tmp_path / "results.json"
    command = [PYTHON, "-m", "vipa_training.evaluation.robocasa", "--tasks", task, "--output", str(path)]
    with running(policy) as server:
        done = subprocess.run(
            [*command, "--trials", "1", "--max-steps", "49", "--url", url(server)],
            env={**os.environ, "PYTHONPATH": str(Path(vipa_training.__file__).parents[1])},
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(path.read_text())["episodes"][0]["chunks"] == 7
    for seen in policy.seen:
        check_observation(seen, ("left", "right", "wrist"))
        assert all(view.image.std() > 5 for view in seen.views.values())  # not black
        assert seen.instruction
    went = policy.seen[-1].end_effector_pose[:3, 3] - policy.seen[0].end_effector_pose[:3, 3]
    np.testing.assert_allclose(went, WAY, atol=0.01)
