"""Table 8 of the paper: errors of distance and scores of direction, of several models on the same questions."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vipa_training.hand3d.dataset import VisualItem
from vipa_training.hand3d.directions import axes_of, distance_words, joined, parse_statement
from vipa_training.hand3d.evaluation import (
    Evaluation,
    Interval,
    direction_score,
    distance_error,
    evaluate,
    mean_interval,
)

Array = NDArray[np.float64]
_WORDS = (("left", "right"), ("up", "down"), ("backward", "forward"))


@dataclass(frozen=True, eq=False)
class Row:
    """One model.

    Attributes:
        label: its name.
        answers: to each question.
        evaluation: both measures with their intervals.
        categories: the same for each category of questions.
        errors: (N,) m.
        scores: (N,) 0 to 3.
    """

    label: str
    answers: list[str]
    evaluation: Evaluation
    categories: dict[str, Evaluation]
    errors: Array
    scores: Array


@dataclass(frozen=True)
class Question:
    """What the measures need of an item.

    Attributes:
        video: that it is about.
        category: of the question.
        vector: (3,) m, what was measured.
    """

    video: str
    category: str
    vector: tuple[float, float, float]


def question_of(item: VisualItem) -> Question:
    """The question of an item, without its pictures."""
    x, y, z = item.vector.tolist()
    return Question(item.video, item.category, (x, y, z))


def row_of(label: str, answers: Sequence[str], questions: Sequence[Question]) -> Row:
    """A model's row.

    Raises:
        ValueError: there are no questions, or another number of answers.
    """
    said = [about_displacement(answer, one.category) for answer, one in zip(answers, questions, strict=True)]
    vectors = np.array([one.vector for one in questions])
    videos = [one.video for one in questions]
    whole = evaluate(said, vectors, videos)
    categories: dict[str, Evaluation] = {}
    for name in sorted({one.category for one in questions}):
        chosen = [k for k, one in enumerate(questions) if one.category == name]
        categories[name] = evaluate([said[k] for k in chosen], vectors[chosen], [videos[k] for k in chosen])
    pairs = list(zip(map(parse_statement, said), vectors, strict=True))
    errors = np.array([distance_error(statement, vector) for statement, vector in pairs])
    scores = np.array([float(direction_score(statement, vector)) for statement, vector in pairs])
    return Row(label, list(answers), whole, categories, errors, scores)


def gain(better: Row, worse: Row, questions: Sequence[Question]) -> tuple[Interval, Interval]:
    """How much smaller a row's errors (m) are than another's, and how much higher its scores, question by question."""
    videos = [one.video for one in questions]
    return (
        mean_interval(worse.errors - better.errors, videos),
        mean_interval(better.scores - worse.scores, videos),
    )


def about_displacement(answer: str, category: str) -> str:
    """An answer without what it says of the camera's turn, whose words are directions, too."""
    if category != "camera_movement":
        return answer
    return " ".join(part for part in re.split(r"(?<=[.!?])\s+", answer) if "degree" not in part)


def blind_answers(training: Sequence[Question], questions: Sequence[Question]) -> list[str]:
    """The best that can be said without a look at the pictures: for each category always the same.

    Args:
        training: of which the most frequent direction of each axis and the median distance are taken.
        questions: to be answered.
    """
    known: dict[str, str] = {}
    for name in {one.category for one in questions}:
        vectors = np.array([one.vector for one in training if one.category == name] or [(0.0, 0.0, 0.0)])
        axes = np.array([axes_of(vector) for vector in vectors])
        signs = [Counter(axes[:, k].tolist()).most_common(1)[0][0] for k in range(3)]
        words = [pair[(sign + 1) // 2] for pair, sign in zip(_WORDS, signs, strict=True) if sign]
        known[name] = f"{joined(words)} {distance_words(float(np.median(np.linalg.norm(vectors, axis=1))))}"
    return [known[one.category] for one in questions]
