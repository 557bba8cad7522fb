"""Wrist trajectories as motion tokens and the tasks made of them."""

from dataclasses import replace
from itertools import pairwise

import fabricated_clip
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipa_inference.config import MotionTokenConfig
from vipa_training.hand3d.clip import Hand
from vipa_training.hand3d.geometry import in_camera, transformed
from vipa_training.hand3d.motion_tokens import (
    KINDS,
    MOTION,
    MotionConfig,
    bins_of,
    chunks,
    motions_of,
    positions_of,
    samples_of,
)

TOKENS = MotionTokenConfig()


@given(st.lists(st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(0.0, 1.0)), min_size=1, max_size=50))
def test_a_round_trip_is_off_by_half_a_bin_at_most(waypoints: list[tuple[float, float, float]]) -> None:
    points = np.array(waypoints)
    bins = bins_of(points, TOKENS)
    assert bins.min() >= 0
    assert bins.max() <= 1023
    half = 1.0 / 1024 / 2
    assert np.abs(positions_of(bins, TOKENS) - points).max() <= half + 1e-12


@given(st.tuples(*[st.floats(-3.0, 3.0)] * 3))
def test_positions_outside_are_clipped(point: tuple[float, float, float]) -> None:
    found = positions_of(bins_of(np.array([point]), TOKENS), TOKENS)[0]
    nearest = np.clip(point, TOKENS.lower, TOKENS.upper)
    assert np.abs(found - nearest).max() <= 1.0 / 2048 + 1e-12


@given(st.floats(1.0, 60.0), st.floats(1.0, 60.0))
def test_chunks_cover_a_clip(length: float, rate: float) -> None:
    times = np.arange(0.0, length, 1.0 / rate) + 5.0
    found = list(chunks(times, MotionConfig()))
    for first, last in found:
        assert 2.0 <= times[last] - times[first] <= 10.0 + 1e-5
    for (_, last), (first, _) in pairwise(found):
        assert last == first
    covered = sum(times[last] - times[first] for first, last in found)
    assert covered > times[-1] - times[0] - 2.0 - 1e-6


def test_a_motion_is_in_the_camera_of_its_first_frame() -> None:
    clip = fabricated_clip.clip(150)
    found, reasons = motions_of(clip)
    assert not reasons
    assert [(motion.first, motion.last) for motion in found] == [(0, 100), (100, 149)]
    wrists = clip.hands["right"].joints[:, 0]
    np.testing.assert_allclose(
        found[1].waypoints, transformed(clip.camera.extrinsics[100], wrists[100:150:2]), atol=1e-9
    )
    assert len(found[0].waypoints) == 51


def test_hands_known_in_the_cameras_frame_give_the_same_motion() -> None:
    clip = fabricated_clip.clip(100)
    seen = in_camera(clip.hands["right"].joints, "world", clip.camera)
    other = replace(clip, hands={"right": Hand(np.ones(100, np.bool_), seen, frame="camera")})
    np.testing.assert_allclose(motions_of(other)[0][0].waypoints, motions_of(clip)[0][0].waypoints, atol=1e-9)


def test_short_gaps_are_bridged_and_long_ones_not() -> None:
    clip = fabricated_clip.clip(100)
    joints = clip.hands["right"].joints
    for gap, is_kept in ((4, True), (12, False)):
        valid = np.ones(100, np.bool_)
        valid[30 : 30 + gap] = False
        holes = np.where(valid[:, None, None], joints, np.nan)
        found, reasons = motions_of(replace(clip, hands={"right": Hand(valid, holes)}))
        assert bool(found) == is_kept
        if is_kept:
            assert np.isfinite(found[0].waypoints).all()
        else:
            assert reasons == ["right hand, frames 0-99: the hand is not known for 1.3 s"]
    unknown = Hand(np.zeros(100, np.bool_), joints)
    assert motions_of(replace(clip, hands={"right": unknown}))[1] == ["right hand, frames 0-99: the hand is not known"]


def test_insignificant_movement_and_hands_out_of_bounds_are_dropped() -> None:
    clip = fabricated_clip.clip(100)
    still = np.repeat(clip.hands["right"].joints[:1], 100, axis=0)
    far = clip.hands["right"].joints + np.array([0.9, 0.0, 0.0])
    for joints, reason in ((still, "insignificant movement"), (far, "outside the bounds")):
        found, reasons = motions_of(replace(clip, hands={"right": Hand(np.ones(100, np.bool_), joints)}))
        assert not found
        assert reason in reasons[0]


@pytest.mark.parametrize("variant", range(3))
def test_three_tasks_are_made_of_a_motion(variant: int) -> None:
    clip = fabricated_clip.clip(100)
    motion = motions_of(clip)[0][0]
    samples = samples_of(motion, "Pick up the <motion> cup.", variant=variant)
    assert tuple(sample.kind for sample in samples) == KINDS
    generation, prediction, translation = samples
    whole = bins_of(motion.waypoints, TOKENS)
    for sample in samples:
        assert (sample.question + sample.answer).count(MOTION) == len(sample.motions)
        assert "right hand" in sample.question
        np.testing.assert_array_equal(np.concatenate(sample.motions), whole)
    assert generation.answer == MOTION
    assert prediction.question.count(MOTION) == 1
    assert len(prediction.motions[0]) == 20
    assert translation.answer == "Pick up the (motion) cup."
    record = generation.record("g0", clip)
    assert record["frames"] == [0]
    assert record["conversations"][0]["value"].startswith("<image>\n")
    assert record["motions"] == [whole.tolist()]


def test_without_text_only_the_motion_goes_on() -> None:
    motion = motions_of(fabricated_clip.clip(100))[0][0]
    assert [sample.kind for sample in samples_of(motion, " ")] == ["contextual_motion_prediction"]


@pytest.mark.parametrize("wrong", [{"rate": 0.0}, {"shortest": 11.0}, {"context": 1.0}])
def test_senseless_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MotionConfig(**wrong)
