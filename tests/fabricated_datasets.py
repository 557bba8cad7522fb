"""Small datasets for tests: an arm on a circle, and pictures that carry the number of their row in blocks of 8 px."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vipa_inference.processing import proprioception_vector
from vipa_inference.rotations import matrix_from_rotation_vector
from vipa_training.data.episode import EpisodeBuilder, EpisodeNote, FinishedEpisode, Row
from vipa_training.data.format import Layout
from vipa_training.data.writer import DatasetWriter

START_NS = 7_000_000_000
STEP_NS = 50_000_000
BITS = 12
LAYOUT = Layout.of_cameras(20, {"front": (48, 64), "side": (48, 64)})


def numbered_picture(number: int, size: tuple[int, int], shade: int = 90) -> NDArray[np.uint8]:
    """A picture with a number as a row of dark and bright blocks."""
    image = np.full((*size, 3), shade, np.uint8)
    for bit in range(BITS):
        row, column = divmod(bit, size[1] // 8)
        image[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 230 if number >> bit & 1 else 20
    return image


def number_in(image: NDArray[np.uint8]) -> int:
    """The number that ``numbered_picture`` drew."""
    number = 0
    for bit in range(BITS):
        row, column = divmod(bit, image.shape[1] // 8)
        number |= int(image[8 * row + 4, 8 * column + 4].mean() > 128) << bit
    return number


def pose_at(time: float) -> NDArray[np.float64]:
    """A pose (4, 4) on a circle."""
    pose = np.eye(4)
    pose[:3, 3] = 0.5 + 0.1 * np.cos(2 * time), 0.1 * np.sin(2 * time), 0.3
    pose[:3, :3] = matrix_from_rotation_vector([np.pi * 0.9, 0.2 * np.sin(time), 0.5 * time % 1.0])
    return pose


def hand_at(time: float) -> NDArray[np.float64]:
    """Hand (6,)."""
    return 0.5 + 0.4 * np.sin(time + np.arange(6))


def row_at(number: int, layout: Layout = LAYOUT, first: int = 0) -> Row:
    """Row ``number`` of an episode whose first picture carries ``first``."""
    time = number / layout.fps
    time_ns = START_NS + round(time * 1e9)
    images = {name: numbered_picture(first + number, size) for name, size in layout.cameras.items()}
    state = proprioception_vector(pose_at(time), 0.3 * np.sin(time + np.arange(7)), hand_at(time))
    target = time + 1 / layout.fps
    exposures = dict.fromkeys(layout.cameras, time_ns)
    return Row(time_ns, exposures, images, state, pose_at(target), hand_at(target))


def rows(length: int, layout: Layout = LAYOUT, first: int = 0) -> Iterator[Row]:
    """The rows of an episode."""
    return (row_at(number, layout, first) for number in range(length))


def note(number: int = 0, task: str = "wipe the board") -> EpisodeNote:
    """What is known of an episode."""
    return EpisodeNote(task, "success", seed=number, variant="seen", scene="wipe_board", sub_tasks=(("wiped", 0.3),))


def finished(builder: EpisodeBuilder, length: int, number: int = 0, task: str = "wipe the board") -> FinishedEpisode:
    """A whole episode."""
    for row in rows(length, builder.layout, first=100 * number):
        builder.add(row)
    return builder.finish(note(number, task))


def write_dataset(root: Path, lengths: tuple[int, ...] = (12, 9, 15), layout: Layout = LAYOUT) -> Path:
    """A dataset with an episode of each length."""
    with DatasetWriter(root, layout) as writer:
        for number, length in enumerate(lengths):
            writer.add(finished(writer.begin(), length, number))
    return root
