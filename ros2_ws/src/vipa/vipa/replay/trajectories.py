"""What the robot of a recording was told and did, and how near another run of it came."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vipa.errors import VipaError
from vipa.lab import LabConfig
from vipa.recording.alignment import episode_kinematics, hand_targets
from vipa.recording.export import TRIAL_NAME
from vipa.recording.recorded import RecordedEpisode
from vipa_inference.policy import CommittedPlan
from vipa_inference.real_time_chunking import interpolate
from vipa_inference.rotations import rotation_vector_from_matrix

Array = NDArray[np.float64]
Times = NDArray[np.int64]
GRID_NS = 10_000_000  # between two targets; straight lines between them are some hundredths of a millimetre off
LONGEST_LAG_S, LAG_STEP_S = 0.3, 0.005
MOVES_M = 0.005  # an arm that moves less tells nothing about latency


@dataclass(frozen=True)
class Track:
    """What a robot did.

    Attributes:
        times_ns: (N,) of the arm's states, increasing.
        poses: (N, 4, 4) end effector in the base frame, m.
        hand_ns: (M,) of the hand's states, increasing.
        hand: (M, 6) positions, 0 closed - 1 open.
    """

    times_ns: Times
    poses: Array
    hand_ns: Times
    hand: Array


def recorded_targets(recorded: RecordedEpisode, lab: LabConfig) -> CommittedPlan:
    """What arm and hand were told, on a grid of recorded time, to its end at rest.

    Args:
        recorded: the episode.
        lab: whose arm it was, where that was not attached.

    Raises:
        VipaError: the arm was never told to move, or the laboratory's end effector is not the recorded one.
    """
    commanded = recorded.commanded_joints
    if commanded is None or not len(recorded.arm_ns) or not len(recorded.hand_ns):
        raise VipaError(
            f"replay: {recorded.folder.name}: the arm was never told to move, or its state or the hand's is missing. "
            "Record an episode in which it moves"
        )
    times_ns = np.arange(commanded.start_ns, commanded.end_ns + GRID_NS, GRID_NS, dtype=np.int64)
    kinematics = episode_kinematics(recorded, recorded.lab or lab)
    return CommittedPlan(times_ns, kinematics.forward(commanded.at(times_ns)), hand_targets(recorded, times_ns))


def recorded_track(recorded: RecordedEpisode) -> Track:
    """What the recorded robot did."""
    return Track(recorded.arm_ns, recorded.poses, recorded.hand_ns, recorded.hand)


def recorded_scene(recorded: RecordedEpisode) -> tuple[str, int] | None:
    """Task and seed of the trial that was recorded; None where it was none."""
    for moment in recorded.moments:
        match = TRIAL_NAME.fullmatch(moment.trial)
        if match is not None and moment.trial != recorded.folder.name:
            return match["scene"], int(match["seed"])
    return None


def compare_tracks(recorded: Track, replayed: Track, shift_ns: int, begin_ns: int, end_ns: int) -> dict[str, float]:
    """How far the replayed robot was from the recorded one.

    Args:
        recorded: what it did.
        replayed: what the other did.
        shift_ns: the time of the replay less that of the recording, for the same target.
        begin_ns, end_ns: the part of the recording that counts.

    Returns:
        Figures by name. ``latency_offset_ms`` is by how much later the replayed arm was than the recorded one, NaN
        where it hardly moved; the figures that begin with ``aligned`` are without that.

    Raises:
        VipaError: the replay and the recording do not overlap.
    """
    times_ns = _inside(recorded.times_ns, begin_ns, end_ns, replayed.times_ns - shift_ns)
    hand_ns = _inside(recorded.hand_ns, begin_ns, end_ns, replayed.hand_ns - shift_ns)
    if len(times_ns) < 2 or not len(hand_ns):
        raise VipaError("replay: the state of arm or hand was not heard while it was played; see: vipa cell status")
    wanted = _poses(recorded, times_ns)
    off, turned = _apart(wanted, _poses(replayed, times_ns + shift_ns))
    hand = np.abs(_hand(recorded, hand_ns) - _hand(replayed, hand_ns + shift_ns))
    lag = _lag(wanted, replayed, times_ns + shift_ns)
    late_ns = 0 if math.isnan(lag) else round(lag * 1e9)
    aligned, _ = _apart(wanted, _poses(replayed, times_ns + shift_ns + late_ns))
    return {
        "seconds": float(times_ns[-1] - times_ns[0]) * 1e-9,
        "position_rms_mm": _rms(off) * 1e3,
        "position_max_mm": float(off.max()) * 1e3,
        "rotation_rms_deg": math.degrees(_rms(turned)),
        "rotation_max_deg": math.degrees(float(turned.max())),
        "hand_rms": _rms(hand),
        "hand_max": float(hand.max()),
        "latency_offset_ms": lag * 1e3,
        "aligned_position_rms_mm": _rms(aligned) * 1e3,
        "aligned_position_max_mm": float(aligned.max()) * 1e3,
    }


def _inside(times_ns: Times, begin_ns: int, end_ns: int, other_ns: Times) -> Times:
    """The times within the part that counts, and within what was heard of the other robot."""
    if not len(other_ns):
        return times_ns[:0]
    return times_ns[(times_ns >= max(begin_ns, other_ns[0])) & (times_ns <= min(end_ns, other_ns[-1]))]


def _poses(track: Track, times_ns: Times) -> Array:
    return interpolate(CommittedPlan(track.times_ns, track.poses, np.zeros((len(track.times_ns), 6))), times_ns).poses


def _hand(track: Track, times_ns: Times) -> Array:
    start = track.hand_ns[0]
    return np.stack([np.interp(times_ns - start, track.hand_ns - start, column) for column in track.hand.T], axis=-1)


def _apart(one: Array, two: Array) -> tuple[Array, Array]:
    """Distances (N,) m and angles (N,) rad between poses (N, 4, 4)."""
    turn = rotation_vector_from_matrix(one[:, :3, :3] @ two[:, :3, :3].swapaxes(1, 2))
    return np.linalg.norm(one[:, :3, 3] - two[:, :3, 3], axis=1), np.linalg.norm(turn, axis=1)


def _lag(wanted: Array, replayed: Track, times_ns: Times) -> float:
    """The lag (s) with which the replayed positions fit best, between two steps by a parabola."""
    if np.ptp(wanted[:, :3, 3], axis=0).max() < MOVES_M:
        return math.nan
    lags = np.arange(-LONGEST_LAG_S, LONGEST_LAG_S + LAG_STEP_S / 2, LAG_STEP_S)
    squares = [
        _rms(np.linalg.norm(wanted[:, :3, 3] - _positions(replayed, times_ns + round(lag * 1e9)), axis=1)) ** 2
        for lag in lags
    ]
    best = int(np.argmin(squares))
    if not 0 < best < len(lags) - 1:
        return float(lags[best])
    before, here, after = squares[best - 1 : best + 2]
    bend = before - 2.0 * here + after
    return float(lags[best] + (0.5 * LAG_STEP_S * (before - after) / bend if bend > 0 else 0.0))


def _positions(track: Track, times_ns: Times) -> Array:
    start = track.times_ns[0]
    columns = track.poses[:, :3, 3].T
    return np.stack([np.interp(times_ns - start, track.times_ns - start, column) for column in columns], axis=-1)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
