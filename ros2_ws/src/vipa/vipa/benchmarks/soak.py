"""What a long run of the graph shows: growth of memory and handles, missed ticks, lost frames and packets.

The samples are lines of JSON in a file, so a soak that was interrupted can still be judged.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vipa.benchmarks.processes import ProcessUse
from vipa.errors import ConfigurationError
from vipa.result import Bound, Result

BOUNDS: dict[str, Bound] = {
    "memory_growth_percent": ("<", 1.0),
    "largest_memory_growth_percent": ("<", 1.0),
    "missed_ticks_percent": ("<", 0.1),
    "handles_added": ("==", 0.0),
    "threads_added": ("==", 0.0),
    "dropped_frames": ("==", 0.0),
    "gate_violations_reaching_driver": ("==", 0.0),
    "executed_steps": (">", 0.0),
}
SIMULATED_BOUNDS: dict[str, Bound] = {"fci_packets_lost": ("==", 0.0), "aborts": ("==", 0.0)}
MISSED = 1.5  # periods of the control loop, from which on a tick counts as missed
_FEWEST = 3  # samples after the warm-up


@dataclass(frozen=True)
class Sample:
    """The graph at one moment; the counts are those since the measurement began."""

    wall_s: float
    ros_s: float
    ticks: int  # of the control loop
    missed: int  # periods that were longer than ``MISSED`` nominal ones, by the steady clock
    ros_missed: int  # the same by ROS time, which a simulated laboratory stretches on a busy machine
    executed_steps: int
    chunks_refused: int
    refused_by_driver: int
    dropped_frames: int
    packets_lost: int
    aborts: int
    processes: tuple[ProcessUse, ...]

    def line(self) -> str:
        """As one line of a file."""
        return json.dumps(asdict(self)) + "\n"


def read_samples(path: Path) -> list[Sample]:
    """The samples in a file; a last line that is cut off is left out.

    Raises:
        ConfigurationError: there is no such file, or a line of it is no sample.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except OSError as error:
        raise ConfigurationError(f"soak {path}: {error.strerror}; did the graph come up? See the logs") from None
    samples: list[Sample] = []
    for number, line in enumerate(lines, start=1):
        if not line.endswith("\n"):
            break
        try:
            content = json.loads(line)
            content["processes"] = tuple(ProcessUse(**use) for use in content["processes"])
            samples.append(Sample(**content))
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigurationError(f"soak {path}, line {number}: no sample ({error})") from None
    return samples


def soak_result(samples: Sequence[Sample], minutes: float, simulated: bool, restarts: int, ok: bool) -> Result:
    """Judge a soak.

    Memory, handles and threads are judged after a warm-up of five minutes, or a quarter of the soak where that is less;
    everything else from the beginning on.

    Args:
        samples: in order of time.
        minutes: that were asked for; fewer were measured where the soak was interrupted, which is said.
        simulated: whether the laboratory is.
        restarts: of nodes.
        ok: whether the graph ended as intended.
    """
    bounds = {**BOUNDS, "node_restarts": ("==", 0.0), **(SIMULATED_BOUNDS if simulated else {})}
    figures: dict[str, float] = {"node_restarts": restarts, "samples": len(samples)}
    if not samples:
        return Result("bench soak", False, figures, bounds, {"problem": "no sample was taken"})
    last = samples[-1]
    warm_up_s = min(300.0, last.wall_s / 4.0)
    warm = [sample for sample in samples if sample.wall_s >= warm_up_s]
    figures |= {
        "minutes": round(last.wall_s / 60.0, 2),
        "real_time_factor": round(last.ros_s / last.wall_s, 4) if last.wall_s else 0.0,
        "clock_behind_wall_s": round(last.wall_s - last.ros_s, 3),
        "control_ticks": last.ticks,
        "missed_ticks_percent": _percent(last.missed, last.ticks),
        "missed_ticks_ros_percent": _percent(last.ros_missed, last.ticks),
        "executed_steps": last.executed_steps,
        "chunks_refused": last.chunks_refused,
        "gate_violations_reaching_driver": last.refused_by_driver,
        "dropped_frames": last.dropped_frames,
    }
    if simulated:
        figures |= {"fci_packets_lost": last.packets_lost, "aborts": last.aborts}
    details: dict[str, object] = {"warm_up_s": round(warm_up_s, 1), "interrupted": last.wall_s < 60.0 * minutes - 1.0}
    if len(warm) >= _FEWEST:
        growth, processes = _growth(warm)
        figures |= growth
        details["processes"] = processes
    return Result("bench soak", ok, figures, bounds, details)


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """The median of the slopes between all pairs of points (Theil and Sen): a few outliers do not move it."""
    t, v = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
    first, second = np.triu_indices(len(t), k=1)
    apart = t[second] > t[first]
    rises = (v[second] - v[first])[apart] / (t[second] - t[first])[apart]
    return float(np.median(rises)) if rises.size else 0.0


def _growth(samples: Sequence[Sample]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Growth of the whole graph and of each node.

    Growth is that of resident memory: a process's proportional memory also changes when others, which share its
    libraries, come and go.
    """
    times = [sample.wall_s for sample in samples]
    window = times[-1] - times[0]

    def growth(values: Sequence[float]) -> float:
        start = float(np.median(values[: max(_FEWEST, len(values) // 10)]))
        return 100.0 * slope(times, values) * window / max(start, 1.0)

    def added(values: Sequence[float]) -> float:
        share = max(1, len(values) // 10)
        return float(np.median(values[-share:]) - np.median(values[:share]))

    proportional, resident = _by_node(samples, lambda u: u.proportional), _by_node(samples, lambda u: u.resident)
    handles, threads = _by_node(samples, lambda u: u.handles), _by_node(samples, lambda u: u.threads)
    nodes = {
        name: {
            "resident_mb": round(values[-1] / 1e6, 2),
            "growth_percent": round(growth(values), 3),
            "proportional_mb": round(proportional[name][-1] / 1e6, 2),
            "handles": handles[name][-1],
            "handles_added": added(handles[name]),
            "threads": threads[name][-1],
            "threads_added": added(threads[name]),
        }
        for name, values in resident.items()
    }
    total = np.sum(list(resident.values()), axis=0)
    figures = {
        "memory_mb": round(sum(values[-1] for values in proportional.values()) / 1e6, 1),
        "memory_growth_percent": round(growth(total.tolist()), 4),
        "largest_memory_growth_percent": max(node["growth_percent"] for node in nodes.values()),
        "handles_added": max(node["handles_added"] for node in nodes.values()),
        "threads_added": max(node["threads_added"] for node in nodes.values()),
    }
    return figures, nodes


def _by_node(samples: Sequence[Sample], value: Callable[[ProcessUse], float]) -> dict[str, list[float]]:
    """Per node the sum over its processes in each sample; zero where it was away."""
    series: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(samples))
    for k, sample in enumerate(samples):
        for use in sample.processes:
            series[use.name][k] += value(use)
    return dict(series)


def _percent(part: int, whole: int) -> float:
    return round(100.0 * part / whole, 4) if whole else 0.0
