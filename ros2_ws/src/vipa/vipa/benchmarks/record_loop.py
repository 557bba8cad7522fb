"""``vipa bench record-loop``: the running loop without a recorder, with one, and with one whose disk is slow or full.

The disk that fills up is a small tmpfs, which only root can mount; for others that part is left out, and said so.
"""

import json
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from vipa.bringup import run_graph, say
from vipa.graph import GraphArguments, monitor_node
from vipa.recording.bag import mcap_name
from vipa.recording.config import MEGABYTE
from vipa.recording.recovery import scan
from vipa.recording.store import list_episodes
from vipa.result import Bound, Result

JITTERS = {"jitter": "control_period_jitter_p99_ms", "ros_jitter": "control_period_ros_jitter_p99_ms"}
"""Of the control period, by the steady clock and by ROS time."""
KEPT = (*JITTERS.values(), "exposure_to_command_p99_ms", "real_time_factor", "executed_steps")
SMALL_DISK_MB = 120
SMALL_DISK_OPTIONS = {"minimum_free": 0, "minimum_free_to_start": 50 * MEGABYTE}
"""Nothing is kept free, so that the disk is full in earnest."""
SLOW_DISK_OPTIONS = {"write_rate": MEGABYTE, "queue_size": 8 * MEGABYTE}
"""A disk on which little of what the cameras say can be written."""
ADDED_BOUND: Bound = ("<", 1.0)  # ms
BOUNDS: dict[str, Bound] = {"recording_frames_dropped": ("==", 0.0), "recording_episodes_damaged": ("==", 0.0),
                            "slow_episodes_damaged": ("==", 0.0), "slow_frames_dropped": (">", 0.0)}  # fmt: skip
FULL_BOUNDS: dict[str, Bound] = {"full_episodes_damaged": ("==", 0.0), "full_episodes_cut_short": (">=", 1.0)}


def run_record_loop_benchmark(arguments: GraphArguments, seconds: float, folder: Path, domain: int | None) -> Result:
    """Run the graph three or four times.

    Args:
        arguments: which graph; its recorder is chosen here.
        seconds: of ROS time that are measured in each.
        folder: for logs and recordings; the recordings stay there, except those of the full disk.
        domain: ROS domain; None: that of ``ROS_DOMAIN_ID``.
    """
    ends_well = True
    figures: dict[str, float] = {}
    details: dict[str, object] = {}
    bounds = dict(BOUNDS)

    def measure(name: str, recordings: Path | None, options: dict[str, int]) -> None:
        nonlocal ends_well
        say(f"measuring {seconds:g} s: {name}")
        logs, measured = folder / name, folder / name / "monitor.json"
        logs.mkdir()
        chosen = replace(arguments, extra=(monitor_node(seconds, str(measured)),))
        if recordings is not None:
            chosen = replace(
                chosen,
                record=True,
                recordings=str(recordings),
                begin_recording="measure the loop",
                recorder_options=json.dumps(options),
            )
        ends_well &= run_graph(chosen, logs, domain).status == 0
        found = Result.read(measured).figures
        figures.update({f"{name}_{key}": found[key] for key in KEPT if key in found})
        if recordings is not None:
            for kind, key in JITTERS.items():
                figures[f"{name}_{kind}_added_ms"] = round(found[key] - figures[f"without_{key}"], 3)
                bounds[f"{name}_{kind}_added_ms"] = ADDED_BOUND
            figures.update({f"{name}_{key}": value for key, value in recorded_figures(recordings).items()})
            details[name] = [vars(e.episode) if e.episode else e.problem for e in list_episodes(recordings)]

    measure("without", None, {})
    measure("recording", folder / "recordings", {})
    measure("slow", folder / "slow_recordings", SLOW_DISK_OPTIONS)
    with small_disk(folder / "small_disk") as disk:
        if disk is None:
            details["full"] = "left out: only root can mount a small disk"
        else:
            bounds.update(FULL_BOUNDS)
            measure("full", disk, SMALL_DISK_OPTIONS)
    return Result("bench record-loop", ends_well, figures, bounds, details)


def recorded_figures(folder: Path) -> dict[str, float]:
    """What the folder's episodes have; one counts as damaged if it has no end, or a chunk that cannot be read."""
    listed = list_episodes(folder)
    episodes = [entry.episode for entry in listed if entry.episode is not None]
    whole = [episode for episode in episodes if scan(folder / episode.name / mcap_name(episode.name)).finished]
    return {
        "episodes_damaged": float(len(listed) - len(whole)),
        "episodes_cut_short": float(sum(episode.ended.startswith("the disk") for episode in episodes)),
        "frames": float(sum(sum(episode.frames.values()) for episode in episodes)),
        "frames_dropped": float(sum(sum(episode.dropped.values()) for episode in episodes)),
    }


@contextmanager
def small_disk(folder: Path) -> Generator[Path | None]:
    """Within, a small tmpfs at ``folder``; None where none can be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_MB}m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
