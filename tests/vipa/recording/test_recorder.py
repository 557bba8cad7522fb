"""Episodes from begin to end, and everything that may go wrong meanwhile: everything else is kept."""

import errno
import json
import os
import time

import numpy as np
import pytest
from fabricated_recordings import (
    DEFINITIONS,
    INSTRUCTION,
    START_NS,
    feed,
    file_of,
    new_recorder,
    record,
    samples,
    small_robot,
)
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from vipa.benchmarks.synthetic_robot import NS
from vipa.errors import VipaError
from vipa.recording import episode_writer, mcap_file
from vipa.recording.cdr import CdrWriter, read_image
from vipa.recording.recorder import Recorder
from vipa.recording.store import RecordingStore, list_episodes


@pytest.fixture
def robot():
    return small_robot()


@pytest.fixture
def recorder(tmp_path, robot):
    recorder = new_recorder(tmp_path, robot)
    yield recorder
    recorder.close(START_NS + 60 * NS)


def decoded(path):
    with path.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True, decoder_factories=[DecoderFactory()])
        return [(c.topic, m.log_time, d) for _, c, m, d in reader.iter_decoded_messages()]


def events(path):
    return [(e.event, e.sub_task or e.detail) for topic, _, e in decoded(path) if topic == "/recorder/events"]


def test_every_message_is_in_the_file(tmp_path, recorder, robot):
    episode = record(recorder, robot, 0.5)
    given = list(samples(robot, 0.5))
    found = [m for m in decoded(file_of(tmp_path)) if m[0] != "/recorder/events"]
    assert [time_ns for _, time_ns, _ in found] == [s.time_ns for s in given]
    assert {m[0] for m in found} == {"/camera/front/color/image_raw/compressed", "/camera/front/depth/image_rect_raw",
                                     "/joint_states"}  # fmt: skip
    assert episode.frames == {
        "/camera/front/color/image_raw/compressed": 15,
        "/camera/front/depth/image_rect_raw": 15,
    }
    assert (episode.messages, episode.dropped, episode.warnings) == (len(found) + 2, {}, ())
    assert episode.file_size == os.path.getsize(file_of(tmp_path))


def test_depth_is_kept_bit_for_bit_and_stamps_too(tmp_path, recorder, robot):
    record(recorder, robot, 0.2)
    topic = "/camera/front/depth/image_rect_raw"
    found = [message for name, _, message in decoded(file_of(tmp_path)) if name == topic]
    given = [read_image(s.payload) for s in samples(robot, 0.2) if s.topic.name == topic]
    assert len(found) == len(given) == 6
    for image, original in zip(found, given, strict=True):
        np.testing.assert_array_equal(np.frombuffer(image.data, np.uint16), np.frombuffer(original.data, np.uint16))
        assert image.header.stamp.sec * NS + image.header.stamp.nanosec == original.stamp_ns


def test_raw_colour_where_no_compression_is_wanted(tmp_path, robot):
    recorder = new_recorder(tmp_path, robot, jpeg_quality=0)
    episode = record(recorder, robot, 0.2)
    recorder.close(START_NS)
    assert episode.frames["/camera/front/color/image_raw"] == 6
    found = [m for topic, _, m in decoded(file_of(tmp_path)) if topic == "/camera/front/color/image_raw"]
    given = [read_image(s.payload) for s in samples(robot, 0.2) if s.topic.name == "/camera/front/color/image_raw"]
    assert [bytes(m.data) for m in found] == [bytes(m.data) for m in given]


def test_a_payload_that_is_no_image_is_kept_as_it_came(tmp_path, recorder, robot):
    recorder.start("", START_NS)
    recorder.put(robot.topics[0], b"\x00\x01\x00\x00nonsense", START_NS)
    episode = recorder.stop("", START_NS + NS)
    assert episode.ended == "stopped"
    with file_of(tmp_path).open("rb") as stream:
        (message,) = (m for _, c, m in make_reader(stream).iter_messages(topics=[robot.topics[0].name]))
    assert message.data == b"\x00\x01\x00\x00nonsense"


