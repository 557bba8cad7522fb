"""The two measures of Hand3D-test."""

import numpy as np
import pytest

from vipa_training.hand3d.directions import parse_statement
from vipa_training.hand3d.evaluation import direction_score, distance_error, evaluate


@pytest.mark.parametrize(
    ("answer", "vector", "score", "error"),
    [
        ("0.50 m right and up", [0.3, -0.4, 0.0], 3, 0.0),
        ("0.40 m right", [0.3, -0.4, 0.0], 2, 0.1),
        ("0.60 m left and down, forward", [0.3, -0.4, 0.0], 0, 0.1),
        ("right or left, up", [0.3, -0.4, 0.0], 2, 0.5),
        ("I do not know", [0.3, -0.4, 0.0], 1, 0.5),
    ],
)
def test_one_answer(answer: str, vector: list[float], score: int, error: float) -> None:
    assert direction_score(parse_statement(answer), vector) == score
    assert distance_error(parse_statement(answer), vector) == pytest.approx(error)


def test_a_row_of_the_table() -> None:
    vectors = np.tile([0.3, -0.4, 0.0], (40, 1))
    answers = ["0.50 m right and up"] * 20 + ["0.40 m right"] * 10 + ["who knows"] * 10
    videos = [f"v{number % 8}" for number in range(40)]
    row = evaluate(answers, vectors, videos)
    assert (row.samples, row.without_distance) == (40, 10)
    assert row.distance_error.mean == pytest.approx((10 * 0.1 + 10 * 0.5) / 40)
    assert row.direction_score.mean == pytest.approx((20 * 3 + 10 * 2 + 10) / 40)
    for interval in (row.distance_error, row.direction_score):
        assert interval.low < interval.mean < interval.high
    assert evaluate(answers, vectors, videos) == row
    one = evaluate(answers[:20], vectors[:20], videos[:20])
    assert (one.distance_error.low, one.direction_score.high) == (pytest.approx(0.0), 3.0)


def test_answers_have_to_match_the_questions() -> None:
    with pytest.raises(ValueError, match="1 answers, 2 vectors, 1 videos"):
        evaluate(["up"], np.zeros((2, 3)), ["v"])
    with pytest.raises(ValueError, match="0 answers"):
        evaluate([], np.zeros((0, 3)), [])
