"""What stage 0 teaches: nothing about space, but where in the picture things are, and the geometry to one encoder."""

import numpy as np
import pytest
import torch
from fabricated_hand3d import FOCAL, HALF, SIZE, write_hand3d

from vipa_inference.model.spatial_encoder import SpatialOutput
from vipa_training.hand3d.directions import parse_statement
from vipa_training.hand3d.evaluation import direction_score, distance_error
from vipa_training.hand3d.geometry import projected
from vipa_training.hand3d.stored_clips import StoredClip, read_clips
from vipa_training.stages.geometry_loss import geometry_loss, in_first_camera, pointmap_targets
from vipa_training.stages.lessons import BOARD, lessons_of
from vipa_training.stages.word_loss import word_loss, words_shown


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> StoredClip:
    return read_clips([write_hand3d(tmp_path_factory.mktemp("lessons") / "data")], "train")[0]


def test_flat_answers_say_what_is_seen_in_the_picture(clip: StoredClip) -> None:
    asked = 0
    for lesson in lessons_of(clip):
        if lesson.clip is None or "right box" not in lesson.turns:
            continue
        place = lesson.places[-1]
        hand = projected(clip.hands["right"][place], clip.intrinsics[place]).mean(axis=0)
        thing = (clip.boxes[place, 0, :2] + clip.boxes[place, 0, 2:]) / 2.0
        flat = np.append((thing - hand) * BOARD / SIZE[1], 0.0)
        for turn in lesson.turns["right box"]:
            said = parse_statement(turn.answer)
            assert direction_score(said, flat) == 3
            assert distance_error(said, flat) <= 0.0051
            assert "contact" not in turn.answer
            asked += 1
    assert asked >= 2


def test_reading_lessons_answer_what_their_own_text_says(clip: StoredClip) -> None:
    read = [turn for one in lessons_of(clip, reading=1.0) if one.clip is None for (turn,) in one.turns.values()]
    assert read
    for turn in read:
        words = turn.question.split()
        told = [float(words[k + 1].rstrip(".,")) for k in range(0, 6, 2)]
        answer = turn.answer.rpartition(". It moves")[2] if "degrees" in turn.answer else turn.answer
        assert distance_error(parse_statement(answer), told) < 0.02
    assert lessons_of(clip, reading=0.0, seed=1)
    assert all(one.clip is not None for one in lessons_of(clip, reading=0.0))


def test_the_words_of_a_cell_are_those_of_what_is_in_it(clip: StoredClip) -> None:
    words = {"box": 0, "left": 1, "right": 2}
    side = 6
    shown = words_shown(clip, [0, 1], words, side)
    assert shown.shape == (2, side * side, 3)
    assert not shown[..., 1].any()
    cell, border = SIZE[1] / side, (SIZE[1] - SIZE[0]) / 2.0
    for place in range(2):
        box = clip.boxes[place, 0]
        column, row = ((box[0] + box[2]) / 2.0 // cell, ((box[1] + box[3]) / 2.0 + border) // cell)
        assert shown[place, int(row * side + column), 0] == 1.0
        assert 1 <= shown[place, :, 0].sum() <= 9
        assert 1 <= shown[place, :, 2].sum() <= 2


def test_the_word_loss_is_small_where_tokens_are_like_their_words() -> None:
    embeddings = torch.eye(3)
    shown = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    assert float(word_loss(20.0 * shown - 5.0, embeddings, shown)) < 0.01
    assert float(word_loss(5.0 - 20.0 * shown, embeddings, shown)) > 5.0


class TestGeometry:
    """What the spatial encoder learns."""

    def test_targets_are_the_points_that_pixels_show(self, clip: StoredClip) -> None:
        size = 24  # half of the picture's width
        points, poses = pointmap_targets(clip, (0, 1), size)
        assert points.shape == (2, size, size, 3)
        assert np.isnan(points[0, :2]).all()  # the border above
        hand = clip.hands["right"][0][0]
        middle = projected(hand, clip.intrinsics[0])
        column, row = (middle / 2.0 + np.array([0.0, (SIZE[1] - SIZE[0]) / 4.0])).astype(int)
        found = points[0, row, column]
        if abs(found[2] - hand[2]) < 0.002:  # else the box is before the hand
            assert np.linalg.norm(found[:2] - hand[:2]) < HALF
        pixel = (np.array([column, row]) + 0.5) * 2.0 - np.array([0.5, 0.5 + (SIZE[1] - SIZE[0]) / 2.0])
        assert abs(found[0] / found[2] * FOCAL + SIZE[1] / 2 - pixel[0]) < 1.0
        np.testing.assert_allclose(in_first_camera(points, poses), points)  # this camera does not move

    def test_nothing_is_better_than_the_truth(self) -> None:
        chance = torch.Generator().manual_seed(0)
        points = torch.rand(2, 1, 4, 4, 3, generator=chance) + 0.5
        points[0, 0, 0, 0] = torch.nan
        poses = torch.eye(4).repeat(2, 1, 1, 1)
        poses[..., 0, 3] = 0.1
        true = points.nan_to_num(0.7)
        one = torch.ones(2, 1, 4, 4)
        pose = torch.tensor([0.1, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]).repeat(2, 1, 1)

        def loss(shift: float, confidence: float, turn: float = 0.0) -> float:
            turned = pose.clone()
            turned[..., 3:] = torch.nn.functional.normalize(torch.tensor([1.0, turn, 0.0, 0.0]), dim=0)
            output = SpatialOutput(
                true + shift, confidence * one, true + shift, confidence * one, turned, torch.zeros(2, 1, 1, 1)
            )
            return float(geometry_loss(output, points, points, poses))

        assert loss(0.0, 1.0) == pytest.approx(0.0, abs=1e-6)
        assert loss(0.1, 1.0) > loss(0.05, 1.0) > loss(0.0, 1.0)
        assert loss(0.0, 1.0, turn=0.3) > loss(0.0, 1.0)
        assert loss(0.0, 5.0) < loss(0.0, 2.0)  # sure where it is right
        assert loss(0.5, 5.0) > loss(0.5, 2.0)  # and not where it is wrong
