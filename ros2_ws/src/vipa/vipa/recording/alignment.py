"""Rows at an even rate out of a recording: for each, the nearest frame of every camera, the state and the target.

As on the robot, the clock of a row is the oldest exposure of its frames: the state is interpolated there, and the
target is what arm and hand were told for one step later.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vipa.control.kinematics import Kinematics
from vipa.errors import VipaError
from vipa.hardware.fr3.robot import flange_pose
from vipa.lab import LabConfig
from vipa.recording.recorded import RecordedEpisode
from vipa_inference.policy import CommittedPlan
from vipa_inference.processing import proprioception_vector
from vipa_inference.real_time_chunking import interpolate

Array = NDArray[np.float64]
Times = NDArray[np.int64]
NS = 1_000_000_000
OFF_LAB = 0.005  # m between the recorded end effector and the one that the laboratory's kinematics give
MOVES = 5e-4, 5e-3  # m of the end effector, strokes of a finger: a target that changes by less in a row stands still


@dataclass(frozen=True)
class AlignConfig:
    """How rows are made.

    Attributes:
        rate: rows of a second, Hz.
        cameras: which are wanted; none named: all that are in the recording.
        longest_gap: s without a frame of a camera, or without a state, with which an episode is still used.
        idle: s at both ends in which nothing was commanded to move, that are kept.
    """

    rate: float = 20.0
    cameras: tuple[str, ...] = ()
    longest_gap: float = 0.1
    idle: float = 0.5

    def __post_init__(self) -> None:
        if not self.rate > 0 or not self.longest_gap > 0 or not self.idle >= 0:
            raise ValueError("rate and longest_gap must be positive, idle must not be negative")


@dataclass(frozen=True)
class AlignedEpisode:
    """Rows of an episode.

    Attributes:
        times_ns: (T,) of the rows' observations, increasing.
        exposures_ns: (T,) of each camera's frames.
        states: (T, 22) proprioception.
        target_poses: (T, 4, 4) end effector in the base frame, m, told for one step later.
        target_hand: (T, 6).
        report: figures by name; times in ms where the name ends so, else s.
    """

    times_ns: Times
    exposures_ns: Mapping[str, Times]
    states: Array
    target_poses: Array
    target_hand: Array
    report: Mapping[str, float]


def align(recorded: RecordedEpisode, config: AlignConfig, lab: LabConfig | None = None) -> AlignedEpisode:
    """Rows of a recorded episode.

    Args:
        recorded: the episode.
        config: how.
        lab: instead of the one that was attached.

    Raises:
        VipaError: the episode cannot be used; the message says why.
    """
    name = recorded.folder.name
    exposures = _exposures(recorded, config)
    if recorded.commanded_joints is None:
        raise VipaError(f"{name}: the arm was never told to move: no /fr3/joint_trajectory. There is nothing to learn")
    kinematics = episode_kinematics(recorded, lab)
    step_ns = round(NS / config.rate)
    begin = max(recorded.commanded_joints.start_ns - step_ns, recorded.arm_ns[0], recorded.hand_ns[0])
    begin = max(begin, *(int(stamps[0]) for stamps in exposures.values()))
    end = min(recorded.arm_ns[-1], recorded.hand_ns[-1], *(int(stamps[-1]) for stamps in exposures.values()))
    first = next(iter(exposures.values()))
    begin = int(first[np.searchsorted(first, begin)]) if begin <= first[-1] else int(begin)
    grid = np.arange(begin, end + 1, step_ns, dtype=np.int64)
    if len(grid) < 2:
        raise VipaError(f"{name}: cameras, arm, hand and commands are together for less than {2 / config.rate:g} s")
    joints = recorded.commanded_joints.at(grid + step_ns)
    moving = _moving_rows(kinematics.forward(joints), hand_targets(recorded, grid + step_ns), config)
    trimmed, grid = len(grid), grid[moving]
    if len(grid) < 2:
        raise VipaError(f"{name}: the robot was told to stand still all the time. There is nothing to learn")
    chosen = {camera: stamps[_nearest(stamps, grid)] for camera, stamps in exposures.items()}
    report = _report(recorded, config, grid, exposures, chosen)
    report["trimmed_s"] = (trimmed - len(grid)) / config.rate
    times_ns = _observation_times(grid, chosen)
    state = interpolate(CommittedPlan(recorded.arm_ns, recorded.poses, recorded.joints), times_ns)
    hand = _columns(recorded.hand_ns, recorded.hand, times_ns)
    states = proprioception_vector(state.poses, state.hand, hand)
    target_poses = kinematics.forward(recorded.commanded_joints.at(times_ns + step_ns))
    target_hand = hand_targets(recorded, times_ns + step_ns)
    for what, values in (("state", states), ("commanded pose", target_poses), ("commanded hand", target_hand)):
        if not np.isfinite(values).all():
            raise VipaError(f"{name}: the {what} of a row is not a finite number. Leave this recording out")
    return AlignedEpisode(
        times_ns=times_ns,
        exposures_ns=chosen,
        states=states,
        target_poses=target_poses,
        target_hand=target_hand,
        report=report,
    )


def _exposures(recorded: RecordedEpisode, config: AlignConfig) -> dict[str, Times]:
    name = recorded.folder.name
    wanted = config.cameras or tuple(recorded.cameras)
    if not wanted:
        raise VipaError(f"{name}: no colour image of any camera was recorded")
    for camera in wanted:
        if camera not in recorded.cameras:
            known = ", ".join(recorded.cameras) or "none"
            raise VipaError(f"{name}: camera {camera} is missing; recorded: {known}")
        if not len(recorded.cameras[camera].exposures_ns):
            raise VipaError(f"{name}: camera {camera} has no frame")
    for what, stamps in (("arm (/fr3/state)", recorded.arm_ns), ("hand (/hand/state)", recorded.hand_ns)):
        if not len(stamps):
            raise VipaError(f"{name}: no state of the {what} was recorded")
    return {camera: recorded.cameras[camera].exposures_ns for camera in wanted}


def episode_kinematics(recorded: RecordedEpisode, lab: LabConfig | None) -> Kinematics:
    """The arm of the laboratory: the one given, else the one that was attached.

    Raises:
        VipaError: there is neither, or the recorded poses are not those of its end effector.
    """
    lab = lab or recorded.lab
    if lab is None:
        raise VipaError(f"{recorded.folder.name}: its laboratory is not attached. Name it with --lab")
    tool = flange_pose(lab.arm.end_effector_translation, lab.arm.end_effector_rpy)
    kinematics = Kinematics(lab.control.kinematics, tool)
    some = slice(None, None, max(1, len(recorded.joints) // 100))
    off = kinematics.forward(recorded.joints[some])[:, :3, 3] - recorded.poses[some, :3, 3]
    if np.abs(off).max() > OFF_LAB:
        raise VipaError(
            f"{recorded.folder.name}: the laboratory's end effector is {np.abs(off).max():.3f} m from the recorded "
            "one. Name the right laboratory with --lab"
        )
    return kinematics


def hand_targets(recorded: RecordedEpisode, times_ns: Times) -> Array:
    """What the hand was told; where it was told nothing, where it was."""
    if recorded.commanded_hand is not None:
        return np.clip(recorded.commanded_hand.at(times_ns), 0.0, 1.0)
    return _columns(recorded.hand_ns, recorded.hand, times_ns)


def _moving_rows(poses: Array, hand: Array, config: AlignConfig) -> slice:
    """The rows from the first to the last that is told to move, and ``idle`` around them."""
    moved = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1) > MOVES[0]
    turned = np.abs(np.diff(poses[:, :3, :3], axis=0)).max(axis=(1, 2)) > MOVES[1]
    closed = np.abs(np.diff(hand, axis=0)).max(axis=1) > MOVES[1]
    rows = np.flatnonzero(moved | turned | closed)
    if not len(rows):
        return slice(0, 0)
    around = round(config.idle * config.rate)
    return slice(max(int(rows[0]) - around, 0), int(rows[-1]) + 2 + around)


def _observation_times(grid: Times, chosen: Mapping[str, Times]) -> Times:
    """The oldest exposure of each row; where no camera has a new frame, the time at which one should have been."""
    oldest = np.minimum.reduce(list(chosen.values()))
    times = oldest.copy()
    for row in range(1, len(times)):
        if times[row] <= times[row - 1]:
            times[row] = max(int(grid[row]), int(times[row - 1]) + 1)
    return times


def _report(
    recorded: RecordedEpisode,
    config: AlignConfig,
    grid: Times,
    exposures: Mapping[str, Times],
    chosen: Mapping[str, Times],
) -> dict[str, float]:
    """How well everything fits.

    Raises:
        VipaError: a camera, the arm or the hand is silent for too long.
    """
    name, report = recorded.folder.name, {"rows": float(len(grid))}
    streams = {**exposures, "arm": recorded.arm_ns, "hand": recorded.hand_ns}
    for stream, stamps in streams.items():
        inside = stamps[max(np.searchsorted(stamps, grid[0]) - 1, 0) : np.searchsorted(stamps, grid[-1]) + 2]
        gaps = np.diff(inside) / NS
        report[f"{stream}_longest_gap_s"] = float(gaps.max(initial=0.0))
        if report[f"{stream}_longest_gap_s"] > config.longest_gap:
            at = (inside[int(gaps.argmax())] - grid[0]) / NS
            raise VipaError(
                f"{name}: {'camera ' if stream in exposures else ''}{stream}: nothing for {gaps.max():.2f} s, "
                f"{at:.1f} s after the first row; {config.longest_gap:g} s are allowed (--longest-gap)"
            )
        if stream in exposures:
            period = float(np.median(gaps))
            report[f"{stream}_frames"] = float(len(inside))
            report[f"{stream}_missing"] = float((np.rint(gaps / period) - 1.0).clip(min=0.0).sum())
    for camera, frames in chosen.items():
        off = np.abs(frames - grid) / 1e6
        report[f"{camera}_off_max_ms"], report[f"{camera}_off_mean_ms"] = float(off.max()), float(off.mean())
        report[f"{camera}_repeated"] = float((np.diff(frames) == 0).sum())
    spread = np.ptp(np.stack(list(chosen.values())), axis=0) / 1e6
    report["cameras_apart_max_ms"] = float(spread.max())
    report["dropped"] = float(sum(recorded.bag.dropped.values()))
    return report


def _nearest(stamps: Times, wanted: Times) -> NDArray[np.int64]:
    """Numbers of the stamps (increasing) that are nearest."""
    after = (
        np.clip(np.searchsorted(stamps, wanted), 1, len(stamps) - 1)
        if len(stamps) > 1
        else np.zeros(len(wanted), np.int64)
    )
    before = np.maximum(after - 1, 0)
    return np.where(wanted - stamps[before] <= stamps[after] - wanted, before, after)


def _columns(times_ns: Times, values: Array, wanted: Times) -> Array:
    """Straight lines (T, D) between values (N, D)."""
    start = times_ns[0]
    return np.stack([np.interp(wanted - start, times_ns - start, column) for column in values.T], axis=-1)