def test_calibration_and_configuration_are_in_every_file(tmp_path, robot):
    recorder = new_recorder(tmp_path, robot, {"lab.yaml": b"name: test", "calibration.json": b"{}"})
    for _ in range(2):
        record(recorder, robot, 0.1)
    recorder.close(START_NS)
    for name in ("episode_000001", "episode_000002"):
        with file_of(tmp_path, name).open("rb") as stream:
            found = {a.name: (a.media_type, a.data) for a in make_reader(stream).iter_attachments()}
        assert found == {
            "lab.yaml": ("application/yaml", b"name: test"),
            "calibration.json": ("application/json", b"{}"),
        }


def test_marks_are_events_in_the_file_and_to_be_published(tmp_path, recorder, robot):
    recorder.start("open the drawer", START_NS)
    recorder.mark("sub_task", "drawer_open", START_NS + 1)
    recorder.mark("note", "the hand slipped", START_NS + 2)
    recorder.mark("failure", "", START_NS + 3)
    recorder.mark("success", "", START_NS + 4)
    assert recorder.status().outcome == "success"
    episode = recorder.stop("", START_NS + 5)
    expected = [("started", "open the drawer"), ("sub_task", "drawer_open"), ("note", "the hand slipped"),
                ("failure", ""), ("success", ""), ("stopped", "")]  # fmt: skip
    assert events(file_of(tmp_path)) == expected
    published = recorder.take_events()
    assert [(event.kind, event.text) for event in published] == expected
    assert {event.episode for event in published} == {"episode_000001"}
    assert recorder.take_events() == []
    assert (episode.outcome, episode.instruction) == ("success", "open the drawer")


def test_the_outcome_may_be_said_when_stopping(tmp_path, recorder, robot):
    recorder.start("", START_NS)
    assert recorder.stop("failure", START_NS + NS).outcome == "failure"
    assert events(file_of(tmp_path))[-2:] == [("failure", ""), ("stopped", "")]


def test_the_instruction_of_the_policy_is_in_episodes_that_begin_later(tmp_path, recorder):
    payload = CdrWriter().string("hold").payload
    newer = CdrWriter().string("wipe").payload
    assert not recorder.put(INSTRUCTION, payload, START_NS)
    recorder.put(INSTRUCTION, newer, START_NS)
    for number in (1, 2):
        recorder.start("", START_NS + number * NS)
        recorder.stop("", START_NS + number * NS)
        found = [m.data for topic, _, m in decoded(file_of(tmp_path, f"episode_{number:06d}"))
                 if topic == INSTRUCTION.name]  # fmt: skip
        assert found == ["wipe"]


@pytest.mark.parametrize(("call", "complaint"), [
    (lambda r: r.stop("", 1), "no episode is running; there is nothing to stop"),
    (lambda r: r.mark("note", "x", 1), "no episode is running; there is nothing to mark"),
    (lambda r: r.discard("", 1), "no episode to discard"),
    (lambda r: r.start("", 0), "ROS time has not begun"),
])  # fmt: skip
def test_what_cannot_be_done_while_nothing_is_recorded(recorder, call, complaint):
    with pytest.raises(VipaError, match=complaint):
        call(recorder)
    assert not recorder.recording


@pytest.mark.parametrize(("call", "complaint"), [
    (lambda r: r.start("", START_NS), "episode_000001 is running; stop or discard it first"),
    (lambda r: r.mark("triumph", "", START_NS), "mark 'triumph' is none of success, failure, sub_task, note"),
    (lambda r: r.mark("sub_task", "", START_NS), "mark sub_task needs a text"),
    (lambda r: r.stop("perhaps", START_NS), "outcome 'perhaps' is neither success nor failure"),
])  # fmt: skip
def test_what_cannot_be_done_while_an_episode_runs(recorder, call, complaint):
    recorder.start("", START_NS)
    with pytest.raises(VipaError, match=complaint):
        call(recorder)
    assert recorder.recording
    assert recorder.stop("", START_NS + 1).ended == "stopped"


