"""``vipa bench dataset``: how fast demonstrations are written and read, without a robot, from synthetic pictures.

LeRobot is not needed; what its writers reached with two cameras of 224 x 224 px on two cores is kept here as figures.
Its "frame" is a row, which has a picture of each camera; so is ours.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vipa.result import Bound, Result
from vipa_inference.processing import proprioception_vector
from vipa_training.data.check import check_dataset
from vipa_training.data.episode import EpisodeNote, Row
from vipa_training.data.format import IMAGES, Layout
from vipa_training.data.reader import Dataset
from vipa_training.data.writer import DatasetWriter

LEROBOT_ROWS_PER_S = {"libsvtav1 (default)": 51.0, "h264": 56.0, "streaming h264": 146.0}
"""Measured once, with LeRobot 0.6.1 on 2 cores without a GPU."""
CAMERAS = ("front", "side")
PICTURES = 40  # different ones of each camera
BOUNDS: dict[str, Bound] = {"ratio_to_lerobot_default": (">=", 5.0), "problems": ("==", 0.0)}


@dataclass(frozen=True)
class DatasetBenchmarkConfig:
    """What is measured.

    Attributes:
        rows: of each episode.
        episodes: how many are written.
        size: px of the square pictures.
        reads: rows that are read at random.
        seed: of pictures and reads.
    """

    rows: int = 300
    episodes: int = 3
    size: int = 224
    reads: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rows", "episodes", "reads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive")


def run_dataset_benchmark(config: DatasetBenchmarkConfig, folder: Path | None, say: Callable[[str], None]) -> Result:
    """Measure.

    Args:
        config: what is measured.
        folder: on the disk that is measured; None: a temporary one. The dataset is removed.
        say: told about progress.
    """
    layout = Layout.of_cameras(20, dict.fromkeys(CAMERAS, (config.size, config.size)))
    pictures = _pictures(config)
    with tempfile.TemporaryDirectory(prefix="vipa-dataset-", dir=folder) as name:
        root = Path(name) / "dataset"
        say(f"writing {config.episodes} episodes of {config.rows} rows")
        start, cpu = time.monotonic(), time.process_time()
        with DatasetWriter(root, layout) as writer:
            for number in range(config.episodes):
                builder = writer.begin()
                for row in _rows(config, pictures, number):
                    builder.add(row)
                writer.add(builder.finish(EpisodeNote("measure the writer")))
        wrote, cores = time.monotonic() - start, time.process_time() - cpu
        say(f"reading {config.reads} rows at random")
        per_read = _read_at_random(root, config)
        say("checking")
        problems = list(check_dataset(root))
        size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    count = config.rows * config.episodes
    figures = {
        "rows_per_s": count / wrote,
        "pictures_per_s": len(CAMERAS) * count / wrote,
        "cores": cores / wrote,
        "ratio_to_lerobot_default": count / wrote / LEROBOT_ROWS_PER_S["libsvtav1 (default)"],
        "ratio_to_lerobot_streaming": count / wrote / LEROBOT_ROWS_PER_S["streaming h264"],
        "kilobytes_per_row": size / count / 1e3,
        "random_read_ms": 1e3 * per_read,
        "problems": float(len(problems)),
    }
    details = {
        "source": f"synthetic, noisy pictures, {len(CAMERAS)} cameras of {config.size} x {config.size} px",
        "lerobot": "figures of an earlier measurement with LeRobot 0.6.1 on 2 cores, not measured here",
        "lerobot_rows_per_s": LEROBOT_ROWS_PER_S,
        "problems": problems,
    }
    return Result("bench dataset", True, figures, BOUNDS, details)


def _rows(config: DatasetBenchmarkConfig, pictures: dict[str, NDArray[np.uint8]], episode: int) -> Iterator[Row]:
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    for number in range(config.rows):
        time_ns = (episode * config.rows + number + 1) * 50_000_000
        pose[:3, 3] = 0.5, 0.2 * np.sin(0.05 * number), 0.3
        hand = np.full(6, 0.5 + 0.5 * np.sin(0.03 * number))
        yield Row(
            time_ns=time_ns,
            exposures_ns=dict.fromkeys(CAMERAS, time_ns),
            images={camera: pictures[camera][number % PICTURES] for camera in CAMERAS},
            state=proprioception_vector(pose, np.sin(0.05 * number + np.arange(7)), hand),
            target_pose=pose.copy(),
            target_hand=hand,
        )


def _read_at_random(root: Path, config: DatasetBenchmarkConfig) -> float:
    """s for the pictures of all cameras of one row."""
    rng = np.random.default_rng(config.seed)
    with Dataset(root) as dataset:
        start = time.monotonic()
        for _ in range(config.reads):
            episode = dataset.episodes[rng.integers(config.episodes)]
            row = int(rng.integers(config.rows))
            for camera in CAMERAS:
                dataset.frames(episode, f"{IMAGES}{camera}", [row])
        return (time.monotonic() - start) / config.reads


def _pictures(config: DatasetBenchmarkConfig) -> dict[str, NDArray[np.uint8]]:
    """Shaded scenes with a moving square and the noise of a sensor: harder to compress than rendered ones."""
    rng = np.random.default_rng(config.seed)
    y, x = np.mgrid[0 : config.size, 0 : config.size].astype(np.float64)
    found: dict[str, NDArray[np.uint8]] = {}
    for camera in CAMERAS:
        drawn: list[NDArray[np.uint8]] = []
        for number in range(PICTURES):
            shades = (120 + 60 * np.sin(x / 30), 100 + 50 * np.cos(y / 25), 90 + 40 * np.sin((x + y) / 40))
            scene = np.stack(shades, axis=-1)
            left = config.size // 8 + number * config.size // (2 * PICTURES)
            scene[config.size // 3 : config.size // 2, left : left + config.size // 6] = (200, 40, 30)
            drawn.append(np.clip(scene + rng.normal(0, 4, scene.shape), 0, 255).astype(np.uint8))
        found[camera] = np.stack(drawn)
    return found
