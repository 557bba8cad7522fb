"""Questions about space: every answer parses back to the vector that it came from."""

from collections.abc import Sequence
from dataclasses import replace

import fabricated_clip
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vipa_inference.rotations import matrix_from_rotation_vector
from vipa_training.hand3d.clip import Clip
from vipa_training.hand3d.directions import (
    GAMMA,
    HALF_STEP,
    agrees,
    axes_of,
    direction_words,
    distance_words,
    parse_statement,
    widest_angle,
)
from vipa_training.hand3d.geometry import in_camera, inverse, pose_of
from vipa_training.hand3d.observation import Observation, observe
from vipa_training.hand3d.pointmaps import Surface
from vipa_training.hand3d.rotations import camera_motion, parse_rotation, rotation_agrees, rotation_words
from vipa_training.hand3d.templates import Question, TemplateWriter, contact_in, is_true
from vipa_training.hand3d.visual import CATEGORIES, Measurement, VisualConfig, in_contact, measurements, one_per_second
from vipa_training.hand3d.visual_samples import VisualSample, divided, samples_of, without_doubles

part = st.floats(-1.0, 1.0)
displacements = st.tuples(part, part, part).map(np.array).filter(lambda v: float(np.linalg.norm(v)) >= 0.02)
CONFIG = VisualConfig()
NAMES = ("left cup", "upright bottle", "the right hand cream", "0.5 m ruler", "no. 3 box", "contact lens case")


@given(displacements, st.floats(0.05, 0.57))
def test_words_stand_for_the_vector_within_the_angle_of_gamma(vector: np.ndarray, gamma: float) -> None:
    said = parse_statement(f"It is {distance_words(float(np.linalg.norm(vector)))} {direction_words(vector, gamma)}.")
    assert said.axes == axes_of(vector, gamma)
    assert said.distance is not None
    length = float(np.linalg.norm(vector))
    assert abs(said.distance - length) <= HALF_STEP + 1e-9
    cosine = float(vector @ said.vector()) / (length * float(np.linalg.norm(said.vector())))
    assert np.arccos(np.clip(cosine, -1.0, 1.0)) <= widest_angle(said.axes, gamma) + 1e-6


@given(
    st.sampled_from(CATEGORIES[:3]),
    displacements,
    st.sampled_from(["left", "right"]),
    st.sampled_from(NAMES),
    st.sampled_from([True, False, None]),
    st.integers(0, 99),
)
def test_every_answer_parses_back(
    category: str, vector: np.ndarray, side: str, name: str, contact: bool | None, seed: int
) -> None:
    touching = contact if category == "spatial_relationship" else None
    fact = Measurement(category, (0, 10), vector, side, name, "put it to the left", touching)
    text = TemplateWriter(CONFIG, seed).question(fact)
    assert is_true(text.answer, fact, CONFIG)
    assert contact_in(text.answer) == touching
    if category == "spatial_relationship":
        assert not is_true(text.answer, replace(fact, contact=True if contact is None else not contact), CONFIG)
    assert name in text.question or category == "hand_movement" or "put it" in text.question
    for other in (vector * 1.6 + 0.02, -vector, np.roll(vector, 1)):
        assume(axes_of(other) != axes_of(vector) or abs(np.linalg.norm(other) - np.linalg.norm(vector)) > 0.011)
        assert not is_true(text.answer, replace(fact, vector=other), CONFIG)


turns = st.tuples(part, part, part).map(np.array).filter(lambda v: 0.09 <= float(np.linalg.norm(v)) <= 3.0)


@given(turns, st.tuples(part, part, part).map(np.array), st.integers(0, 9))
def test_camera_movements_parse_back(turn: np.ndarray, move: np.ndarray, seed: int) -> None:
    fact = Measurement("camera_movement", (0, 10), move, rotation=turn)
    text = TemplateWriter(CONFIG, seed).question(fact)
    assert is_true(text.answer, fact, CONFIG)
    found = parse_rotation(text.answer)
    assert found is not None
    error = matrix_from_rotation_vector(found) @ matrix_from_rotation_vector(turn).T
    assert np.arccos(np.clip((np.trace(error) - 1) / 2, -1, 1)) < 0.03
    assert not is_true(text.answer, replace(fact, rotation=turn * 1.1), CONFIG)
    assert not is_true(text.answer, replace(fact, rotation=-turn), CONFIG)
    if np.linalg.norm(move) > 0.1:
        assert not is_true(text.answer, replace(fact, vector=move * 2.0), CONFIG)


