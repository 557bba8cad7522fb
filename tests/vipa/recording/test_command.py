"""``vipa record`` on the command line."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from fabricated_recordings import START_NS, file_of, new_recorder, record, small_robot

from vipa import cli
from vipa.commands import client as client_module
from vipa.commands import record as command
from vipa.recording.store import RecordingStore

ACTIONS = ("run", "start", "stop", "discard", "mark", "state", "list", "recover")


@pytest.fixture
def folder(tmp_path):
    """Two episodes, the second cut off."""
    robot = small_robot()
    folder = tmp_path / "recordings"
    recorder = new_recorder(folder, robot)
    for name in ("put three objects", "wipe"):
        record(recorder, robot, 0.3, instruction=name)
    recorder.close(START_NS)
    path = file_of(folder, "episode_000002")
    os.truncate(path, path.stat().st_size - 10)
    (path.parent / "metadata.yaml").unlink()
    return folder


def run(tmp_path, *arguments):
    status = cli.main(["record", *arguments, "--json", str(tmp_path / "result.json")])
    return status, json.loads((tmp_path / "result.json").read_text())


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_has_help_with_an_example(action, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["record", action, "--help"])
    assert stop.value.code == 0
    output = capsys.readouterr().out
    assert f"vipa record {action}" in output.partition("example:")[2]
    assert "--json" in output


@pytest.mark.parametrize("arguments", [["start"], ["mark"], ["mark", "triumph"], ["stop", "--outcome", "perhaps"],
                                       ["state", "--domain", "233"], []])  # fmt: skip
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(["record", *arguments])
    assert stop.value.code == 2


def test_list(folder, tmp_path, capsys):
    status, result = run(tmp_path, "list", str(folder))
    assert status == 0
    assert result["figures"]["episodes"] == 1
    assert result["figures"]["not_ended"] == 1
    assert result["details"]["episodes"][0]["instruction"] == "put three objects"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("episode_000001")
    assert lines[0].endswith("put three objects")
    assert "vipa record recover" in lines[1]


def test_recover(folder, tmp_path, capsys):
    before = {p: p.read_bytes() for p in (folder / "episode_000001").iterdir()}
    status, result = run(tmp_path, "recover", str(folder))
    assert (status, result["figures"]) == (0, {"recovered": 1.0, "failed": 0.0, "left_alone": 1.0})
    assert result["details"]["episode_000002"]["frames"]["/camera/front/depth/image_rect_raw"] == 9
    assert "episode_000002: 50 messages in 0.3 s kept" in capsys.readouterr().out
    assert {p: p.read_bytes() for p in (folder / "episode_000001").iterdir()} == before
    assert run(tmp_path, "recover", str(folder))[1]["figures"] == {"recovered": 0.0, "failed": 0.0, "left_alone": 2.0}


def test_an_episode_that_cannot_be_recovered_is_told(folder, tmp_path, capsys):
    file_of(folder, "episode_000002").unlink()
    status, result = run(tmp_path, "recover", str(folder))
    assert (status, result["figures"]["failed"], result["ok"]) == (1, 1.0, False)
    assert "episode_000002_0.mcap: cannot be recovered" in capsys.readouterr().err


def test_recover_while_a_recorder_runs_is_refused(folder, capsys):
    store = RecordingStore(folder)
    assert cli.main(["record", "recover", str(folder)]) == 1
    store.close()
    assert "another recorder" in capsys.readouterr().err


def test_a_missing_folder_is_named(tmp_path, capsys):
    for action in ("list", "recover"):
        assert cli.main(["record", action, str(tmp_path / "missing")]) == 1
        assert capsys.readouterr().err == f"vipa: recordings {tmp_path}/missing: no such folder\n"
    assert not (tmp_path / "missing").exists()


@pytest.fixture
def client(monkeypatch):
    """Stands for the client's process: what it was asked, and what it answers."""
    asked = []
    answer = {"success": True, "message": "recording", "episode": "episode_000003"}

    def run_client(line, env, **_):
        asked.append((line[2:], env.get("ROS_DOMAIN_ID")))
        output = answer if isinstance(answer, str) else json.dumps(answer)
        return subprocess.CompletedProcess(line, 0, output, "")

    monkeypatch.setattr(client_module, "ros_environment", dict)
    monkeypatch.setattr(client_module.subprocess, "run", run_client)
    return asked, answer


@pytest.mark.parametrize(("arguments", "expected"), [
    (["start", "wipe the board"], ["start", "--kind", "", "--text", "wipe the board"]),
    (["stop"], ["stop", "--kind", "", "--text", ""]),
    (["stop", "--outcome", "failure"], ["stop", "--kind", "failure", "--text", ""]),
    (["discard", "fell"], ["discard", "--kind", "", "--text", "fell"]),
    (["mark", "success"], ["mark", "--kind", "success", "--text", ""]),
    (["mark", "sub_task", "drawer_open"], ["mark", "--kind", "sub_task", "--text", "drawer_open"]),
    (["state"], ["state", "--kind", "", "--text", ""]),
])  # fmt: skip
def test_the_recorder_is_asked(client, tmp_path, capsys, arguments, expected):
    status, result = run(tmp_path, *arguments, "--domain", "7")
    assert status == 0
    assert client[0] == [(["vipa.nodes.recorder_client", *expected], "7")]
    assert result["command"] == f"record {arguments[0]}"
    assert result["details"]["episode"] == "episode_000003"
    assert capsys.readouterr().out == "episode_000003: recording\n"


def test_a_refusal_is_told_and_fails(client, tmp_path, capsys):
    client[1].update(success=False, message="recorder: no episode is running", episode="")
    status, result = run(tmp_path, "stop")
    assert (status, result["ok"]) == (1, False)
    assert capsys.readouterr().err == "recorder: no episode is running\n"


def test_a_client_that_fails_is_told(monkeypatch, capsys):
    monkeypatch.setattr(client_module, "ros_environment", dict)
    broken = subprocess.CompletedProcess([], 1, "", "no such library\n")
    monkeypatch.setattr(client_module.subprocess, "run", lambda *_, **__: broken)
    assert cli.main(["record", "stop"]) == 1
    assert capsys.readouterr().err == "vipa: record stop: the client failed: no such library\n"


def test_a_client_that_hangs_is_told(monkeypatch, capsys):
    def hang(line, **_):
        raise subprocess.TimeoutExpired(line, 90)

    monkeypatch.setattr(client_module, "ros_environment", dict)
    monkeypatch.setattr(client_module.subprocess, "run", hang)
    assert cli.main(["record", "stop"]) == 1
    assert capsys.readouterr().err == "vipa: record stop: no answer within 90 s\n"


def test_run_starts_the_node_of_the_graph(monkeypatch, tmp_path):
    lines = []

    def note(line, **_):
        lines.append((line, Path(line[-1]).read_text()))
        return subprocess.CompletedProcess(line, 3)

    monkeypatch.setattr(client_module, "ros_environment", dict)
    monkeypatch.setattr(command, "repository_folder", lambda: tmp_path)
    monkeypatch.setattr(command.subprocess, "run", note)
    assert cli.main(["record", "run", "--recordings", "/data/wipe"]) == 1
    ((line, parameters),) = lines
    assert "vipa.nodes.recorder" in line
    assert "recordings: /data/wipe" in parameters
    assert "use_sim_time: true" in parameters
