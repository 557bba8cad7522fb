"""A slow disk and a full one under the genuine recorder: no episode may be damaged, and nobody may wait for the disk.

What it costs the running loop: ``loop_disk``.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from vipa.benchmarks.record_loop import SLOW_DISK_OPTIONS, recorded_figures, small_disk
from vipa.benchmarks.synthetic_robot import NS, SyntheticRobot, SyntheticRobotConfig
from vipa.bringup import say
from vipa.faults.outcome import Outcome
from vipa.faults.suite import InjectionOptions
from vipa.recording.config import MEGABYTE, RecorderConfig
from vipa.recording.recorder import Recorder
from vipa.recording.store import RecordingStore
from vipa.result import Bound

_START_NS = NS
_SECONDS = 3.0  # of one recording on the slow disk
_PATIENCE_S = 60.0  # for the full one to be full
_SLOW = replace(RecorderConfig(minimum_free=MEGABYTE, minimum_free_to_start=2 * MEGABYTE), **SLOW_DISK_OPTIONS)
_FULL = RecorderConfig(minimum_free=0, minimum_free_to_start=20 * MEGABYTE, reserve=MEGABYTE)
_BOUNDS: dict[str, Bound] = {"episodes_damaged": ("==", 0.0), "put_p99_ms": ("<", 1.0)}


def inject(options: InjectionOptions) -> Iterator[Outcome]:
    """Record on a disk that takes 1 MB/s, and on one that fills up."""
    robot = SyntheticRobot(SyntheticRobotConfig(cameras=("front",), height=240, width=320, seed=options.seed))
    slow = options.folder / "slow_disk"
    waits = [wait for _ in range(options.repeats) for wait in record(slow, _SLOW, robot, _SECONDS)]
    figures = recorded_figures(slow)
    bounds: dict[str, Bound] = {**_BOUNDS, "frames_dropped": (">", 0.0), "frames": (">", 0.0)}
    yield Outcome("slow_disk", options.repeats, {**figures, **_waits(waits)}, bounds)
    with small_disk(options.folder / "full_disk") as disk:
        if disk is None:
            say("disk: the full disk is left out: only root can mount a small one")
            return
        waits = record(disk, _FULL, robot, _PATIENCE_S)
        figures = recorded_figures(disk)
        yield Outcome("full_disk", 1, {**figures, **_waits(waits)}, {**_BOUNDS, "episodes_cut_short": ("==", 1.0)})


def record(folder: Path, config: RecorderConfig, robot: SyntheticRobot, seconds: float) -> list[float]:
    """Record in real time for so long, or until the episode ends by itself; how long each message was in ``put``, s."""
    recorder = Recorder(RecordingStore(folder), robot.topics, config, {})
    recorder.start("on a bad disk", _START_NS)
    begin, waits = time.monotonic(), list[float]()
    for sample in robot.samples(_START_NS):
        elapsed = (sample.time_ns - _START_NS) / NS
        if not recorder.recording or elapsed >= seconds:
            break
        time.sleep(max(begin + elapsed - time.monotonic(), 0.0))
        before = time.perf_counter()
        recorder.put(sample.topic, sample.payload, sample.time_ns)
        waits.append(time.perf_counter() - before)
        recorder.step(sample.time_ns)
    recorder.close(_START_NS + round(seconds * NS))
    return waits


def _waits(waits: list[float]) -> dict[str, float]:
    milliseconds = np.array(waits) * 1e3
    return {"put_p99_ms": round(float(np.percentile(milliseconds, 99)), 4), "put_max_ms": round(milliseconds.max(), 3)}
