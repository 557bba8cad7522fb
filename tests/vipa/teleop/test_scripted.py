"""Scripts: what they say is given at its time, and what cannot be meant is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vipa.errors import ConfigurationError
from vipa.teleop.command import TeleopCommand
from vipa.teleop.sources import Source, make_source

NS = 1_000_000_000
HAND = np.ones(6)


def source(folder: Path, *commands: dict[str, Any]) -> Source:
    file = folder / "script.json"
    file.write_text(json.dumps({"commands": commands}))
    return make_source("scripted", {"file": str(file)})


def at(script: Source, seconds: float) -> TeleopCommand | None:
    return script.read(5 * NS + round(seconds * NS), HAND)


def test_commands_are_given_at_their_times_and_a_gap_is_silence(tmp_path: Path) -> None:
    script = source(
        tmp_path,
        {"time": 0.0, "duration": 0.5, "clutch": False},
        {"time": 0.5, "duration": 1.0, "twist": [0.1, 0, 0, 0, 0, 0], "frame": "tool"},
        {"time": 2.0, "duration": 0.5, "position": [0.1, 0, 0], "rotation": [0, 0, 1.0], "hand": [0, 0, 0, 0, 0, 1]},
    )
    first = at(script, 0.0)
    assert first is not None
    assert not first.clutch
    assert first.stamp_ns == 5 * NS
    second = at(script, 1.49)
    assert second is not None
    assert second.twist is not None
    assert (second.clutch, second.twist[0], second.frame) == (True, 0.1, "tool")
    assert np.isnan(second.hand).all()
    assert at(script, 1.5) is None
    third = at(script, 2.1)
    assert third is not None
    assert third.pose is not None
    assert third.pose[0, 3] == 0.1
    assert third.hand.tolist() == [0, 0, 0, 0, 0, 1]
    assert not script.finished
    assert at(script, 2.5) is None
    assert script.finished


def test_a_clock_that_starts_anew_starts_the_script_anew(tmp_path: Path) -> None:
    script = source(tmp_path, {"time": 0.0, "duration": 1.0})
    assert at(script, 0.0) is not None
    assert at(script, 2.0) is None
    assert at(script, -3.0) is not None


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        ([], "commands: at least one"),
        ([{"time": 1.0, "duration": 1.0}, {"time": 0.0, "duration": 1.0}], "in the order of their times"),
        ([{"time": 0.0, "duration": 0.0}], "is no span of time"),
        ([{"time": 0.0, "duration": 1.0, "twist": [1, 2]}], r"commands\[0\]\.twist"),
        ([{"time": 0.0, "duration": 1.0, "speed": 3}], r"unknown key .*commands\[0\]\.speed"),
        ([{"time": 0.0, "duration": 1.0, "twist": [1e9, 0, 0, 0, 0, 0]}], "the command at 0.0 s: the twist"),
        (
            [{"time": 0.0, "duration": 1.0, "twist": [0, 0, 0, 0, 0, 0], "position": [0, 0, 0]}],
            "either a twist or a pose",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, commands: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        source(tmp_path, *commands)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml: no such file"):
        make_source("scripted", {"file": str(tmp_path / "nowhere.yaml")})
    with pytest.raises(ConfigurationError, match=r"missing key teleop scripted\.file"):
        make_source("scripted", {})