@pytest.mark.parametrize(
    ("turn", "looks"),
    [
        ([0, 0.2, 0], "pans right"),
        ([0, -0.2, 0], "pans left"),
        ([0.2, 0, 0], "tilts up"),
        ([-0.2, 0, 0], "tilts down"),
        ([0, 0, 0.2], "rolls clockwise"),
        ([0, 0, -0.2], "rolls anticlockwise"),
    ],
)
def test_a_turn_looks_as_it_is_called(turn: list[float], looks: str) -> None:
    assert rotation_words(turn).startswith(looks)
    # What was ahead moves in the picture against the pan or tilt; a clockwise roll moves the top of it left.
    before = np.array([0.0, -0.5, 1.0] if turn[2] else [0.0, 0.0, 1.0])
    after = matrix_from_rotation_vector(turn).T @ before
    shift = {"pans right": -after[0], "pans left": after[0], "tilts up": after[1], "tilts down": -after[1]}
    shift |= {"rolls clockwise": -after[0], "rolls anticlockwise": after[0]}
    assert shift[looks] > 0.05


def test_camera_motion_is_in_the_frame_before() -> None:
    first = inverse(pose_of(matrix_from_rotation_vector([0.3, -0.2, 1.0]), [0.1, 0.2, 0.3]))
    step = pose_of(matrix_from_rotation_vector([0.0, 0.3, 0.0]), [0.0, 0.0, 0.25])
    turn, move = camera_motion(first, inverse(inverse(first) @ step))
    np.testing.assert_allclose(turn, [0.0, 0.3, 0.0], atol=1e-12)
    np.testing.assert_allclose(move, [0.0, 0.0, 0.25], atol=1e-12)
    assert parse_rotation("no turn") is None
    assert parse_rotation("5 degrees about (0, 0, 0)") is None
    assert not rotation_agrees(None, turn)


@pytest.mark.parametrize(
    ("text", "axes", "distance"),
    [
        ("The left hand should move right for about 12 cm", (1, 0, 0), 0.12),
        ("Move the right hand leftward and upwards by 0.3 meters.", (-1, -1, 0), 0.3),
        ("It lies below, 250mm ahead", (0, 1, 1), 0.25),
        ("0.3 m to the right and 0.4 m up", (1, -1, 0), 0.5),
        ("backwards; roughly .15m, i.e. 15 centimetres", (0, 0, -1), 0.15),
        ("closer to the camera by 2 inches, not to the left", (0, 0, -1), 0.0508),
        ("I cannot tell.", (0, 0, 0), None),
        ("left or right, who knows", (None, 0, 0), None),
        ("in 5 minutes it will be up", (0, -1, 0), None),
        ("", (0, 0, 0), None),
        ("Right, left, up: 1e9 m and -3 m", (None, -1, 0), 3.0),
    ],
)
def test_free_text_is_understood(text: str, axes: tuple[int | None, ...], distance: float | None) -> None:
    said = parse_statement(text)
    assert said.axes == axes
    assert said.distance == (None if distance is None else pytest.approx(distance))


@given(st.text(max_size=200))
def test_no_text_upsets_the_parsers(text: str) -> None:
    assert len(parse_statement(text).axes) == 3
    parse_rotation(text)
    contact_in(text)


@pytest.mark.parametrize(
    ("text", "contact"),
    [
        ("They are in contact.", True),
        ("The hand is touching it", True),
        ("It does not touch the cup", False),
        ("no contact", False),
        ("out of contact", False),
        ("far away", None),
    ],
)
def test_contact_is_understood(text: str, contact: bool | None) -> None:
    assert contact_in(text) is contact


def test_one_frame_a_second() -> None:
    assert one_per_second(np.arange(35) / 10.0 + 7.0) == [0, 10, 20, 30]
    assert one_per_second(np.array([0.0, 0.4, 1.2, 1.9, 5.0])) == [0, 2, 3, 4]


def _observed(clip: Clip) -> list[Observation]:
    return observe(clip, one_per_second(clip.times))[0]


