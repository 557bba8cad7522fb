"""Lessons of stage 0: what a pretrained vision-language model knows, for a small model that knows nothing.

Three kinds, none of which says where in space anything in a picture is:

- pointing: what is in a picture, and at what percent of its width and height;
- flat questions: those of Hand3D-visual, answered as if the picture were a board of a certain width. They teach where
  in the picture things are, and the form of the answers, which the paper shows to its untrained model in the prompt;
- reading: the facts are in the text, chosen by chance, and there is no picture. They teach the words of space.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vipa_training.hand3d.errors import Hand3DError
from vipa_training.hand3d.geometry import projected
from vipa_training.hand3d.joints import SIDES, Side
from vipa_training.hand3d.observation import Observation
from vipa_training.hand3d.pointmaps import Surface
from vipa_training.hand3d.stored_clips import StoredClip
from vipa_training.hand3d.templates import TemplateWriter
from vipa_training.hand3d.visual import CATEGORIES, Measurement, VisualConfig, measurements
from vipa_training.stages.conversations import Turn

Array = NDArray[np.float64]
BOARD = 0.7  # m, the width of the board for which flat questions take a picture
READ = 3  # questions of a reading lesson
MOST_FRAMES = 2  # of a flat question
LONGEST = 0.7  # m, displacements of reading lessons
LARGEST_TURN = 0.15  # rad about each axis, root mean square


@dataclass(frozen=True, eq=False)
class Lesson:
    """Questions about the same pictures, or about no picture.

    Attributes:
        clip: which it is about; None: the questions hold their facts.
        places: of the pictures among the clip's stored frames.
        turns: questions and answers, by what they are about, such as a hand and an object.
    """

    clip: StoredClip | None
    places: tuple[int, ...]
    turns: Mapping[str, Sequence[Turn]]


def lessons_of(clip: StoredClip, reading: float = 0.5, seed: int = 0) -> list[Lesson]:
    """The lessons of a clip.

    Args:
        clip: any; what is known of its space is not used.
        reading: share of the pictures whose questions are also asked as reading lessons.
        seed: of what is chosen by chance.
    """
    chance = np.random.default_rng([seed, zlib.crc32(str(clip).encode())])
    writer = TemplateWriter()
    turns: dict[tuple[int, ...], dict[str, list[Turn]]] = {}  # by pictures and what they are about
    facts: dict[tuple[int, ...], list[Measurement]] = {}
    observations = [one for one in (_flat(clip, place) for place in range(len(clip.numbers))) if one.hands]
    config = VisualConfig(most_frames=MOST_FRAMES)
    for fact in measurements(observations, clip.text, config, seed=int(chance.integers(2**31))):
        about = f"{fact.side} {fact.target}"
        turns.setdefault(fact.frames, {}).setdefault(about, []).append(_turn(fact, writer))
        facts.setdefault(fact.frames, []).append(fact)
    for places, known in turns.items():
        known.update(_pointings(clip, places[-1]))
    found = [Lesson(clip, places, known) for places, known in turns.items()]
    for known in facts.values():
        if chance.random() < reading:
            read = [_reading(fact, writer, chance) for fact in known]
            read.append(_reading(Measurement("camera_movement", (), np.zeros(3)), writer, chance))
            found += [
                Lesson(None, (), {str(number): [turn] for number, turn in enumerate(read[first : first + READ])})
                for first in range(0, len(read), READ)
            ]
    return found


def _named(clip: StoredClip, place: int) -> dict[str, Array]:
    """What is in a picture, and the middle (2,) px of each."""
    found: dict[str, Array] = {}
    for side in SIDES:
        if side in clip.hands and _is_seen(clip, side, place):
            found[f"{side} hand"] = projected(clip.hands[side][place], clip.intrinsics[place]).mean(axis=0)
    for name, box in sorted(zip(clip.objects, clip.boxes[place], strict=True), key=lambda pair: pair[0]):
        if np.isfinite(box).all():
            found[name] = (box[:2] + box[2:]) / 2.0
    return found


def _pointings(clip: StoredClip, place: int) -> dict[str, list[Turn]]:
    """Where in a picture things are, in percent of its width and height, and what is in it."""
    found = {"all": [Turn("What is in the last frame?", f"{', '.join(_named(clip, place))}.")]}
    for name, middle in _named(clip, place).items():
        across, down = np.clip(100.0 * middle / np.array(clip.size[::-1]), 0.0, 99.0)
        found[f"at {name}"] = [Turn(f"Where in the last frame is the {name}?", f"At {across:02.0f} {down:02.0f}.")]
    return found


def _is_seen(clip: StoredClip, side: Side, place: int) -> bool:
    return bool(np.isfinite(clip.hands[side][place]).all())


def _flat(clip: StoredClip, place: int) -> Observation:
    """A frame as a board in the plane z = 0; its number is the place."""
    scale, middle = BOARD / clip.size[1], np.array([clip.size[1], clip.size[0]]) / 2.0

    def on_board(pixels: Array) -> Array:
        return np.concatenate([(pixels - middle) * scale, np.zeros((*pixels.shape[:-1], 1))], axis=-1)

    hands: dict[Side, Array] = {}
    for side in SIDES:
        if side in clip.hands and _is_seen(clip, side, place):
            pixels = projected(clip.hands[side][place], clip.intrinsics[place])
            if np.isfinite(pixels).all():
                hands[side] = on_board(pixels)
    objects: dict[str, Surface] = {}
    for name, box in zip(clip.objects, clip.boxes[place], strict=True):
        if np.isfinite(box).all():
            centre = on_board((box[:2] + box[2:]) / 2.0)
            objects[name] = Surface(centre, centre[None])
    return Observation(place, float(clip.times[place]), hands, objects, np.eye(4))


def _turn(fact: Measurement, writer: TemplateWriter, told: str = "") -> Turn:
    text = writer.question(fact)
    return Turn(f"{told}{text.question}", text.answer)


def _reading(fact: Measurement, writer: TemplateWriter, chance: np.random.Generator) -> Turn:
    """The question of a flat fact, with another displacement, which the text gives."""
    direction = chance.normal(size=3)
    vector = direction / np.linalg.norm(direction) * chance.uniform(0.03, LONGEST)
    contact = bool(chance.random() < 0.5) if fact.category == CATEGORIES[0] else None
    turn = chance.normal(size=3) * LARGEST_TURN if fact.category == "camera_movement" else None
    x, y, z = vector
    told = f"x {x:.2f} y {y:.2f} z {z:.2f}" + ("" if contact is None else ", touching" if contact else ", apart")
    if turn is not None:
        told += ", turn " + " ".join(f"{angle:.2f}" for angle in turn)
    other = Measurement(fact.category, (), vector, fact.side, fact.target, fact.task, contact, turn)
    return _turn(other, writer, f"{told}. ")


def check_clips(clips: list[StoredClip]) -> None:
    """Refuse clips that teach a spatial encoder nothing.

    Raises:
        Hand3DError: there are none, or none has a depth.
    """
    if not any(offset >= 0 for clip in clips for offset, _ in clip.depths):
        raise Hand3DError(f"stage 0: {len(clips)} clips, none with depths; build the data set with pointmaps")
