"""LIBERO's and RoboCasa's files as datasets: what the rows show, and that their actions are the recorded ones."""

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from fabricated_demonstrations import BASE, Motion, write_libero, write_robocasa
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.vipa_inference.model.tiny import TINY
from tests.vipa_training.engine.training_process import QUICK
from vipa import cli
from vipa_inference.config import NANO
from vipa_inference.policy import PolicyError
from vipa_inference.processing import Processor
from vipa_inference.statistics import Statistics
from vipa_inference.tokenizers import make_tokenizer
from vipa_inference.untrained import save_untrained_checkpoint
from vipa_training.data.check import check_dataset
from vipa_training.data.chunks import pose_matrix, pose_of_state
from vipa_training.data.format import ACTION, IMAGES, STATE, TARGET_HAND, TARGET_POSE
from vipa_training.data.reader import Dataset
from vipa_training.evaluation.libero.demonstrations import instruction_of, observed_after, read_demonstration
from vipa_training.evaluation.robosuite.actions import SCALE, action_to_reach
from vipa_training.evaluation.robosuite.demonstrations import (
    Demonstration,
    does_something,
    import_demonstrations,
    rows_of,
)
from vipa_training.evaluation.robosuite.panda import end_effector_in_base
from vipa_training.stages.recipes import RECIPES, model_options
from vipa_training.stages.start import model_config

TASK = "pick_up_the_black_bowl_in_the_top_drawer_of_the_wooden_cabinet_and_place_it_on_the_plate"
RANDOM = np.random.default_rng(0)


