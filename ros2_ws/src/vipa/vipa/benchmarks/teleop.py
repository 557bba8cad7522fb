"""From an operator's command to the motion of the joints, through the whole graph in the simulated laboratory."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vipa.result import Bound

Array = NDArray[np.float64]

BOUNDS: dict[str, Bound] = {
    "moves": (">=", 5.0),
    "moves_not_seen": ("==", 0.0),
    "command_to_motion_p50_ms": ("<=", 100.0),
    "command_to_motion_p99_ms": ("<=", 150.0),
    "chunks_refused": ("==", 0.0),
    "gate_violations_reaching_driver": ("==", 0.0),
}
SPEED = 0.1  # m/s of the moves
_MOVE_S, _PAUSE_S, _OPEN_S = 0.4, 1.0, 0.2
_STILL_NS = 200_000_000  # before a move, in which the noise is measured
_PATIENCE_NS = 500_000_000  # after a command, in which the arm must move
_NOISE = 5.0  # standard deviations that count as motion, in two readings of a joint, one after the other
_SMALLEST = 2e-5  # rad that count as motion where there is no noise


@dataclass(frozen=True)
class Command:
    """A command of the operator."""

    stamp_ns: int
    moves: bool  # the clutch is held and something is wanted


@dataclass
class TeleopStatistics:
    """What was seen on the topics."""

    commands: list[Command] = field(default_factory=list[Command])
    states: list[tuple[int, Array]] = field(default_factory=list[tuple[int, Array]])  # time, joint positions (7,) rad
    sent_ms: list[float] = field(default_factory=list[float])  # from a command to the window that holds it
    chunks_refused: int = 0
    driver_refusals: int = 0

    def figures(self) -> dict[str, float]:
        """The figures, of ROS time."""
        latencies = self.latencies_ms()
        seen = np.array([latency for latency in latencies if latency is not None])
        figures = {
            "moves": float(len(latencies)),
            "moves_not_seen": float(len(latencies) - len(seen)),
            "chunks_refused": float(self.chunks_refused),
            "gate_violations_reaching_driver": float(self.driver_refusals),
        }
        for name, values in (("command_to_motion", seen), ("command_to_sent", np.array(self.sent_ms))):
            for percentile in (50, 99):
                value = float(np.percentile(values, percentile)) if values.size else float("nan")
                figures[f"{name}_p{percentile}_ms"] = round(value, 2)
        return figures

    def latencies_ms(self) -> list[float | None]:
        """From the command to the motion, of each move; None where no motion was seen."""
        found = [self._latency_ns(onset) for onset in self._onsets()]
        return [None if latency is None else round(latency * 1e-6, 2) for latency in found]

    def _onsets(self) -> list[int]:
        """The times of the commands with which a move begins."""
        pairs = zip(self.commands, self.commands[1:], strict=False)
        return [after.stamp_ns for before, after in pairs if after.moves and not before.moves]

    def _latency_ns(self, onset_ns: int) -> int | None:
        """From a command to the first reading in which a joint has moved by more than its noise; None: not in time.

        The drift of the joints before the command is continued, as it is no answer to it.
        """
        times = np.array([time for time, _ in self.states])
        first, begin, end = np.searchsorted(times, [onset_ns - _STILL_NS, onset_ns, onset_ns + _PATIENCE_NS])
        if begin - first < 5:
            return None
        q = np.array([q for _, q in self.states[first:end]])
        seconds = (times[first:end] - onset_ns) * 1e-9
        still = begin - first
        drift = np.polynomial.polynomial.polyfit(seconds[:still], q[:still], 1)
        away = np.abs(q - (drift[0] + seconds[:, None] * drift[1]))
        noise = np.sqrt((away[:still] ** 2).sum(axis=0) / (still - 2))
        from_middle = seconds - seconds[:still].mean()  # the further, the less is known of the drift
        growth = np.sqrt(1.0 + 1.0 / still + from_middle**2 / (from_middle[:still] ** 2).sum())
        beyond = away[still:] > np.maximum(_NOISE * noise * growth[still:, None], _SMALLEST)
        moved = (beyond[:-1] & beyond[1:]).any(axis=1)
        return int(times[begin + int(np.argmax(moved))] - onset_ns) if moved.any() else None


def write_script(path: Path, moves: int) -> None:
    """Write a script of short moves, to and fro along the three axes, with pauses.

    The clutch opens early in each pause and is held, with nothing wanted, for the rest of it.
    """
    commands: list[dict[str, object]] = []
    time = 0.0
    for k in range(moves):
        twist = [0.0] * 6
        twist[k // 2 % 3] = SPEED if k % 2 == 0 else -SPEED
        pause = _PAUSE_S + 0.013 * (k % 5)  # so that no move begins in step with the control loops
        commands.append({"time": round(time, 4), "duration": _OPEN_S, "clutch": False})
        commands.append({"time": round(time + _OPEN_S, 4), "duration": round(pause - _OPEN_S, 4)})
        commands.append({"time": round(time + pause, 4), "duration": _MOVE_S, "twist": twist})
        time += pause + _MOVE_S
    path.write_text(json.dumps({"commands": commands}), encoding="utf-8")
