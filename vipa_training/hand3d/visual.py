"""Hand3D-visual: measured facts of the four categories, from observations at 1 frame a second (paper Sec. 3.2.1, 4.1).

The place of a hand is the mean of its 21 joints; that of an object the middle of what is seen of it. Displacements are
in the camera's frame at the last frame (categories 1 and 2) or at the first of two (3 and 4).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vipa_training.hand3d.directions import GAMMA
from vipa_training.hand3d.geometry import inverse, transformed
from vipa_training.hand3d.joints import SIDES, Side
from vipa_training.hand3d.observation import Observation
from vipa_training.hand3d.pointmaps import Surface
from vipa_training.hand3d.rotations import camera_motion

Array = NDArray[np.float64]
Category = Literal["spatial_relationship", "task_completion", "hand_movement", "camera_movement"]
CATEGORIES: tuple[Category, Category, Category, Category] = (
    "spatial_relationship",
    "task_completion",
    "hand_movement",
    "camera_movement",
)


@dataclass(frozen=True)
class VisualConfig:
    """What is worth a question."""

    gamma: float = GAMMA  # of directions
    most_frames: int = 4  # of categories 1 and 2
    longest_pair: int = 4  # s between the two frames of categories 3 and 4
    nearest: float = 0.02  # m, shorter displacements have no direction that can be trusted
    farthest: float = 2.0  # m, between hand and object, or travelled
    contact: float = 0.015  # m, from the nearest joint to the surface: joints lie under the skin
    least_turn: float = np.radians(5.0)  # rad, of the camera

    def __post_init__(self) -> None:
        if not 0.0 < self.gamma < 3.0**-0.5:
            raise ValueError(f"gamma: {self.gamma} is outside 0 to 0.577, some directions would have no name")
        if not 1 <= self.most_frames <= 4:
            raise ValueError(f"most_frames: {self.most_frames} is outside 1-4")


@dataclass(frozen=True, eq=False)
class Measurement:
    """One fact.

    Attributes:
        category: of the question that it answers.
        frames: numbers of the pictures that are shown.
        vector: (3,) m: from the hand to the object, or how the hand or the camera moved.
        side: of the hand; None for the camera.
        target: name of the object, where there is one.
        task: what is to be done, for task completion.
        contact: whether hand and object touch; None: not known.
        rotation: (3,) rad, of the camera.
    """

    category: Category
    frames: tuple[int, ...]
    vector: Array
    side: Side | None = None
    target: str = ""
    task: str = ""
    contact: bool | None = None
    rotation: Array | None = None


def one_per_second(times: Array) -> list[int]:
    """Numbers of the frames nearest to every whole second from the first on."""
    seconds = np.arange(times[0], times[-1] + 1e-9, 1.0)
    nearest = np.abs(times[None] - seconds[:, None]).argmin(axis=1)
    return sorted({int(number) for number in nearest})


def measurements(
    observations: Sequence[Observation], task: str, config: VisualConfig | None = None, seed: int = 0
) -> Iterator[Measurement]:
    """All facts of a clip worth a question.

    Args:
        observations: at 1 frame a second, ascending.
        task: what is done in the clip; empty: no question of task completion.
        config: what is worth one.
        seed: of the numbers of frames shown, 1-4.
    """
    settings = config or VisualConfig()
    chance = np.random.default_rng(seed)
    for last in range(len(observations)):
        shown = int(chance.integers(1, settings.most_frames + 1))
        window = _consecutive(observations[: last + 1], shown)
        yield from _relations(window, task, settings)
    for number, first in enumerate(observations):
        for second in observations[number + 1 :]:
            if second.time - first.time > settings.longest_pair + 0.5:
                break
            yield from _hand_movements(first, second, settings)
            yield from _camera_movement(first, second, settings)


def hand_position(joints: Array) -> Array:
    """The place (3,) m of a hand (21, 3)."""
    return joints.mean(axis=0)


def in_contact(joints: Array, surface: Surface, config: VisualConfig) -> bool | None:
    """Whether a hand (21, 3) touches an object; None where nothing of its surface is known."""
    if len(surface.points) < 2:
        return None
    apart = np.linalg.norm(joints[:, None] - surface.points[None], axis=-1)
    return bool(apart.min() <= config.contact)


def _consecutive(observations: Sequence[Observation], count: int) -> list[Observation]:
    """The last few observations without a gap."""
    window = [observations[-1]]
    for earlier in reversed(observations[:-1]):
        if len(window) == count or window[0].time - earlier.time > 1.5:
            break
        window.insert(0, earlier)
    return window


def _relations(window: list[Observation], task: str, config: VisualConfig) -> Iterator[Measurement]:
    now = window[-1]
    frames = tuple(item.number for item in window)
    for side, joints in now.hands.items():
        for name, surface in now.objects.items():
            vector = surface.position - hand_position(joints)
            if not config.nearest <= np.linalg.norm(vector) <= config.farthest:
                continue
            contact = in_contact(joints, surface, config)
            yield Measurement("spatial_relationship", frames, vector, side, name, contact=contact)
            if task and not contact:
                yield Measurement("task_completion", frames, vector, side, name, task=task)


def _hand_movements(first: Observation, second: Observation, config: VisualConfig) -> Iterator[Measurement]:
    back = first.extrinsics @ inverse(second.extrinsics)
    for side in SIDES:
        if side not in first.hands or side not in second.hands:
            continue
        after = transformed(back, second.hands[side])
        vector = hand_position(after) - hand_position(first.hands[side])
        if config.nearest <= np.linalg.norm(vector) <= config.farthest:
            yield Measurement("hand_movement", (first.number, second.number), vector, side)


def _camera_movement(first: Observation, second: Observation, config: VisualConfig) -> Iterator[Measurement]:
    rotation, translation = camera_motion(first.extrinsics, second.extrinsics)
    turn = float(np.linalg.norm(rotation))
    if turn >= config.least_turn and np.linalg.norm(translation) <= config.farthest:
        yield Measurement("camera_movement", (first.number, second.number), translation, rotation=rotation)
