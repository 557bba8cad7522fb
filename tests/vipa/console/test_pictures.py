"""Pictures of cameras and episodes, and the list of episodes."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from fabricated_recordings import START_NS, file_of, new_recorder, record, small_robot

from vipa.console.episodes import EpisodeList
from vipa.console.pictures import episode_picture, live_picture
from vipa.recording.cdr import image_payload


def decoded(jpeg: bytes) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return pixels


def payload(encoding: str, pixels: np.ndarray) -> bytes:
    return image_payload(1, "front", pixels.shape[:2], encoding, pixels.tobytes())


def test_a_live_picture_is_smaller_and_keeps_its_colours() -> None:
    red = np.zeros((480, 640, 3), np.uint8)
    red[..., 0] = 255
    pixels = decoded(live_picture(payload("rgb8", red), 320, 70))
    assert pixels.shape == (240, 320, 3)
    assert pixels[120, 160, 2] > 240  # BGR
    assert pixels[120, 160, :2].max() < 15
    assert decoded(live_picture(payload("bgr8", red), 320, 70))[120, 160, 0] > 240


def test_a_small_picture_is_not_made_larger_and_grey_is_grey() -> None:
    pixels = decoded(live_picture(payload("mono8", np.full((30, 40), 90, np.uint8)), 320, 70))
    assert pixels.shape[:2] == (30, 40)
    assert np.abs(pixels.astype(int) - 90).max() < 4


@pytest.mark.parametrize("content", [b"", b"\0\1\0\0", payload("16UC1", np.zeros((2, 4), np.uint8)),
                                     payload("rgb8", np.zeros((1, 0, 3), np.uint8)), bytes(100)])  # fmt: skip
def test_what_is_no_picture_gives_none(content: bytes) -> None:
    assert live_picture(content, 320, 70) == b""


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    robot = small_robot()
    recorder = new_recorder(tmp_path, robot)
    for instruction in ("put three objects", "wipe the board"):
        record(recorder, robot, 0.3, instruction)
    recorder.start("still running", START_NS)
    return tmp_path


def test_the_list_has_finished_episodes_newest_first(recordings: Path) -> None:
    episodes = EpisodeList()
    listed = episodes.read(recordings)
    assert [entry["name"] for entry in listed] == ["episode_000002", "episode_000001"]
    assert listed[0]["instruction"] == "wipe the board"
    assert listed[0]["frames"] > 0
    assert decoded(episodes.picture("episode_000001")).shape[:2] == (24, 32)
    assert episodes.picture("episode_000003") == b""
    assert episodes.picture("../episode_000001") == b""
    assert EpisodeList().read(recordings / "missing") == []


def test_an_episode_that_is_gone_or_damaged_does_no_harm(recordings: Path) -> None:
    episodes = EpisodeList()
    episodes.read(recordings)
    (recordings / "episode_000002" / "metadata.yaml").write_text("nonsense: [")
    file_of(recordings, "episode_000001").write_bytes(b"nonsense")
    listed = episodes.read(recordings)
    assert "not valid YAML" in listed[0]["warnings"][0]
    assert episodes.picture("episode_000001") == b""
    (recordings / "episode_000002").rename(recordings / "elsewhere")
    assert [entry["name"] for entry in episodes.read(recordings)] == ["episode_000001"]


def test_a_raw_recording_has_a_picture_too(tmp_path: Path) -> None:
    robot = small_robot()
    record(new_recorder(tmp_path, robot, jpeg_quality=0), robot, 0.3)
    assert decoded(episode_picture(tmp_path / "episode_000001")).shape[:2] == (24, 32)
