"""An episode of a dataset as a recording: the same topics as the recorder's, as far as the dataset tells."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vipa.control.kinematics import Kinematics
from vipa.errors import VipaError
from vipa.hardware.fr3.robot import flange_pose
from vipa.lab import load_lab
from vipa.recording.bag import Episode
from vipa.recording.cdr import image_payload
from vipa.recording.config import RecorderConfig
from vipa.recording.definitions import load_definitions
from vipa.recording.episode_writer import Beginning, EpisodeWriter
from vipa.recording.events import Event
from vipa.recording.images import COMPRESSED_TYPE
from vipa.recording.messages import (
    FINGER_NAMES,
    JOINT_NAMES,
    action_chunk_payload,
    arm_state_payload,
    hand_state_payload,
    joint_state_payload,
    joint_trajectory_payload,
    text_payload,
)
from vipa.recording.snapshot import lab_snapshot
from vipa.recording.store import RecordingStore
from vipa.recording.topics import EVENT_TYPE, Topic, recorded_topics
from vipa_inference.policy import ActionChunk, CommittedPlan
from vipa_training.data.chunks import action_chunk, pose_matrix, pose_of_state
from vipa_training.data.entries import EpisodeEntry
from vipa_training.data.format import EXPOSURE, IMAGES, STATE, TARGET_HAND, TARGET_POSE, TIME
from vipa_training.data.reader import Columns, Dataset

Array = NDArray[np.float64]
HORIZON = 16  # steps of the chunks
START_NS = 1_000_000_000  # of episodes whose dataset tells no ROS time
Message = tuple[int, str, bytes]  # time (ns), topic, payload


def import_episode(dataset: Dataset, number: int, recordings: Path, lab: str) -> Episode:
    """Write an episode of a dataset as the next recording of a folder.

    Args:
        dataset: of VIPA's rows, or of others: then pictures and the instruction are all that is taken over.
        number: of the episode.
        recordings: the folder; made where it is missing.
        lab: name or path of the laboratory; its kinematics give the joint positions of targets.

    Raises:
        VipaError: no such episode, the folder cannot be written, or ROS messages are not installed.
        DatasetError: the dataset cannot be read.
    """
    if not 0 <= number < len(dataset.episodes):
        raise VipaError(f"dataset {dataset.root}: has episodes 0-{len(dataset.episodes) - 1}, not {number}")
    entry = dataset.episodes[number]
    rows = _on_ros_time(dataset, dataset.rows(entry))
    times_ns = rows[TIME]
    known = {topic.name: topic for topic in recorded_topics(load_lab(lab))}
    for name in dataset.layout.cameras:
        topic = Topic(f"/camera/{name}/color/image_raw", "sensor_msgs/msg/Image")
        known.setdefault(topic.name, topic)
    definitions = load_definitions({COMPRESSED_TYPE, EVENT_TYPE, *(topic.type for topic in known.values())})
    store = RecordingStore(recordings)
    try:
        config = RecorderConfig()
        start_ns = int(times_ns[0])
        beginning = Beginning(entry.note.task, start_ns, time.time(), lab_snapshot(lab, {}))
        writer = EpisodeWriter(store.next_folder(), beginning, config, definitions)
        writer.put_event(Event("started", entry.note.task, writer.name, start_ns))
        for time_ns, name, payload in _messages(dataset, entry, rows, lab):
            while not writer.put(known[name], payload, time_ns):
                if writer.episode is not None:
                    raise VipaError(f"{writer.name}: {writer.episode.ended}")
                time.sleep(0.01)  # the queue is full
        for name, seconds in entry.note.sub_tasks:
            writer.put_event(Event("sub_task", name, writer.name, start_ns + round(seconds * 1e9)))
        if entry.note.outcome == "success":
            writer.put_event(Event("success", "", writer.name, int(times_ns[-1])))
        elif entry.note.outcome == "failure":
            writer.put_event(Event("failure", "", writer.name, int(times_ns[-1])))
        writer.put_event(Event("stopped", "", writer.name, int(times_ns[-1])))
        return writer.stop()
    except OSError as error:
        raise VipaError(f"recordings {recordings}: cannot be written: {error.strerror or error}") from None
    finally:
        store.close()


def _messages(dataset: Dataset, entry: EpisodeEntry, rows: Columns, lab: str) -> Iterator[Message]:
    """All messages, row by row."""
    times_ns = rows[TIME]
    yield int(times_ns[0]), "/policy/instruction", text_payload(entry.note.task)
    robot = _robot_messages(dataset, entry, rows, lab)
    videos = {key: dataset.all_frames(entry, key) for key in dataset.layout.video_keys}
    shown: dict[str, int] = {}
    for row, time_ns in enumerate(times_ns.tolist()):
        for key, frames in videos.items():
            name = key.removeprefix(IMAGES)
            image = next(frames)[1]
            exposure_ns = int(rows[f"{EXPOSURE}{name}"][row]) if f"{EXPOSURE}{name}" in rows else time_ns
            if shown.get(name) != exposure_ns:  # a frame that stands for two rows was one
                shown[name] = exposure_ns
                payload = image_payload(exposure_ns, f"{name}_color_optical_frame", image.shape[:2], "rgb8", image.data)
                yield exposure_ns, f"/camera/{name}/color/image_raw", payload
        yield from robot[row]


def _robot_messages(dataset: Dataset, entry: EpisodeEntry, rows: Columns, lab_name: str) -> list[list[Message]]:
    """States, chunks and commands of each row."""
    times_ns: NDArray[np.int64] = rows[TIME]
    messages: list[list[Message]] = [[] for _ in times_ns]
    if STATE not in rows or rows[STATE].shape[1:] != (22,) or TARGET_POSE not in rows:
        return messages
    lab = load_lab(lab_name)
    tool = flange_pose(lab.arm.end_effector_translation, lab.arm.end_effector_rpy)
    kinematics = Kinematics(lab.control.kinematics, tool)
    frame, period = lab.base_frame, 1.0 / dataset.layout.fps
    state = rows[STATE].astype(np.float64)
    joints, hand, poses = state[:, 9:16], state[:, 16:], pose_of_state(state)
    seconds = (times_ns - times_ns[0]) * 1e-9
    speeds = _speeds(seconds, joints)
    step_ns = round(1e9 / dataset.layout.fps)
    targets = CommittedPlan(times_ns + step_ns, pose_matrix(rows[TARGET_POSE]), rows[TARGET_HAND])
    told, _ = kinematics.solve_path(targets.poses, joints[0])
    told_speeds = _speeds(seconds, told)
    for row, now in enumerate(times_ns.tolist()):
        pose, due_ns = poses[row], int(targets.times_ns[row])
        actions, _ = action_chunk(targets, now, pose, HORIZON, period)
        exposures = {name: int(rows[f"{EXPOSURE}{name}"][row]) for name in dataset.layout.cameras}
        chunk = ActionChunk(
            actions, period, pose, now, entry.note.policy or "dataset", "", row + 1, exposures, now, now, now,
            entry.note.task,
        )  # fmt: skip
        end = min(row + 1, len(times_ns) - 1)
        times = np.array([0.0, seconds[end] - seconds[row] if end > row else period])
        messages[row] += [
            (now, "/joint_states", joint_state_payload(now, frame, joints[row], speeds[row])),
            (now, "/fr3/state", arm_state_payload(now, frame, joints[row], speeds[row], pose)),
            (now, "/hand/state", hand_state_payload(now, hand[row], targets.hand[row])),
            (now, "/policy/action_chunk", action_chunk_payload(chunk, now, frame)),
            (
                now,
                "/fr3/joint_trajectory",
                joint_trajectory_payload(due_ns, JOINT_NAMES, times, told[[row, end]], told_speeds[[row, end]]),
            ),
            (
                now,
                "/hand/joint_trajectory",
                joint_trajectory_payload(due_ns, FINGER_NAMES, np.zeros(1), targets.hand[row : row + 1]),
            ),
        ]
    return messages


def _on_ros_time(dataset: Dataset, rows: Columns) -> Columns:
    """The rows with times that begin at ``START_NS`` or later: 0 is no ROS time."""
    if TIME not in rows:
        times = START_NS + np.round(rows["timestamp"].astype(np.float64) * 1e9).astype(np.int64)
        return {**rows, TIME: times}
    keys = [TIME, *(f"{EXPOSURE}{name}" for name in dataset.layout.cameras)]
    later = max(0, START_NS - min(int(rows[key].min()) for key in keys))
    return {**rows, **{key: rows[key] + later for key in keys}}


def _speeds(seconds: Array, values: Array) -> Array:
    """Derivatives (T, D)."""
    return np.gradient(values, seconds, axis=0) if len(seconds) > 1 else np.zeros_like(values)