def test_the_running_and_the_last_episode_can_be_discarded(tmp_path, recorder, robot):
    record(recorder, robot, 0.1)
    assert recorder.discard("wrong object", START_NS + NS) == "episode_000001"
    recorder.start("", START_NS)
    feed(recorder, robot, 0.1)
    assert recorder.discard("fell", START_NS + NS) == "episode_000002"
    assert list_episodes(tmp_path) == []
    discarded = tmp_path / "discarded"
    assert events(file_of(discarded, "episode_000002"))[-1] == ("discarded", "fell")
    assert record(recorder, robot, 0.1).name == "episode_000003"
    with pytest.raises(VipaError, match="no episode to discard"):
        recorder.discard("", START_NS) and recorder.discard("", START_NS)


def test_an_episode_without_frames_is_kept_with_a_warning(tmp_path, recorder):
    recorder.start("wave", START_NS)
    episode = recorder.stop("", START_NS + NS)
    assert episode.warnings == ("no frame of any camera was recorded: are the cameras running?",)
    (listed,) = list_episodes(tmp_path)
    assert listed.episode == episode
    assert events(file_of(tmp_path)) == [("started", "wave"), ("stopped", "")]


def test_a_camera_that_drops_out_is_reported_and_the_rest_is_kept(tmp_path):
    robot = small_robot(("front", "side"))
    recorder = new_recorder(tmp_path, robot)
    recorder.start("", START_NS)
    for sample in samples(robot, 2.0):
        is_away = START_NS + 0.5 * NS < sample.time_ns < START_NS + 1.5 * NS
        if not (is_away and "side" in sample.topic.name):
            recorder.put(sample.topic, sample.payload, sample.time_ns)
        recorder.step(sample.time_ns)
    episode = recorder.stop("", START_NS + 2 * NS)
    recorder.close(START_NS)
    said = [text for kind, text in events(file_of(tmp_path)) if kind == "warning"]
    assert [text.partition(":")[0] for text in said if "no message" in text] == [
        "/camera/side/color/image_raw",
        "/camera/side/depth/image_rect_raw",
    ]
    assert sum("arrive again" in text for text in said) == 2
    assert episode.warnings == tuple(said)
    assert episode.frames["/camera/front/depth/image_rect_raw"] == 60
    assert 25 <= episode.frames["/camera/side/depth/image_rect_raw"] <= 35


