"""Hands at a simulated table (``hand3d/synthetic``): as many clips as one asks for, each the same wherever it is made.

Two clips share a recording, that is a scene and a camera. Objects are known once a second, by the boxes of the pixels
that show them, as a detector would give them; their true poses are not told, so that they have to be found in the
depths as in other videos.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vipa_training.hand3d.clip import Array, Clip, Hand, Object
from vipa_training.hand3d.errors import Hand3DError, Rejection
from vipa_training.hand3d.geometry import intrinsics_of, inverse, pose_of, unprojected
from vipa_training.hand3d.joints import Side
from vipa_training.hand3d.sources.base import Source, camera_of
from vipa_training.hand3d.synthetic.motion import Course, make_course
from vipa_training.hand3d.synthetic.scene import Scene, View, make_scene
from vipa_training.hand3d.validation import ValidationConfig
from vipa_training.hand3d.visual import one_per_second

if TYPE_CHECKING:
    from vipa_training.hand3d.synthetic.drawing import Drawing, Painter

FPS = 10
IN_A_VIDEO = 2  # clips
FEWEST_PIXELS = 16  # that show a thing, for it to be known
LEAST_SHOWN = 0.6  # of the middle of its box, which shows the thing and not a hand before it
SIZE = (168, 224)  # height and width, px


class Synthetic(Source):
    """Clips such as ``000012``.

    Args:
        root: not used.
        validation: what counts as a sound clip.
        clips: how many there are.
        seed: of all of them.
        size: height and width of the pictures, px.
    """

    name = "synthetic"
    layout = "no folder"

    def __init__(
        self,
        root: Path,
        validation: ValidationConfig | None = None,
        clips: int = 100,
        seed: int = 0,
        size: tuple[int, int] = SIZE,
    ) -> None:
        super().__init__(root, validation)
        if clips < 1 or seed < 0 or min(size) < 32:
            raise Hand3DError(f"synthetic: {clips} clips of {size[1]} x {size[0]} px with seed {seed} cannot be made")
        self.clips, self.seed, self.size = clips, seed, size

    def _identifiers(self) -> list[str]:
        return [f"{number:06d}" for number in range(self.clips)]

    def _read(self, identifier: str) -> Clip:
        number = int(identifier)
        video = number // IN_A_VIDEO
        scene = make_scene(np.random.default_rng([self.seed, 0, video]))
        chance = np.random.default_rng([self.seed, 1, number])
        course = make_course(scene, chance, FPS)
        extrinsics = camera_path(scene.view, course.times, chance)
        frames = SyntheticFrames(scene, course, extrinsics, self.size)
        objects = _objects(scene, frames, one_per_second(course.times))
        if not objects:
            raise Rejection("no thing is seen")
        camera = camera_of(intrinsics(scene.view, self.size), extrinsics, self.size)
        valid = np.ones(len(course.times), np.bool_)
        hands: dict[Side, Hand] = {side: Hand(valid, joints) for side, joints in course.hands.items()}
        return Clip(identifier, self.name, f"{video:06d}", frames, course.times, camera, hands, objects, course.text)


class SyntheticFrames:
    """Pictures and depths of a clip, drawn when they are asked for.

    Args:
        scene: that is seen.
        course: what moves in it.
        extrinsics: (T, 4, 4) world to camera.
        size: height and width, px.
    """

    def __init__(self, scene: Scene, course: Course, extrinsics: Array, size: tuple[int, int]) -> None:
        self.scene, self.course, self.extrinsics, self.size = scene, course, extrinsics, size
        self._drawn: dict[int, Drawing] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self.course.times)

    def picture(self, number: int) -> NDArray[np.uint8]:
        """One picture (H, W, 3) RGB."""
        return self.drawing(number).colour

    def pointmap(self, number: int) -> Array:
        """The point (H, W, 3) m in the camera's frame that each pixel of a picture shows."""
        height, width = self.size
        pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
        depth = self.drawing(number).depth
        return unprojected(pixels, depth, intrinsics(self.scene.view, self.size))

    def drawing(self, number: int) -> "Drawing":
        """One picture with depth and with what each pixel shows; kept."""
        if number not in self._drawn:
            hands: dict[Side, Array] = {side: joints[number] for side, joints in self.course.hands.items()}
            painter = _painter(*self.size)
            self._drawn[number] = painter.draw(self.scene, hands, self.course.things[number], self.extrinsics[number])
        return self._drawn[number]


def intrinsics(view: View, size: tuple[int, int]) -> Array:
    """(3, 3) px; the middle of the first pixel is (0, 0)."""
    focal = size[0] / 2.0 / np.tan(view.fovy / 2.0)
    return intrinsics_of(focal, focal, (size[1] - 1) / 2.0, (size[0] - 1) / 2.0)


def camera_path(view: View, times: Array, chance: np.random.Generator) -> Array:
    """World to camera (T, 4, 4)."""
    rates, phases = chance.uniform(0.4, 1.0, 3), chance.uniform(0.0, 6.28, 3)
    swing = np.array(view.drift) * np.sin(times[:, None] * rates + phases)
    azimuth, elevation = view.azimuth + swing[:, 0], view.elevation + swing[:, 1]
    forward = np.stack(
        [-np.sin(azimuth) * np.cos(elevation), np.cos(azimuth) * np.cos(elevation), -np.sin(elevation)], axis=1
    )
    right = np.stack([np.cos(azimuth), np.sin(azimuth), np.zeros_like(azimuth)], axis=1)
    down = np.cross(forward, right)
    cosine, sine = np.cos(view.roll), np.sin(view.roll)
    axes = np.stack([cosine * right + sine * down, cosine * down - sine * right, forward], axis=-1)
    places = np.array(view.aim) - forward * (view.distance + swing[:, 2:])
    return inverse(pose_of(axes, places))


def _objects(scene: Scene, frames: SyntheticFrames, numbers: list[int]) -> tuple[Object, ...]:
    boxes = np.full((len(scene.things), len(frames), 4), np.nan)
    for number in numbers:
        shown = frames.drawing(number).shown
        for place in range(len(scene.things)):
            box = _box(shown == place + 1)
            if box is not None:
                boxes[place, number] = box
    known = np.isfinite(boxes[..., 0])
    return tuple(
        Object(thing.name, known[place], boxes=boxes[place])
        for place, thing in enumerate(scene.things)
        if known[place].any()
    )


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom, px, of what shows a thing; None where a hand hides the middle of it."""
    rows, columns = np.nonzero(mask)
    if len(rows) < FEWEST_PIXELS:
        return None
    left, top, right, bottom = (int(edge) for edge in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    high, wide = (bottom - top) // 5, (right - left) // 5
    middle = mask[top + high : bottom - high, left + wide : right - wide]
    return (left, top, right, bottom) if middle.mean() >= LEAST_SHOWN else None


@cache
def _painter(height: int, width: int) -> "Painter":
    """This process's, kept for ever: to free one would end what was drawn with in another.

    Raises:
        Hand3DError: MuJoCo is missing, or no OpenGL context can be made.
    """
    try:
        from vipa_training.hand3d.synthetic.drawing import Painter
    except ModuleNotFoundError as error:
        raise Hand3DError(f"synthetic: the package {error.name} is missing; pip install '.[hand3d]'") from None
    return Painter(height, width)
