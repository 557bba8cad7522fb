"""Questions and answers by templates, without any network; and the check that every writer's answers have to pass.

Answers say "it" for the object: its name may hold a word such as "left".
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vipa_training.hand3d.directions import agrees, direction_words, distance_words, parse_statement
from vipa_training.hand3d.rotations import parse_rotation, rotation_agrees, rotation_words
from vipa_training.hand3d.visual import Category, Measurement, VisualConfig

_TOUCHES, _APART = "They are in contact.", "They are not in contact."
_APART_WORDS = re.compile(r"\b(?:not|no|without|out of)\b[\w\s]{0,16}\b(?:contact|touch\w*)")
_CONTACT_WORDS = re.compile(r"\b(?:contact|touch(?:es|ing)?)\b")
_STILL = "It stays in its place."


@dataclass(frozen=True)
class Question:
    """A question and its answer."""

    question: str
    answer: str


class Writer(Protocol):
    """Puts facts into words."""

    name: str

    def write(self, measurements: Sequence[Measurement]) -> list[Question]:
        """For each fact of a clip a question that it answers.

        Raises:
            Rejection: they could not be written.
        """
        ...


class TemplateWriter:
    """Fills in templates; the same fact always gets the same words.

    Args:
        config: thresholds of the words.
        seed: chooses other phrasings.
    """

    name = "templates"

    def __init__(self, config: VisualConfig | None = None, seed: int = 0) -> None:
        self.config, self.seed = config or VisualConfig(), seed

    def write(self, measurements: Sequence[Measurement]) -> list[Question]:
        """For each fact a question that it answers."""
        return [self.question(measurement) for measurement in measurements]

    def question(self, measurement: Measurement) -> Question:
        """A question that the measurement answers."""
        key = f"{self.seed} {measurement.frames} {measurement.side} {measurement.target} {measurement.vector.round(4)}"
        choice = zlib.crc32(key.encode())
        questions, answers = _QUESTIONS[measurement.category], _ANSWERS[measurement.category]
        words = {
            "hand": f"{measurement.side} hand",
            "object": measurement.target,
            "task": measurement.task.rstrip("."),
            "direction": direction_words(measurement.vector, self.config.gamma),
            "distance": distance_words(float(np.linalg.norm(measurement.vector))),
        }
        if measurement.rotation is not None:
            words["turn"] = rotation_words(measurement.rotation)
            moved = f"It moves {words['distance']} in the direction {words['direction']}."
            words["move"] = moved if is_moving(measurement, self.config) else _STILL
        answer = answers[choice // len(questions) % len(answers)].format(**words)
        if measurement.contact is not None:
            answer += f" {_TOUCHES if measurement.contact else _APART}"
        return Question(questions[choice % len(questions)].format(**words), answer)


def is_true(answer: str, measurement: Measurement, config: VisualConfig) -> bool:
    """Whether an answer says just what was measured, up to the rounding of its numbers."""
    if measurement.rotation is not None:
        sentences = re.split(r"(?<=[.!?])\s+", answer)
        turning = " ".join(part for part in sentences if "degree" in part)
        if not rotation_agrees(parse_rotation(turning), measurement.rotation):
            return False
        moved = parse_statement(" ".join(part for part in sentences if "degree" not in part))
        if not is_moving(measurement, config):
            return moved.distance is None and moved.axes == (0, 0, 0)
        return agrees(moved, measurement.vector, config.gamma)
    if measurement.category == "spatial_relationship" and contact_in(answer) != measurement.contact:
        return False
    return agrees(parse_statement(answer), measurement.vector, config.gamma)


def is_moving(measurement: Measurement, config: VisualConfig) -> bool:
    """Whether the displacement is long enough to be named."""
    return bool(np.linalg.norm(measurement.vector) >= config.nearest)


def contact_in(answer: str) -> bool | None:
    """Whether an answer says that hand and object touch; None: it says nothing about it."""
    text = answer.lower()
    if _APART_WORDS.search(text):
        return False
    return True if _CONTACT_WORDS.search(text) else None


_QUESTIONS: dict[Category, tuple[str, ...]] = {
    "spatial_relationship": (
        "In the last frame, where is the {object} relative to the {hand}, and how far away is it?",
        "Seen from the {hand}, in which direction and at what distance is the {object} in the last frame?",
        "Describe where the {object} is with respect to the {hand} in the last frame.",
    ),
    "task_completion": (
        "The task is: {task}. How should the {hand} move in space to reach the {object}?",
        "To {task}, in which direction and how far does the {hand} have to move to get to the {object}?",
        "Task: {task}. Say how the {hand} has to move from the last frame on to interact with the {object}.",
    ),
    "hand_movement": (
        "How does the {hand} move from the first frame to the second?",
        "In which direction and how far has the {hand} moved between the two frames?",
        "Describe the movement of the {hand} between these frames in space.",
    ),
    "camera_movement": (
        "How does the camera move from the first frame to the second?",
        "Describe the rotation and the translation of the camera between the two frames.",
    ),
}
_ANSWERS: dict[Category, tuple[str, ...]] = {
    "spatial_relationship": (
        "It is {distance} from the {hand}, in the direction {direction}.",
        "Seen from the {hand}, it lies {direction}, at a distance of {distance}.",
    ),
    "task_completion": (
        "The {hand} should move {distance} in the direction {direction}.",
        "Move the {hand} {direction} by {distance}.",
    ),
    "hand_movement": (
        "The {hand} moves {distance} in the direction {direction}.",
        "It moves {direction} by {distance}.",
    ),
    "camera_movement": ("The camera {turn}. {move}",),
}
