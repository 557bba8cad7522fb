"""``vipa dataset``: recordings into a dataset and back, as a person does it."""

import json
from pathlib import Path

import numpy as np
import pytest
from fabricated_datasets import LAYOUT, finished, number_in, write_dataset
from fabricated_robot import Robot, record_robot
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from vipa.cli import main
from vipa.recording.bag import mcap_name
from vipa_training.data.format import STATE, TARGET_HAND, TARGET_POSE
from vipa_training.data.reader import Dataset
from vipa_training.data.writer import DatasetWriter


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["dataset", *arguments])
    out, err = capsys.readouterr()
    return status, out, err


def test_export_continue_check_import_and_export_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, data = tmp_path / "recordings", tmp_path / "data"
    record_robot(source, Robot())
    record_robot(source, Robot(rates={"front": 30.0}))
    status, out, _ = run(capsys, "export", str(source), "--out", str(data), "--image-size", "0")
    assert status == 0
    assert "not exported: episode_000002: its cameras, their sizes or the rate are not those of" in out
    assert "1 exported, 0 were there already, 1 not exported" in out
    record_robot(source, Robot(seconds=3.0))
    report = tmp_path / "report.json"
    status, out, _ = run(capsys, "export", str(source), "--out", str(data), "--image-size", "0", "--json", str(report))
    assert (status, "1 exported, 1 were there already, 1 not exported" in out) == (0, True)
    assert json.loads(report.read_text())["figures"]["exported"] == 1
    assert run(capsys, "check", str(data)) == (0, "clean\n", "")

    back, again = tmp_path / "back", tmp_path / "again"
    assert run(capsys, "import", str(data), "0", "--recordings", str(back))[0] == 0
    assert run(capsys, "export", str(back), "--out", str(again), "--image-size", "0")[0] == 0
    with Dataset(data) as one, Dataset(again) as two:
        first, second = one.rows(one.episodes[0]), two.rows(two.episodes[0])
        count = min(len(first[STATE]), len(second[STATE]))
        assert count > 40
        np.testing.assert_allclose(first[STATE][:count], second[STATE][:count], atol=2e-3)
        off = np.abs(first[TARGET_POSE][:count, :3] - second[TARGET_POSE][:count, :3])
        assert off.max() < 2e-3
        np.testing.assert_allclose(first[TARGET_HAND][:count], second[TARGET_HAND][:count], atol=1e-6)
        key = one.layout.video_keys[0]
        frames = [[number_in(f) for _, f in d.all_frames(d.episodes[0], key)][:count] for d in (one, two)]
        assert frames[0] == frames[1]
        assert two.episodes[0].note.task == "wipe the board"
        assert [name for name, _ in two.episodes[0].note.sub_tasks] == ["wiped"]


def test_what_an_imported_recording_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_dataset(tmp_path / "data", (9,))
    assert run(capsys, "import", str(data), "0", "--recordings", str(tmp_path / "back"))[0] == 0
    path = tmp_path / "back/episode_000001" / mcap_name("episode_000001")
    with path.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True, decoder_factories=[DecoderFactory()])
        found = {}
        for _, channel, _, message in reader.iter_decoded_messages():
            found.setdefault(channel.topic, []).append(message)
        attachments = {attachment.name for attachment in reader.iter_attachments()}
    chunk = found["/policy/action_chunk"][2]
    assert (chunk.horizon, chunk.dimension, list(chunk.cameras)) == (16, 12, ["front", "side"])
    assert len(chunk.actions) == 16 * 12
    assert chunk.instruction == "wipe the board"
    with Dataset(data) as dataset:
        rows = dataset.rows(dataset.episodes[0])
    np.testing.assert_allclose(chunk.actions[:12], rows["action"][2], atol=1e-5)
    state = found["/fr3/state"][3]
    np.testing.assert_allclose(state.joint_positions, rows[STATE][3][9:16], atol=1e-6)
    assert state.end_effector_pose.position.x == pytest.approx(rows[STATE][3][0])
    assert state.detail == "from a dataset"
    hand = found["/hand/state"][1]
    np.testing.assert_allclose(hand.targets, rows[TARGET_HAND][1])
    assert list(hand.status) == [255] * 6
    assert len(found["/camera/front/color/image_raw/compressed"]) == 9
    assert found["/joint_states"][0].name[0] == "fr3_joint1"
    assert [e.event for e in found["/recorder/events"]] == ["started", "sub_task", "success", "stopped"]
    assert "lab.yaml" in attachments


def test_check_tells_problems_and_stats_mends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_dataset(tmp_path / "data", (6,))
    (data / "meta/stats.json").unlink()
    status, out, _ = run(capsys, "check", str(data))
    assert status == 1
    assert "stats.json: no such file" in out
    assert run(capsys, "stats", str(data))[0] == 0
    assert run(capsys, "check", str(data))[1] == "clean\n"


def test_merge_and_view(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_dataset(tmp_path / "data", (6, 7))
    assert run(capsys, "merge", str(data), str(data), "--out", str(tmp_path / "both"))[0] == 0
    page = tmp_path / "page.html"
    assert run(capsys, "view", str(tmp_path / "both"), "--episodes", "0,3", "--out", str(page))[0] == 0
    text = page.read_text()
    assert text.count("<video") == 4
    assert text.count("<svg") == 6
    assert "http" not in text.replace("http-equiv", "")
    status, _, err = run(capsys, "view", str(data), "--episodes", "9", "--out", str(page))
    assert (status, "has no episode 9" in err) == (1, True)


def test_texts_of_a_dataset_are_escaped_on_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with DatasetWriter(tmp_path / "data", LAYOUT) as writer:
        writer.add(finished(writer.begin(), 3, task="<script>alert(1)</script>"))
    assert run(capsys, "view", str(tmp_path / "data"), "--out", str(tmp_path / "page.html"))[0] == 0
    assert "<script>alert" not in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "nowhere"], "no such dataset"),
        (["export", "nowhere", "--out", "x"], "no such folder"),
        (["export", "nowhere", "--out", "x", "--rate", "0"], "must be positive"),
        (["stats", "nowhere"], "no such dataset"),
        (["import", "nowhere", "0"], "no such dataset"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *arguments)
    assert status == 1
    assert message in out + err
    assert (out + err).count("\n") == 1
