"""Hands at a simulated table: what is told of a clip is what its pictures show."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipa_training.hand3d.clip import Clip
from vipa_training.hand3d.errors import Hand3DError
from vipa_training.hand3d.geometry import in_camera, in_picture, projected, transformed
from vipa_training.hand3d.joints import SIDES
from vipa_training.hand3d.observation import observe
from vipa_training.hand3d.pointmaps import values_at
from vipa_training.hand3d.sources.synthetic import IN_A_VIDEO, Synthetic, SyntheticFrames
from vipa_training.hand3d.synthetic.hand import BONES, HandShape, grip, joints_of
from vipa_training.hand3d.synthetic.motion import LONGEST, SHORTEST
from vipa_training.hand3d.visual import one_per_second

pytest.importorskip("mujoco", reason="needs mujoco")
SOURCE = Synthetic(Path(), clips=8, seed=3, size=(96, 128))
HAND = 100  # of drawing.py, which needs mujoco


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [SOURCE.read(identifier) for identifier in SOURCE.identifiers()]


def frames_of(clip: Clip) -> SyntheticFrames:
    assert isinstance(clip.frames, SyntheticFrames)
    return clip.frames


def test_a_clip_is_the_same_whenever_it_is_made(clips: list[Clip]) -> None:
    again = Synthetic(Path(), clips=100, seed=3, size=(96, 128)).read("000005")
    assert again.text == clips[5].text
    assert np.array_equal(again.frames.picture(10), clips[5].frames.picture(10))
    other = Synthetic(Path(), clips=8, seed=4, size=(96, 128)).read("000005")
    assert not np.array_equal(other.frames.picture(10), clips[5].frames.picture(10))
    Synthetic(Path(), clips=8, seed=3, size=(48, 64)).read("000005")  # draws with another context
    again = Synthetic(Path(), clips=8, seed=3, size=(96, 128)).read("000005")
    assert np.array_equal(again.frames.picture(20), clips[5].frames.picture(20))


def test_clips_are_as_long_as_they_should_be_and_share_recordings(clips: list[Clip]) -> None:
    assert all(SHORTEST - 0.11 <= clip.times[-1] <= LONGEST for clip in clips)
    assert len({clip.video for clip in clips}) == len(clips) // IN_A_VIDEO
    assert all(clip.text for clip in clips)


def test_joints_lie_under_the_skin_that_the_depth_shows(clips: list[Clip]) -> None:
    below: list[float] = []
    for clip in clips:
        for number in one_per_second(clip.times)[::2]:
            drawn = frames_of(clip).drawing(number)
            for hand in clip.hands.values():
                assert hand.joints is not None
                joints = in_camera(hand.joints, hand.frame, clip.camera)[number]
                pixels = projected(joints, clip.camera.intrinsics[number])
                seen = values_at(frames_of(clip).pointmap(number), pixels, clip.camera.size)[:, 2]
                inside = in_picture(pixels, clip.camera.size)
                columns, rows = pixels[inside].round().astype(int).T
                shown = drawn.shown[rows, columns] == HAND
                below += (joints[inside, 2] - seen[inside])[shown].tolist()
    assert len(below) > 200
    assert 0.004 < np.median(below) < 0.02
    assert np.quantile(below, 0.02) > -0.01  # none floats before what hides it, up to the edges of pixels


def test_objects_are_found_where_they_are(clips: list[Clip]) -> None:
    errors: list[float] = []
    for clip in clips:
        frames, numbers = frames_of(clip), one_per_second(clip.times)
        maps = {number: frames.pointmap(number) for number in numbers}
        names = [thing.name for thing in frames.scene.things]
        for observation in observe(clip, numbers, maps, is_metric=True)[0]:
            for name, surface in observation.objects.items():
                place = frames.course.things[observation.number, names.index(name)][None, :3, 3]
                true = transformed(observation.extrinsics, place)[0]
                half = frames.scene.things[names.index(name)].half
                errors.append(float(np.linalg.norm(surface.position - true)) - float(np.linalg.norm(half)))
    assert len(errors) > 50
    assert max(errors) < 0.0  # what is seen of a thing is part of it


def test_wrong_scales_are_calibrated_by_the_hand(clips: list[Clip]) -> None:
    clip = clips[0]
    maps = {number: 0.37 * frames_of(clip).pointmap(number) for number in one_per_second(clip.times)}
    scale = observe(clip, sorted(maps), maps)[1]
    assert scale is not None
    assert scale.value == pytest.approx(1.0 / 0.37, rel=0.03)


def test_things_move_only_with_a_hand_and_end_upright(clips: list[Clip]) -> None:
    moved = 0
    for clip in clips:
        course = frames_of(clip).course
        for thing in range(course.things.shape[1]):
            steps = np.linalg.norm(np.diff(course.things[:, thing, :3, 3], axis=0), axis=1)
            moved += bool((steps > 1e-6).any())
            for number in np.flatnonzero(steps > 1e-3):
                place = course.things[number, thing, :3, 3]
                assert min(np.linalg.norm(hand[number] - place, axis=1).min() for hand in course.hands.values()) < 0.12
        assert np.allclose(course.things[..., 2, 2], 1.0, atol=1e-6)
        assert (course.things[..., 2, 3] > 0.0).all()
    assert moved >= len(clips) // 2


@given(st.floats(0.0, 1.0), st.sampled_from(SIDES), st.floats(0.8, 1.2))
def test_bones_keep_their_lengths_and_hands_are_mirrored(closed: float, side: str, size: float) -> None:
    chosen = "left" if side == "left" else "right"
    shape = HandShape(chosen, size, (0.9, 0.7, 0.6), (1.0, 1.0, 1.0, 1.0, 1.0))
    eye = np.eye(3)[None]
    flat, bent = (joints_of(shape, eye, np.zeros((1, 3)), [amount])[0] for amount in (0.0, closed))
    for first, second in BONES:
        length = np.linalg.norm(flat[first] - flat[second])
        assert np.linalg.norm(bent[first] - bent[second]) == pytest.approx(length)
    right = joints_of(HandShape("right", size, shape.colour, shape.fingers), eye, np.zeros((1, 3)), [closed])[0]
    assert np.allclose(np.abs(bent), np.abs(right))


def test_a_wider_thing_is_grasped_with_an_opener_hand() -> None:
    shape = HandShape("right", 1.0, (0.9, 0.7, 0.6), (1.0, 1.0, 1.0, 1.0, 1.0))
    assert grip(shape, 0.07)[0] < grip(shape, 0.03)[0]


@pytest.mark.parametrize("wrong", [{"clips": 0}, {"seed": -1}, {"size": (8, 8)}])
def test_senseless_sources_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(Hand3DError, match="cannot be made"):
        Synthetic(Path(), **wrong)  # pyright: ignore[reportArgumentType]