def some_actions(count: int) -> np.ndarray:
    """Of an arm that moves all the time; the gripper closes halfway."""
    actions = RANDOM.uniform(-0.9, 0.9, (count, 7))
    actions[:, 6] = np.where(np.arange(count) < count // 2, -1.0, 1.0)
    return actions


def replayed(root: Path, episode: int) -> np.ndarray:
    """The actions (N, 7) that lead from the rows of a dataset to their targets."""
    with Dataset(root) as dataset:
        rows = dataset.rows(dataset.episodes[episode])
    poses, targets = pose_of_state(rows[STATE]), pose_matrix(rows[TARGET_POSE])
    found = np.array([action_to_reach(*one) for one in zip(targets, rows[TARGET_HAND], poses, strict=True)])
    np.testing.assert_allclose(rows[ACTION][:, :6] / SCALE, found[:, :6], atol=1e-4)
    return found


def shown(root: Path, camera: str, corner: tuple[int, int] = (2, 2)) -> list[int]:
    """Which picture each row of the first episode shows."""
    with Dataset(root) as dataset:
        episode = dataset.episodes[0]
        images = dataset.frames(episode, f"{IMAGES}{camera}", range(episode.length))
    return [round(float(image[corner].mean()) / 10) - 1 for image in images]


@pytest.mark.parametrize("published", [True, False], ids=["of LIBERO", "of OpenVLA's script"])
def test_libero_round_trip(published: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each action gets the picture and the state from before it, whichever script wrote the file."""
    motions = [Motion(some_actions(9)), Motion(some_actions(6))]
    write_libero(tmp_path / "libero_spatial" / f"{TASK}_demo.hdf5", motions, published)
    out = tmp_path / "dataset"
    command = ["dataset", "import", "--format", "libero", str(tmp_path / "libero_spatial"), "--out", str(out)]
    assert cli.main([*command, "--json", "-"]) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    first = int(published)  # what came before the first action was not kept
    assert figures == {"imported": 2, "known": 0, "refused": 0, "rows": 15 - 2 * first, "no_ops": 0}
    for episode, motion in enumerate(motions):
        np.testing.assert_allclose(replayed(out, episode), motion.actions[first:], atol=2e-5)
    assert shown(out, "agentview") == list(range(first, 9))
    with Dataset(out) as dataset:
        assert set(dataset.tasks) == {TASK.replace("_", " ")}
        assert dataset.layout.fps == 20
        assert tuple(dataset.layout.cameras) == ("agentview", "wrist")
        state = dataset.rows(dataset.episodes[0], (STATE,))[STATE]
    np.testing.assert_allclose(pose_of_state(state), motions[0].poses[first:9], atol=1e-4)
    np.testing.assert_allclose(state[:, 9:16], motions[0].joints[first:9], atol=1e-6)
    np.testing.assert_allclose(state[:, 16], motions[0].fingers[first:9, 0] / 0.04, atol=1e-6)
    assert list(check_dataset(out)) == []
    assert cli.main(command) == 0
    assert "0 imported, 2 were there already" in capsys.readouterr().out


@settings(max_examples=25, deadline=None)
@given(arrays(np.float64, (5, 7), elements=st.floats(-1.0, 1.0)))
def test_any_action_comes_back(actions: np.ndarray) -> None:
    motion = Motion(actions)
    seen = {"front": motion.pictures[:5]}
    rows = rows_of(
        Demonstration("go", "go", seen, motion.poses[:5], motion.joints[:5], motion.fingers[:5], motion.actions)
    )
    found = [
        action_to_reach(row.target_pose, row.target_hand, pose)
        for row, pose in zip(rows, motion.poses[:5], strict=True)
    ]
    np.testing.assert_allclose(found, actions, atol=1e-6)


def test_one_view_turned_as_openvla_does_it(tmp_path: Path) -> None:
    path = write_libero(tmp_path / f"{TASK}_demo.hdf5", [Motion(some_actions(4))])
    command = ["dataset", "import", "--format", "libero", str(path), "--out", str(tmp_path / "out")]
    assert cli.main([*command, "--cameras", "front", "--rotate-pictures"]) == 0
    with Dataset(tmp_path / "out") as dataset:
        assert tuple(dataset.layout.cameras) == ("front",)
    assert shown(tmp_path / "out", "front", (2, 13)) == [1, 2, 3]  # the left is on the right


def test_rows_in_which_nothing_is_done_are_left_out(tmp_path: Path) -> None:
    actions = some_actions(8)
    actions[2:5, :6] = 0.0  # nothing, three times
    actions[3, 6] = 1.0  # but here the gripper closes
    actions[4:, 6] = 1.0
    path = write_libero(tmp_path / f"{TASK}_demo.hdf5", [Motion(actions)], published=False)
    command = ["dataset", "import", "--format", "libero", str(path), "--out"]
    assert cli.main([*command, str(tmp_path / "moving")]) == 0
    np.testing.assert_allclose(replayed(tmp_path / "moving", 0), actions[[0, 1, 3, 5, 6, 7]], atol=2e-5)
    assert shown(tmp_path / "moving", "agentview") == [0, 1, 3, 5, 6, 7]
    assert list(check_dataset(tmp_path / "moving")) == []
    assert cli.main([*command, str(tmp_path / "all"), "--keep-no-ops"]) == 0
    np.testing.assert_allclose(replayed(tmp_path / "all", 0), actions, atol=2e-5)


def test_a_first_action_that_does_nothing() -> None:
    np.testing.assert_array_equal(does_something(np.array([[0.0] * 6 + [-1], [0.5] + [0.0] * 5 + [-1]])), [False, True])


@pytest.mark.parametrize(
    ("name", "instruction"),
    [
        ("open_the_middle_drawer_of_the_cabinet", "open the middle drawer of the cabinet"),
        ("KITCHEN_SCENE10_put_the_butter_in_the_top_drawer", "put the butter in the top drawer"),
        ("LIVING_ROOM_SCENE2_put_both_the_soups_in_the_basket", "put both the soups in the basket"),
        ("STUDY_SCENE1_pick_up_the_book", "pick up the book"),
    ],
)
def test_instructions_are_those_of_the_evaluation(name: str, instruction: str) -> None:
    assert instruction_of(name) == instruction


def test_robocasa_round_trip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    motions = [Motion(some_actions(5)) for _ in range(2)]
    say = "pick the mug from the counter and place it in the cabinet"
    for task in ("PnPCounterToCab", "PnPCabToCounter"):  # whose files have the same name
        write_robocasa(tmp_path / "v0.1" / task / "2024-04-24" / "demo_gentex_im128_randcams.hdf5", motions, say, 2)
    command = ["dataset", "import", "--format", "robocasa", str(tmp_path / "v0.1"), "--out", str(tmp_path / "out")]
    assert cli.main(command) == 0
    said = capsys.readouterr().out
    assert "2 imported, 0 were there already, 2 left out" in said
    assert "demo_2: left out: actions: base or torso move in 1 of 5 rows" in said
    np.testing.assert_allclose(replayed(tmp_path / "out", 1), motions[0].actions, atol=2e-5)
    with Dataset(tmp_path / "out") as dataset:
        assert tuple(dataset.layout.cameras) == ("left", "right", "wrist")
        assert dataset.tasks == (say,)
        assert [one.note.scene for one in dataset.episodes] == ["PnPCabToCounter", "PnPCounterToCab"]
    assert shown(tmp_path / "out", "wrist") == list(range(5))
    assert cli.main(["dataset", "check", str(tmp_path / "out")]) == 0


def broken(name: str, change, tmp_path: Path) -> str:
    """Why a file is refused in which one thing is wrong."""
    path = write_libero(tmp_path / f"{name}_demo.hdf5", [Motion(some_actions(4))])
    with h5py.File(path, "r+") as file:
        change(file["data/demo_0"])
    done = import_demonstrations(path, tmp_path / "out", read_demonstration, False, lambda _: None)
    assert done.episodes == 0
    return next(iter(done.refused.values()))


def replace(demo, key: str, value: np.ndarray) -> None:
    del demo[key]
    demo.create_dataset(key, data=value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda demo: replace(demo, "actions", np.zeros((4, 12))), r"actions: has the shape \(4, 12\)"),
        (lambda demo: replace(demo, "actions", np.full((4, 7), np.nan)), "actions: is not finite"),
        (lambda demo: replace(demo, "actions", np.zeros((4, 7))), "no action does anything"),
        (lambda demo: demo.__delitem__("obs/agentview_rgb"), "lacks something.*agentview_rgb"),
        (lambda demo: replace(demo, "obs/ee_pos", BASE + np.arange(12).reshape(4, 3)), "mm off what a Panda"),
        (lambda demo: replace(demo, "obs/eye_in_hand_rgb", np.zeros((3, 4, 4, 3), np.uint8)), r"expected uint8 \(4"),
    ],
)
def test_what_cannot_be_used_is_left_out(change, reason: str, tmp_path: Path) -> None:
    assert re.search(reason, broken("a_task", change, tmp_path))


def test_no_file_and_a_broken_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["dataset", "import", "--format", "libero", str(tmp_path), "--out", str(tmp_path / "out")]
    assert cli.main(command) == 1
    assert "holds no *.hdf5" in capsys.readouterr().err
    (tmp_path / "a_demo.hdf5").write_bytes(b"<html>")
    assert cli.main(command) == 1
    assert "a_demo.hdf5: left out: " in capsys.readouterr().out
    for options, message in (
        (["--format", "libero"], "say --out FOLDER"),
        (["--format", "libero", "--out", "x", "--cameras", "a,b,c"], "at most 2"),
        (["--format", "robocasa", "--out", "x", "--rotate-pictures"], "upright in its files"),
        ([], "name an episode"),
    ):
        assert cli.main(["dataset", "import", str(tmp_path), *options]) == 1
        assert message in capsys.readouterr().err


def test_observed_after_needs_no_motion() -> None:
    assert not observed_after(np.zeros((3, 7)), np.zeros((3, 20)))


def test_the_panda_stands_where_libero_says() -> None:
    """Joints and pose of the simulated Panda, in the frame of its base, as LIBERO's simulator told them."""
    joints = [[-0.0001202, -0.1708396, -0.0241175, -2.4525706, -0.0061184, 2.2259100, 0.7677687]]
    pose = end_effector_in_base(joints)[0]
    np.testing.assert_allclose(pose[:3, 3], np.array([-0.2112416, -0.0110906, 1.1742495]) - BASE, atol=1e-3)
    np.testing.assert_allclose(pose[:3, :3] @ [0, 0, 1], [-0.0559, -0.0005, -0.9984], atol=5e-3)


@pytest.mark.parametrize("name", ["nano", "libero", "libero-nano", "robocasa", "robocasa-nano"])
def test_recipes_leave_room_for_long_instructions(name: str) -> None:
    """The preset nano by itself does not, and says so."""
    longest = "pick the kettle non electric from the sink and place it on the cutting board located on the counter"
    assert name in RECIPES
    statistics = Statistics.fit(RANDOM.normal(size=(9, 22)), RANDOM.normal(size=(9, 12)))
    config = model_config(NANO, model_options(name, []))
    assert len(config.views) == (3 if "robocasa" in name else 2)
    Processor(config, statistics, make_tokenizer(config.language, None)).prompt(longest)
    with pytest.raises(PolicyError, match=r"takes 99 tokens, at most 64 fit.*larger model\.prompt\.text_tokens"):
        Processor(NANO, statistics, make_tokenizer(NANO.language, None)).prompt(longest)
    assert model_config(NANO, model_options(name, ['views=["front"]'])).views == ("front",)


def test_stage3_reads_it(tmp_path: Path) -> None:
    """With the recipe's own cameras and room, from the command line to a checkpoint."""
    write_libero(tmp_path / "in" / f"{TASK}_demo.hdf5", [Motion(some_actions(6))])
    data, out = str(tmp_path / "data"), tmp_path / "run"
    assert cli.main(["dataset", "import", "--format", "libero", str(tmp_path / "in"), "--out", data]) == 0
    save_untrained_checkpoint(tmp_path / "begin", TINY)
    train = ["train", "stage3", "--checkpoint", str(tmp_path / "begin"), "--recipe", "libero-nano", "--dataset", data]
    pairs = [f"--set={pair}" for pair in (*QUICK, "optimisation.steps=1")]
    assert cli.main([*train, "--out", str(out), *pairs]) == 0
    model = json.loads((out / "config.json").read_text())["model"]
    assert model["views"] == ["agentview", "wrist"]
    assert model["prompt"]["text_tokens"] == 128
