"""RoboCasa's adapter against a fabricated package with RoboCasa's interface and a real policy server."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fabricated_libero import SIZE
from fabricated_robocasa import CAMERAS, FabricatedKitchen, ListeningPolicy, write_package

from tests.vipa_inference.serving.running import running, url
from vipa_inference.observation_checks import check_observation
from vipa_inference.success_rates import wilson_interval
from vipa_training.evaluation.robocasa.__main__ import main
from vipa_training.evaluation.robocasa.settings import GROUPS, MAX_STEPS, RobocasaConfig

TASKS = tuple(MAX_STEPS)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs the fabricated package, and removes what was imported of it."""

    def put(tasks=TASKS, **options):
        monkeypatch.syspath_prepend(write_package(tmp_path / "site", tasks, **options))

    def forget():
        for name in [name for name in sys.modules if name.split(".")[0] == "robocasa"]:
            del sys.modules[name]

    forget()
    FabricatedKitchen.made.clear()
    yield put
    forget()


def evaluate(policy, path, *options):
    with running(policy) as server:
        return main(["--url", url(server), "--output", str(path), *options])


def test_tasks_through_the_policy_server(install, tmp_path, capsys):
    """The policy goes where the kitchen says; one task gets too few steps."""
    install()
    policy, path = ListeningPolicy(), tmp_path / "new" / "results.json"
    options = ["--trials", "3", "--tasks", "OpenDrawer", "CoffeePressButton", "--seed", "7"]
    assert evaluate(policy, path, *options, "--max-steps", "60") == 0
    content = json.loads(path.read_text())
    low, high = wilson_interval(6, 6)
    everything = {"successes": 6, "trials": 6, "rate": 1.0, "low": low, "high": high}
    assert content["summary"]["suite"] == everything
    assert content["summary"]["groups"]["doors and drawers"]["trials"] == 3
    assert content["summary"]["groups"]["pick and place"]["trials"] == 0
    assert content["summary"]["tasks"]["OpenDrawer"]["successes"] == 3
    assert content["versions"]["robocasa"] == "0.2.0"
    assert content["settings"]["scenes"][0] == [1, 1]
    assert all(kitchen.is_closed for kitchen in FabricatedKitchen.made)
    arguments = FabricatedKitchen.made[0].arguments
    assert arguments["env_name"] == "OpenDrawer"
    assert arguments["camera_names"] == list(CAMERAS)
    assert arguments["obj_instance_split"] == "B"
    assert arguments["robots"] == "PandaOmron"
    said = capsys.readouterr()
    assert "others: 3 of 3 trials, 100.0%" in said.out
    assert "robocasa prints" in said.err
    goals = [seen.instruction for seen in policy.seen if seen.observation_ns == 0]
    assert goals[:3] == goals[3:]  # trial k is drawn from the seed and k alone
    assert len(set(goals)) == 3


def test_what_the_policy_gets(install, tmp_path):
    """The geometry is right: where the camera says that the end effector is, there is the white pixel."""
    install()
    policy = ListeningPolicy()
    options = ["--trials", "1", "--tasks", "TurnOnStove", "--max-steps", "12"]
    assert evaluate(policy, tmp_path / "results.json", *options) == 0
    for seen in policy.seen:
        check_observation(seen, ("left", "right", "wrist"))
        assert tuple(seen.views) == ("left", "right", "wrist")
        view = seen.views["left"]
        x, y, depth = view.intrinsics @ (np.linalg.inv(view.camera_to_base) @ seen.end_effector_pose)[:3, 3]
        row, column = np.argwhere(view.image[:, :, 0])[0]
        assert depth > 0
        assert (column, row) == pytest.approx((x / depth, y / depth), abs=0.51)
        assert view.image.shape == (SIZE, SIZE, 3)
    np.testing.assert_allclose(policy.seen[0].hand_positions, 1.0)
    np.testing.assert_allclose(policy.seen[0].end_effector_pose[:3, 3], [0.4, 0.0, 0.3])


def test_fewer_views_and_the_limit_of_a_task(install, tmp_path):
    install()

    class Idle(ListeningPolicy):
        def infer(self, observation):
            chunk = super().infer(observation)
            chunk.actions[:] = 0.0
            return chunk

    path = tmp_path / "results.json"
    options = ["--trials", "1", "--tasks", "CoffeePressButton", "--cameras", "front", "--execute-steps", "16"]
    assert evaluate(Idle(), path, *options) == 0
    episode = json.loads(path.read_text())["episodes"][0]
    assert (episode["steps"], episode["success"], episode["clipped_steps"]) == (300, False, 0)
    assert FabricatedKitchen.made[0].arguments["camera_names"] == ["robot0_agentview_left"]


def test_the_tasks_are_those_of_the_paper():
    assert [len(group) for group in GROUPS.values()] == [8, 6, 10]
    assert len(MAX_STEPS) == 24
    assert RobocasaConfig(tasks=("PnPCabToCounter", "PnPCounterToCab")).numbers == (1, 0)


def test_what_is_missing_is_said_in_one_line(install, tmp_path, monkeypatch, capsys):
    arguments = ["--output", str(tmp_path / "results.json")]
    monkeypatch.setitem(sys.modules, "robocasa", None)
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("robocasa: the package robocasa is not installed here. Install RoboCasa 0.2")
    assert said.count("\n") == 1
    monkeypatch.undo()
    install(assets=False)
    assert main(arguments) == 1
    assert "RoboCasa's assets are missing. Download them (5 GB): " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"tasks": ("PickPlaceCounterToCabinet",)}, "has no task PnPCounterToCab: it is not version 0.2"),
        ({"frame": "world"}, "in the frame world; expected 12, "),
    ],
)
def test_another_robocasa_is_refused(options, complaint, install, tmp_path, capsys):
    install(**options)
    assert evaluate(ListeningPolicy(), tmp_path / "results.json", "--trials", "1") == 1
    assert complaint in capsys.readouterr().err
    assert all(kitchen.is_closed for kitchen in FabricatedKitchen.made)


def test_packages_of_other_versions(install, tmp_path, capsys):
    """RoboCasa asserts the versions of MuJoCo and numpy when it is imported."""
    install()
    Path(sys.path[0], "robocasa", "__init__.py").write_text('raise AssertionError("MuJoCo version must be 3.2.6")\n')
    assert main(["--output", str(tmp_path / "results.json")]) == 1
    assert "robocasa: RoboCasa cannot be used here: MuJoCo version must be 3.2.6" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--tasks", "Dance"], "tasks: Dance; expected, each once: PnPCounterToCab"),
        (["--trials", "0"], "trials: 0 is not positive"),
        (["--seed", "-1"], "seed: -1 is negative"),
        (["--cameras", "a", "a"], "cameras: a, a; expected one to three"),
    ],
)
def test_settings_that_make_no_sense(options, complaint, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--output", str(tmp_path / "results.json"), *options])
    assert complaint in capsys.readouterr().err


def test_the_side_of_robocasa_loads_nothing_heavy():
    code = (
        "import sys, vipa_training.evaluation.robocasa.__main__\n"
        "heavy = {'torch', 'transformers', 'pyarrow', 'av', 'h5py', 'rclpy', 'vipa', 'mujoco', 'robocasa'}\n"
        "sys.exit(', '.join(sorted(heavy & sys.modules.keys())) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
