"""Every clip that cannot be used is refused with its reason."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import fabricated_clip
import numpy as np
import pytest

from vipa_training.hand3d.clip import Clip, Hand, Object
from vipa_training.hand3d.errors import Rejection
from vipa_training.hand3d.frames import ImageFiles, VideoFile
from vipa_training.hand3d.joints import COUNT, FROM_MANO, JOINTS
from vipa_training.hand3d.validation import validate


def test_a_sound_clip_passes() -> None:
    validate(fabricated_clip.clip(sides=("left", "right")))


def test_joints_are_named_in_their_order() -> None:
    assert len(JOINTS) == COUNT == len(set(FROM_MANO)) == 21
    assert JOINTS[4] == "thumb_tip"
    assert JOINTS[17] == "little_1"


def _hand(clip: Clip, change: Callable[[Hand], Hand]) -> Clip:
    return replace(clip, hands={"right": change(clip.hands["right"])})


def _joints(clip: Clip, change: Callable[[np.ndarray], np.ndarray]) -> Clip:
    return _hand(clip, lambda hand: replace(hand, joints=change(hand.joints)))


def _nan(joints: np.ndarray) -> np.ndarray:
    out = joints.copy()
    out[7, 3, 1] = np.nan
    return out


def _extrinsics(clip: Clip, matrix: np.ndarray) -> Clip:
    return replace(clip, camera=replace(clip.camera, extrinsics=clip.camera.extrinsics @ matrix))


def _far_camera(clip: Clip) -> Clip:
    extrinsics = clip.camera.extrinsics.copy()
    extrinsics[:, :3, 3] *= 1000.0
    return replace(clip, camera=replace(clip.camera, extrinsics=extrinsics))


def _object(clip: Clip, change: Callable[[Object], Object]) -> Clip:
    return replace(clip, objects=tuple(change(item) for item in clip.objects))


def _far_object(item: Object) -> Object:
    poses = item.poses.copy()
    poses[:, :3, 3] *= 1000.0
    return replace(item, poses=poses)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: _joints(c, _nan), "right hand: joints: not a number in frame 7, 1 in all"),
        (lambda c: _joints(c, lambda j: j * 1000.0), "the joints are in mm, not in m"),
        (lambda c: _joints(c, lambda j: j * 100.0), "the joints are in cm, not in m"),
        (lambda c: _joints(c, lambda j: j * 5.0), "expected 0.04-0.16 m"),
        (lambda c: _joints(c, lambda j: j[:, :20]), "shape"),
        (lambda c: _hand(c, lambda h: replace(h, joints=None)), "neither joints nor MANO"),
        (lambda c: _hand(c, lambda h: replace(h, valid=np.zeros(60, np.bool_))), "no hand in any frame"),
        (lambda c: replace(c, hands={}), "no hand in any frame"),
        (lambda c: replace(c, frames=fabricated_clip.Pictures(0)), "no frames"),
        (lambda c: replace(c, frames=fabricated_clip.Pictures(59)), "59 frames, but 60 time stamps"),
        (lambda c: replace(c, times=c.times[::-1]), "do not ascend at frame 1"),
        (lambda c: replace(c, times=c.times * np.nan), "not finite"),
        (lambda c: _extrinsics(c, np.diag([-1.0, 1.0, 1.0, 1.0])), "negative or no scale"),
        (lambda c: _extrinsics(c, np.diag([-2.0, -2.0, -2.0, 1.0])), "negative or no scale, -2"),
        (lambda c: _extrinsics(c, np.diag([2.0, 2.0, 2.0, 1.0])), "no rotation: scale 2"),
        (lambda c: _extrinsics(c, np.diag([np.nan, 1.0, 1.0, 1.0])), "extrinsics: not a number"),
        (_far_camera, "a translation is in mm, not in m"),
        (lambda c: replace(c, camera=replace(c.camera, intrinsics=-c.camera.intrinsics)), "focal length"),
        (lambda c: replace(c, camera=replace(c.camera, size=(0, 640))), "0 x 640"),
        (lambda c: _object(c, _far_object), "cup: .* in mm"),
        (lambda c: _object(c, lambda o: replace(o, boxes=np.zeros((60, 4)))), "a box has no area"),
    ],
)
def test_a_faulty_clip_is_refused_with_its_reason(change: Callable[[Clip], Clip], reason: str) -> None:
    with pytest.raises(Rejection, match=reason):
        validate(change(fabricated_clip.clip()))


def test_a_hand_may_be_unknown_in_some_frames() -> None:
    clip = fabricated_clip.clip()
    joints, valid = clip.hands["right"].joints.copy(), np.ones(60, np.bool_)
    joints[5:9], valid[5:9] = np.nan, False
    validate(replace(clip, hands={"right": Hand(valid, joints)}))


def test_missing_and_broken_pictures_are_refused(tmp_path: Path) -> None:
    good, broken = tmp_path / "0.png", tmp_path / "1.png"
    cv2.imwrite(str(good), np.full((4, 6, 3), (10, 20, 30), np.uint8))
    broken.write_bytes(b"no picture")
    frames = ImageFiles([good, broken, tmp_path / "2.png"])
    assert frames.picture(0)[0, 0].tolist() == [30, 20, 10]
    with pytest.raises(Rejection, match="frame 1 is broken"):
        frames.picture(1)
    with pytest.raises(Rejection, match="frame 2 is missing"):
        frames.picture(2)
    (tmp_path / "v.mp4").write_bytes(b"no video")
    for name in ("v.mp4", "none.mp4"):
        with pytest.raises(Rejection, match="video"):
            VideoFile(tmp_path / name, [0], 30).picture(0)
