"""``vipa serve`` as a process of its own, asked for chunks by the genuine client of openpi."""

import contextlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus

from tests.vipa_inference.serving.running import TOKEN, observation
from vipa import cli
from vipa_inference.policy import PolicyError
from vipa_inference.registry import make_policy
from vipa_inference.scripted import WavePolicy
from vipa_inference.serving.authentication import TOKEN_VARIABLE
from vipa_inference.serving.request import make_request

pytestmark = [
    pytest.mark.protocol,
    pytest.mark.filterwarnings(r"ignore:connect\(\) must be used:DeprecationWarning"),  # openpi's client does not
    pytest.mark.skipif(
        importlib.util.find_spec("openpi_client") is None, reason="openpi-client is missing; run: make setup"
    ),
]


@contextlib.contextmanager
def serving(*arguments: str, token: str | None = None) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """A server on a free port: its process, the line that it printed, its port."""
    environment = {key: value for key, value in os.environ.items() if key != TOKEN_VARIABLE}
    if token is not None:
        environment[TOKEN_VARIABLE] = token
    process = subprocess.Popen(
        [sys.executable, "-m", "vipa.cli", "serve", "--port", "0", *arguments],
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        port = re.search(r":(\d+), ", line)
        assert port, line + process.communicate(timeout=20)[1]
        yield process, line, int(port[1])
    finally:
        process.kill()
        process.communicate()


def openpi_client(port: int, token: str | None = None) -> Any:
    """The client that openpi's evaluations use."""
    from openpi_client.websocket_client_policy import WebsocketClientPolicy

    return WebsocketClientPolicy("127.0.0.1", port, api_key=token)


@pytest.fixture(scope="module")
def wave() -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    with serving("--policy", "wave", "--policy-option", 'path={"horizon": 8}') as server:
        yield server


def test_openpis_client_obtains_chunks(wave: tuple[subprocess.Popen[str], str, int]) -> None:
    process, line, port = wave
    client = openpi_client(port)
    metadata = client.get_server_metadata()
    assert (metadata["policy"], metadata["horizon"], metadata["cameras"]) == ("wave", 8, ["front", "side"])
    assert metadata["policy_hash"][:12] in line
    assert "without a token" in line
    local = make_policy("wave", path={"horizon": 8})
    for i in range(3):
        seen = observation(1_000_000_000 + i * 400_000_000)
        answer = client.infer(make_request(seen))
        np.testing.assert_allclose(answer["actions"], local.infer(seen).actions, atol=1e-6)
        assert answer["actions"].dtype == np.float32
        assert answer["policy_hash"] == local.policy_hash
        assert answer["server_timing"]["infer_ms"] > 0
    client.reset()
    assert process.poll() is None


def test_the_least_that_openpis_client_has_to_send(wave: tuple[subprocess.Popen[str], str, int]) -> None:
    client = openpi_client(wave[2])
    image = np.zeros((224, 224, 3), np.uint8)
    pose = np.eye(4, dtype=np.float32)
    pose[:3, 3] = (0.45, 0.0, 0.4)
    answer = client.infer(
        {
            "observation/images/front": image,
            "observation/images/side": image,
            "observation/end_effector_pose": pose,
            "observation/joint_positions": np.zeros(7, np.float32),
            "observation/hand_positions": np.ones(6, np.float32),
            "prompt": "wave",
        }
    )
    assert answer["actions"].shape == (8, 12)


def test_openpis_client_is_told_what_is_wrong(wave: tuple[subprocess.Popen[str], str, int]) -> None:
    client = openpi_client(wave[2])
    with pytest.raises(RuntimeError, match="request: expected an image observation/images/<camera>"):
        client.infer({"observation/image": np.zeros((224, 224, 3), np.uint8), "prompt": "wave"})
    with pytest.raises(RuntimeError, match="joint positions not finite"):
        client.infer({**make_request(observation()), "observation/joint_positions": np.full(7, np.nan)})
    assert client.infer(make_request(observation()))["actions"].shape == (8, 12)


def test_the_remote_policy_gives_the_same_as_the_policy(wave: tuple[subprocess.Popen[str], str, int]) -> None:
    remote = make_policy("remote", url=f"ws://127.0.0.1:{wave[2]}", time_out=5.0)
    found, expected = remote.infer(observation()), WavePolicy().infer(observation())
    np.testing.assert_allclose(found.actions, expected.actions[:8], atol=1e-6)


def test_the_model_behind_openpis_client() -> None:
    pytest.importorskip("torch")
    with serving("--policy", "vipa", "--policy-option", "runtime=torch", "--policy-option", "precision=fp32") as server:
        client = openpi_client(server[2])
        metadata = client.get_server_metadata()
        assert metadata["policy"] == "vipa"
        assert metadata["image_sizes"] == {"front": [128, 128], "side": [128, 128]}
        answer = client.infer(make_request(observation(instruction="touch the red marker")))
        assert answer["actions"].shape == (metadata["horizon"], 12)
        assert np.all(np.abs(answer["actions"][:, :3]) < 0.05)
        for instruction, complaint in (("", "the instruction is empty"), ("x " * 10_000, "tokens, at most")):
            with pytest.raises(RuntimeError, match=complaint):
                client.infer(make_request(observation(instruction=instruction)))


@pytest.mark.parametrize("way", ["file", "environment"])
def test_with_a_token_and_a_clean_end(way: str, tmp_path: Path) -> None:
    file, result = tmp_path / "token", tmp_path / "result.json"
    file.write_text(TOKEN + "\n")
    arguments = ["--token-file", str(file)] if way == "file" else []
    with serving("--policy", "wave", "--json", str(result), *arguments, token=None if arguments else TOKEN) as server:
        process, line, port = server
        assert "with the token" in line
        for token in (None, "wrong"):
            with pytest.raises(InvalidStatus, match="401"):
                openpi_client(port, token)
        with pytest.raises(PolicyError, match="refused the token"):
            make_policy("remote", url=f"ws://127.0.0.1:{port}")
        client = openpi_client(port, TOKEN)
        assert client.infer(make_request(observation()))["actions"].shape == (16, 12)
        process.send_signal(signal.SIGINT if way == "file" else signal.SIGTERM)
        _, log = process.communicate(timeout=15)
    assert process.returncode == 0
    assert "Traceback" not in log
    assert TOKEN not in line + log
    written = json.loads(result.read_text())
    assert (written["ok"], written["figures"]) == (True, {"requests": 1.0, "errors": 0.0})


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--host", "0.0.0.0"], "other machines can reach 0.0.0.0, so clients need a token"),
        (["--policy", "dream"], "unknown policy 'dream'"),
        (["--policy", "wave", "--policy-option", "speed=1"], "policy wave: unknown option speed"),
        (["--policy-option", "speed"], "policy option 'speed': expected KEY=VALUE"),
        (["--token-file", "/nowhere/token"], "token /nowhere/token: cannot be read"),
        (["--port", "70000"], "port: 70000 is outside 0-65535"),
        (["--policy", "remote", "--policy-option", "url=ws://127.0.0.1:9"], "cannot be reached"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert cli.main(["serve", *arguments]) == 1
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert error[0].startswith("vipa: ")
    assert complaint in error[0]


def test_the_command_line_takes_no_token(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["serve", "--token", "secret"])
    assert "unrecognized arguments: --token secret" in capsys.readouterr().err