@pytest.mark.parametrize("jump_ns", [100 * NS, -3 * NS])
def test_a_jump_of_the_clock_is_reported_and_everything_is_kept(tmp_path, recorder, robot, jump_ns):
    recorder.start("", START_NS)
    feed(recorder, robot, 0.2)
    recorder.step(START_NS + NS // 5)
    feed(recorder, robot, 0.2, START_NS + jump_ns)
    recorder.step(START_NS + jump_ns + NS // 5)
    recorder.step(START_NS + jump_ns + NS // 5 + NS // 100)
    episode = recorder.stop("", START_NS + jump_ns + NS // 4)
    (warning,) = episode.warnings
    assert warning.startswith(f"ROS time jumped by {jump_ns / NS:+.1f} s")
    assert episode.frames["/camera/front/depth/image_rect_raw"] == 12
    assert episode.duration == pytest.approx(abs(jump_ns) / NS, abs=0.3)
    assert len(decoded(file_of(tmp_path))) == episode.messages


def test_a_thread_that_was_held_up_is_not_taken_for_a_clock_that_jumped(recorder):
    recorder.start("", START_NS)
    recorder.step(START_NS, 100.0)
    recorder.step(START_NS + 5 * NS, 105.0)
    assert "jumped" not in " ".join(recorder.status().warnings)
    recorder.step(START_NS + 10 * NS, 105.5)
    assert "ROS time jumped by +4.5 s" in " ".join(recorder.status().warnings)


def test_a_disk_that_is_too_slow_drops_images_first_and_counts_them(tmp_path, robot, monkeypatch):
    one = len(next(s.payload for s in samples(robot, 0.1) if "color" in s.topic.name))
    recorder = new_recorder(tmp_path, robot, queue_size=3 * one, chunk_period=0.02)
    genuine = os.fdatasync
    is_slow = True

    def slow(descriptor):
        while is_slow:
            time.sleep(0.001)
        genuine(descriptor)

    monkeypatch.setattr(mcap_file.os, "fdatasync", slow)
    recorder.start("", START_NS)
    time.sleep(0.2)  # the first chunk hangs
    accepted: dict[str, int] = {}
    for sample in samples(robot, 1.0):
        is_accepted = recorder.put(sample.topic, sample.payload, sample.time_ns)
        accepted[sample.topic.name] = accepted.get(sample.topic.name, 0) + is_accepted
    recorder.step(START_NS + NS)
    is_slow = False
    episode = recorder.stop("", START_NS + NS)
    recorder.close(START_NS)
    assert accepted["/joint_states"] == 100
    assert episode.dropped["/camera/front/color/image_raw"] == 30 - accepted["/camera/front/color/image_raw"] > 20
    assert "/joint_states" not in episode.dropped
    assert ("warning", "the disk is too slow: messages are dropped") in events(file_of(tmp_path))
    assert any(line.startswith("the disk was too slow; dropped: ") for line in episode.warnings)
    assert episode.frames["/camera/front/color/image_raw/compressed"] == accepted["/camera/front/color/image_raw"]
    (listed,) = list_episodes(tmp_path)
    assert listed.episode == episode


def wait_for_end(recorder, time_ns):
    deadline = time.monotonic() + 10
    while recorder.recording:
        assert time.monotonic() < deadline, "the episode did not end by itself"
        recorder.step(time_ns)
        time.sleep(0.005)


def test_an_almost_full_disk_ends_the_episode_cleanly(tmp_path, recorder, robot, monkeypatch):
    usage = type("Usage", (), {"free": 10**9})
    monkeypatch.setattr(episode_writer.shutil, "disk_usage", lambda folder: usage)
    recorder.start("wipe", START_NS)
    feed(recorder, robot, 0.5)
    time.sleep(0.4)
    usage.free = 999_999
    feed(recorder, robot, 0.1, START_NS + NS)
    wait_for_end(recorder, START_NS + NS)
    (listed,) = list_episodes(tmp_path)
    assert "the disk is almost full (1 MB are left, 1 MB must stay free)" in listed.episode.ended
    assert listed.episode.ended in listed.episode.warnings
    assert listed.episode.frames["/camera/front/depth/image_rect_raw"] >= 15
    assert len(decoded(file_of(tmp_path))) == listed.episode.messages
    assert recorder.take_events()[-1].text == listed.episode.ended
    assert recorder.status().warnings == listed.episode.warnings
    with pytest.raises(VipaError, match=r"only 1 MB are free on the disk, 2 MB are needed.*Make room"):
        recorder.start("again", START_NS + 2 * NS)
    usage.free = 10**9
    assert recorder.start("again", START_NS + 3 * NS) == "episode_000002"


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_ends_the_episode_with_what_was_written(tmp_path, recorder, robot, monkeypatch, error):
    recorder.start("wipe", START_NS)
    feed(recorder, robot, 0.5)
    time.sleep(0.4)
    genuine, failures = os.write, []

    def fail_once(descriptor, content):
        if not failures:
            failures.append(1)
            raise OSError(error, os.strerror(error))
        return genuine(descriptor, content)

    monkeypatch.setattr(mcap_file.os, "write", fail_once)
    feed(recorder, robot, 0.1, START_NS + NS)
    wait_for_end(recorder, START_NS + NS)
    (listed,) = list_episodes(tmp_path)
    assert listed.episode.ended == f"the disk failed: {os.strerror(error)}"
    assert listed.episode.frames["/camera/front/depth/image_rect_raw"] == 15
    assert len(decoded(file_of(tmp_path))) == listed.episode.messages


def test_a_disk_that_fails_for_good_leaves_a_file_that_can_be_recovered(tmp_path, recorder, robot, monkeypatch):
    recorder.start("wipe", START_NS)
    feed(recorder, robot, 0.5)
    time.sleep(0.4)

    def fail(descriptor, content):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(mcap_file.os, "write", fail)
    feed(recorder, robot, 0.1, START_NS + NS)
    wait_for_end(recorder, START_NS + NS)
    monkeypatch.undo()
    assert "complete the file with: vipa record recover" in recorder.status().warnings[0]
    recorder.close(START_NS)
    store = RecordingStore(tmp_path)
    (recovered,) = store.recover().recovered
    store.close()
    assert recovered.episode.frames["/camera/front/depth/image_rect_raw"] == 15
    assert len(decoded(file_of(tmp_path))) == recovered.episode.messages


def test_a_program_error_in_the_thread_ends_the_file_too(tmp_path, robot):
    definitions = {name: text for name, text in DEFINITIONS.items() if "JointState" not in name}
    recorder = new_recorder(tmp_path, robot)
    recorder.close(START_NS)
    recorder = Recorder(RecordingStore(tmp_path), robot.topics, recorder._config, {}, definitions)
    recorder.start("", START_NS)
    feed(recorder, robot, 0.1)
    wait_for_end(recorder, START_NS)
    recorder.close(START_NS)
    (listed,) = list_episodes(tmp_path)
    assert listed.episode.ended == "internal error: KeyError('sensor_msgs/msg/JointState')"
    decoded(file_of(tmp_path))


def test_the_end_of_the_recorder_ends_the_episode(tmp_path, robot):
    recorder = new_recorder(tmp_path, robot)
    recorder.start("", START_NS)
    feed(recorder, robot, 0.2)
    recorder.close(START_NS + NS)
    (listed,) = list_episodes(tmp_path)
    assert listed.episode.ended == "stopped"
    assert events(file_of(tmp_path))[-1] == ("stopped", "the recorder was ended")


def test_status(tmp_path, recorder, robot):
    idle = recorder.status()
    assert (idle.recording, idle.episode, idle.folder) == (False, "", tmp_path)
    assert idle.free_space > 0
    recorder.start("wipe", START_NS)
    feed(recorder, robot, 0.5)
    recorder.step(START_NS + NS // 2)
    time.sleep(0.4)
    running = recorder.status()
    assert (running.recording, running.episode, running.instruction) == (True, "episode_000001", "wipe")
    assert (running.frames, running.duration) == (30, 0.5)
    assert running.file_size == os.path.getsize(file_of(tmp_path))
    episode = recorder.stop("success", START_NS + NS)
    last = recorder.status()
    assert (last.recording, last.outcome, last.messages) == (False, "success", episode.messages)


def test_the_snapshot_of_a_laboratory(tmp_path):
    from vipa.recording.snapshot import lab_snapshot

    snapshot = lab_snapshot("simulated", {"jpeg_quality": 95})
    assert b"name: simulated" in snapshot["lab.yaml"]
    configuration = json.loads(snapshot["configuration.json"])
    assert configuration["recorder"] == {"jpeg_quality": 95}
    assert set(configuration["lab"]["cameras"]) == {"front", "side"}
    calibration = json.loads(snapshot["calibration.json"])
    pose = np.array(calibration["color_optical_frame_in_base"]["front"])
    assert calibration["base_frame"] == "fr3_link0"
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-9)
    assert json.loads(snapshot["software.json"])["packages"]["mcap"][0].isdigit()