def test_measurements_are_the_planted_geometry() -> None:
    clip = fabricated_clip.clip(120, ("left", "right"))
    joints = in_camera(clip.hands["right"].joints, "world", clip.camera)
    cup = in_camera(clip.objects[0].poses[:, None, :3, 3], "world", clip.camera)[:, 0]
    found = list(measurements(_observed(clip), clip.text))
    assert {fact.category for fact in found} == set(CATEGORIES)
    for fact in found:
        first, last = fact.frames[0], fact.frames[-1]
        if fact.category in {"spatial_relationship", "task_completion"}:
            assert 1 <= len(fact.frames) <= 4
            assert (np.diff(fact.frames) == 10).all()
        else:
            assert len(fact.frames) == 2
        if fact.side == "right" and fact.target:
            np.testing.assert_allclose(fact.vector, cup[last] - joints[last].mean(0), atol=1e-9)
        if fact.side == "right" and fact.category == "hand_movement":
            world = clip.hands["right"].joints.mean(1)
            turn = clip.camera.extrinsics[first, :3, :3]
            np.testing.assert_allclose(fact.vector, turn @ (world[last] - world[first]), atol=1e-9)
        if fact.category == "camera_movement":
            assert fact.rotation is not None
            assert np.linalg.norm(fact.rotation) >= np.radians(5.0)
    assert {len(fact.frames) for fact in found} == {1, 2, 3, 4}
    assert not any(fact.category == "task_completion" for fact in measurements(_observed(clip), ""))


def test_contact_is_told_where_the_surface_is_known() -> None:
    hand = fabricated_clip.flat_hand()
    near, far = hand[8] + np.array([[0.0, 0.0, 0.01], [0.3, 0.0, 0.0]]), hand[8] + np.array([[0, 0, 0.05], [0.3, 0, 0]])
    assert in_contact(hand, Surface(near[1], near), CONFIG) is True
    assert in_contact(hand, Surface(far[1], far), CONFIG) is False
    assert in_contact(hand, Surface(near[0], near[:1]), CONFIG) is None


def test_samples_of_a_clip_are_true_and_reproducible() -> None:
    clip = fabricated_clip.clip(60, ("left", "right"))
    samples, reasons = samples_of(clip, _observed(clip), TemplateWriter())
    assert not reasons
    assert len(samples) > 30
    assert all(is_true(sample.text.answer, sample.measurement, CONFIG) for sample in samples)
    again, _ = samples_of(clip, _observed(clip), TemplateWriter())
    assert [sample.record("0") for sample in again] == [sample.record("0") for sample in samples]
    record = samples[0].record("s0")
    assert record["conversations"][0]["value"].count("<image>") == len(record["frames"])


def test_what_a_writer_makes_up_is_dropped_with_its_reason() -> None:
    class Careless:
        name = "careless"

        def write(self, measurements: Sequence[Measurement]) -> list[Question]:
            """Say the same of everything."""
            return [Question("Where?", "It is 0.10 m up.")] * len(measurements)

    clip = fabricated_clip.clip()
    samples, reasons = samples_of(clip, _observed(clip), Careless())
    assert all(agrees(parse_statement("0.10 m up"), sample.measurement.vector) for sample in samples)
    assert any(reason.startswith("camera_movement: ") for reason in reasons)
    assert any("does not say what was measured: It is 0.10 m up." in reason for reason in reasons)


def _many(videos: int, each: int) -> list[VisualSample]:
    fact = Measurement("hand_movement", (0, 10), np.array([0.1, 0.0, 0.0]), "left")
    return [
        VisualSample("s", f"v{video}", "c", replace(fact, frames=(number, number + 1)), Question("q", f"{number}"))
        for video in range(videos)
        for number in range(each)
    ]


def test_doubles_are_removed() -> None:
    samples = _many(2, 3)
    other = replace(samples[0], text=Question("other words", "0"))
    same_words = replace(samples[0], measurement=replace(samples[0].measurement, frames=(7, 8)))
    assert without_doubles([*samples, other, same_words, samples[4]]) == samples


@given(st.integers(2, 30), st.integers(1, 7), st.integers(1, 60), st.integers(0, 5))
def test_no_video_is_in_training_and_test(videos: int, each: int, test: int, seed: int) -> None:
    samples = _many(videos, each)
    if test > (videos - 1) * each:
        with pytest.raises(ValueError, match="none is left for training"):
            divided(samples, test, seed)
        return
    training, chosen = divided(samples, test, seed)
    assert len(chosen) == test
    assert training
    assert not {sample.video for sample in training} & {sample.video for sample in chosen}
    shuffled = divided(list(reversed(samples)), test, seed)
    assert {sample.video for sample in shuffled[1]} == {sample.video for sample in chosen}


@pytest.mark.parametrize("wrong", [{"gamma": 0.6}, {"gamma": 0.0}, {"most_frames": 5}])
def test_senseless_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        VisualConfig(**wrong)
    assert GAMMA < 3**-0.5
