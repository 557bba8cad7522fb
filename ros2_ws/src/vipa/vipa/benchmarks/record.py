"""``vipa bench record``: two cameras and a state through the recorder, without ROS; then the same, killed midway.

The source is ``vipa.benchmarks.synthetic_robot``; from ``Recorder.put`` on, everything is the real recorder. The share
of a core is that of the whole process, source included.
"""

import hashlib
import operator
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from vipa.benchmarks.synthetic_robot import NS, Sample, SyntheticRobot, SyntheticRobotConfig
from vipa.errors import VipaError
from vipa.recording.bag import Episode, mcap_name
from vipa.recording.config import RecorderConfig
from vipa.recording.recorder import Recorder
from vipa.recording.recovery import scan
from vipa.recording.store import RecordingStore
from vipa.result import Bound, Result

START_NS = NS  # ROS time at which the synthetic robot begins
BOUNDS: dict[str, Bound] = {
    "dropped": ("==", 0.0),
    "frames_missing": ("==", 0.0),
    "core_share": ("<=", 0.6),
    "recovered_share": ("==", 1.0),
    "tail_lost_max_s": ("<=", 0.3),
    "earlier_episodes_changed": ("==", 0.0),
}


@dataclass(frozen=True)
class RecordConfig:
    """What is measured.

    Attributes:
        seconds: of sustained recording.
        kills: how many recordings are killed.
        robot: what is recorded.
        recorder: see ``RecorderConfig``.
        seed: of the moments of the kills.
    """

    seconds: float = 30.0
    kills: int = 3
    robot: SyntheticRobotConfig = field(default_factory=SyntheticRobotConfig)
    recorder: RecorderConfig = field(default_factory=RecorderConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.seconds > 0 or self.kills < 1:
            raise ValueError("seconds must be positive, and kills at least 1")


@dataclass(frozen=True)
class Kill:
    """One recording that was killed.

    Attributes:
        after: s of recording before the kill.
        tail_lost: s between the last message that the recorder was given and the last one in the recovered file.
        bytes_lost: payloads that the recorder was given and the file does not have, before compression.
        is_recovered: the recovered file can be read, and has every message up to its last one.
        are_others_same: all earlier episodes are byte for byte as they were.
    """

    after: float
    tail_lost: float
    bytes_lost: int
    is_recovered: bool
    are_others_same: bool


def run_record_benchmark(config: RecordConfig, folder: Path | None, say: Callable[[str], None]) -> Result:
    """Measure.

    Args:
        config: what is measured.
        folder: on the disk that is measured; None: a temporary one. Its recordings are removed.
        say: told about progress.
    """
    with tempfile.TemporaryDirectory(prefix="vipa-record-", dir=folder) as name:
        root = Path(name)
        say(f"recording {config.seconds:g} s into {root}")
        episode, share = sustain(root, config)
        kills: list[Kill] = []
        rng = random.Random(config.seed)
        for number in range(config.kills):
            say(f"kill {number + 1} of {config.kills}")
            kills.append(kill_one(root, rng.uniform(0.5, 4.0)))
    expected = config.seconds * config.robot.frame_rate * 2 * len(config.robot.cameras)
    figures = {
        "dropped": float(sum(episode.dropped.values())),
        "frames_missing": float(round(expected) - sum(episode.frames.values())),
        "core_share": share,
        "megabytes_per_second": episode.file_size / 1e6 / episode.duration,
        "duration_s": episode.duration,
        "kills": float(len(kills)),
        "recovered_share": sum(kill.is_recovered for kill in kills) / len(kills),
        "tail_lost_max_s": max(kill.tail_lost for kill in kills),
        "megabytes_lost_max": max(kill.bytes_lost for kill in kills) / 1e6,
        "earlier_episodes_changed": float(sum(not kill.are_others_same for kill in kills)),
    }
    details = {
        "source": "synthetic, without ROS; the share of a core includes the source",
        "frames": episode.frames,
        "warnings": episode.warnings,
        "kills": [vars(kill) for kill in kills],
    }
    return Result("bench record", True, figures, BOUNDS, details)


def sustain(folder: Path, config: RecordConfig) -> tuple[Episode, float]:
    """Record in real time; the episode, and the share of one core that this process took."""
    with _recorder(folder, config) as (recorder, robot):
        begin, cpu = time.monotonic(), time.process_time()
        recorder.start("measure the recorder", START_NS)
        end_ns = START_NS + round(config.seconds * NS)
        for sample in _in_real_time(robot):
            if sample.time_ns >= end_ns:
                break
            recorder.put(sample.topic, sample.payload, sample.time_ns)
            recorder.step(sample.time_ns)
        episode = recorder.stop("", end_ns)
        return episode, (time.process_time() - cpu) / (time.monotonic() - begin)


def kill_one(folder: Path, after: float) -> Kill:
    """Record in another process, kill it with SIGKILL after ``after`` seconds, recover, and compare.

    Raises:
        VipaError: the other process failed by itself.
    """
    before = _digests(folder)
    command = [sys.executable, "-m", "vipa.benchmarks.record", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        if not child.stdout.readline():
            raise VipaError(f"bench record: the process that was to be killed ended by itself ({child.wait()})")
        time.sleep(after)
        child.kill()
        given = _given(child.stdout)
    store = RecordingStore(folder)
    try:
        (recovered,) = store.recover().recovered
    finally:
        store.close()
    path = folder / recovered.episode.name / mcap_name(recovered.episode.name)
    index = scan(path).index
    last_ns = index.end_ns
    earlier, up_to = (sum(limit(t, last_ns) for t, _ in given["/joint_states"]) for limit in (operator.lt, operator.le))
    is_whole = earlier <= index.topic_count("/joint_states") <= up_to
    lost = sum(size for times in given.values() for time_ns, size in times if time_ns > last_ns)
    newest_ns = max(times[-1][0] for times in given.values())
    return Kill(
        after=after,
        tail_lost=(newest_ns - last_ns) / NS,
        bytes_lost=lost,
        is_recovered=scan(path).finished and is_whole,
        are_others_same=before.items() <= _digests(folder).items(),
    )


def _given(lines: IO[str]) -> dict[str, list[tuple[int, int]]]:
    """Per topic, time (ns) and size of each message that the killed recorder was given."""
    given: dict[str, list[tuple[int, int]]] = {}
    for line in lines:
        if line.endswith("\n"):
            topic, time_ns, size = line.split()
            given.setdefault(topic, []).append((int(time_ns), int(size)))
    return given


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.parent != folder)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _in_real_time(robot: SyntheticRobot) -> Iterator[Sample]:
    begin = time.monotonic()
    for sample in robot.samples(START_NS):
        pause = begin + (sample.time_ns - START_NS) / NS - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        yield sample


@contextmanager
def _recorder(folder: Path, config: RecordConfig) -> Generator[tuple[Recorder, SyntheticRobot]]:
    robot = SyntheticRobot(config.robot)
    store = RecordingStore(folder)
    try:
        yield Recorder(store, robot.topics, config.recorder, {}), robot
    finally:
        store.close()


def main() -> None:
    """Record until killed, and say on standard output what the recorder was given."""
    with _recorder(Path(sys.argv[1]), RecordConfig()) as (recorder, robot):
        recorder.start("until killed", START_NS)
        print("recording", flush=True)
        for sample in _in_real_time(robot):
            print(sample.topic.name, sample.time_ns, len(sample.payload), flush=True)
            recorder.put(sample.topic, sample.payload, sample.time_ns)
            recorder.step(sample.time_ns)


if __name__ == "__main__":
    main()
