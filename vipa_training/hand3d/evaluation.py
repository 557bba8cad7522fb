"""Hand3D-test: how well a model's answers say where things are (paper Sec. 4.4, Table 8)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vipa_training.hand3d.directions import GAMMA, Statement, axes_of, parse_statement

Array = NDArray[np.float64]
AXES = 3


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """A row of Table 8.

    Attributes:
        samples: how many answers.
        without_distance: how many of them name no distance; each counts as if it said 0 m.
        distance_error: m.
        direction_score: 0 to 3.
    """

    samples: int
    without_distance: int
    distance_error: Interval
    direction_score: Interval


def direction_score(statement: Statement, vector: ArrayLike, gamma: float = GAMMA) -> int:
    """On how many of the three axes a statement says what is so: the right sign, or nothing where there is nothing."""
    return sum(said == true for said, true in zip(statement.axes, axes_of(vector, gamma), strict=True))


def distance_error(statement: Statement, vector: ArrayLike) -> float:
    """How far (m) the distance of a statement is off; none counts as 0 m, so that silence is no advantage."""
    return abs((statement.distance or 0.0) - float(np.linalg.norm(np.asarray(vector, np.float64))))


def evaluate(
    answers: Sequence[str], vectors: ArrayLike, videos: Sequence[str], gamma: float = GAMMA, seed: int = 0
) -> Evaluation:
    """Both measures over a test.

    The intervals come from drawing whole videos anew (bootstrap), for the questions of one video are alike.

    Args:
        answers: free texts.
        vectors: (N, 3) m, what was measured.
        videos: which each question is about.
        gamma: of directions.
        seed: of the draws.

    Raises:
        ValueError: there are no answers, or their number is another one.
    """
    truth = np.asarray(vectors, np.float64).reshape(-1, AXES)
    if not len(answers) or not len(answers) == len(truth) == len(videos):
        raise ValueError(f"{len(answers)} answers, {len(truth)} vectors, {len(videos)} videos")
    said = [parse_statement(answer) for answer in answers]
    pairs = list(zip(said, truth, strict=True))
    errors = np.array([distance_error(statement, vector) for statement, vector in pairs])
    scores = np.array([float(direction_score(statement, vector, gamma)) for statement, vector in pairs])
    silent = sum(statement.distance is None for statement in said)
    return Evaluation(len(said), silent, mean_interval(errors, videos, seed), mean_interval(scores, videos, seed))


def mean_interval(values: Array, videos: Sequence[str], seed: int = 0, draws: int = 2000) -> Interval:
    """The mean of values (N,) with the interval of drawing whole videos anew."""
    _, group = np.unique(np.asarray(videos), return_inverse=True)
    sums, counts = np.bincount(group, values), np.bincount(group)
    chosen = np.random.default_rng(seed).integers(0, len(sums), (draws, len(sums)))
    means = sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))
