"""Every reader gives back the geometry that was planted in its format, and refuses what is broken."""

import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fabricated_mano import write_models
from fabricated_sources import COUNT, WRITERS, Scene, scene

from vipa_training.hand3d import motion_tokens, visual_samples
from vipa_training.hand3d.clip import Clip
from vipa_training.hand3d.errors import Hand3DError, Rejection
from vipa_training.hand3d.geometry import in_camera, inverse, transformed
from vipa_training.hand3d.joints import Side
from vipa_training.hand3d.mano.hands import HandModels, with_joints
from vipa_training.hand3d.motion_tokens import MotionConfig, motions_of
from vipa_training.hand3d.observation import Observation, observe
from vipa_training.hand3d.sources.base import Source
from vipa_training.hand3d.sources.fpha import EXTRINSICS
from vipa_training.hand3d.sources.registry import SOURCES
from vipa_training.hand3d.templates import TemplateWriter, is_true
from vipa_training.hand3d.visual import VisualConfig, one_per_second

PLANTED = scene()
# Conventions as the published tools have them: principal components, flat hand, wrist at the translation, finger tips.
MANO = {
    "arctic": ("world", False, False, "smplx", False),
    "hoi4d": ("camera", True, False, "manopth", False),
    "oakink2": ("world", True, True, "manopth", False),
    "taco": ("world", True, True, "manopth", False),
    "taste_rob": ("world", True, False, "smplx", True),
}
TEXTS = {
    "arctic": "grab the box",
    "hoi4d": "mug: put it in the drawer",
    "fpha": "put salt",
    "h2o": "grab milk, then pour milk",
    "oakink2": "Take the cup, then Put it down",
    "taco": "stir the bowl with the spoon",
    "dexycb": "pick up the mug",
    "egodex": "Take the lid off the pot",
    "taste_rob": "Fold the cloth",
}
OBJECTS = {
    "arctic": "box",
    "hoi4d": "mug",
    "fpha": "salt",
    "h2o": "milk",
    "oakink2": "cup",
    "taco": "spoon",
    "dexycb": "mug",
}
HANDS: dict[str, tuple[Side, ...]] = {"hoi4d": ("right",), "fpha": ("right",), "dexycb": ("right",)}
RATES = {"hoi4d": 15}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Folder and identifier of each source's only clip."""
    root = tmp_path_factory.mktemp("sources")
    return {name: (root / name, write(_made(root / name), PLANTED)) for name, write in WRITERS.items()}


def _made(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> HandModels:
    return HandModels(write_models(tmp_path_factory.mktemp("mano")))


def _read(data: dict[str, tuple[Path, str]], name: str) -> Clip:
    source: Source = SOURCES[name](data[name][0])
    assert source.identifiers() == [data[name][1]]
    return source.read(data[name][1])


def _extrinsics(name: str, planted: Scene) -> np.ndarray:
    fixed = {"fpha": EXTRINSICS, "dexycb": planted.extrinsics[0]}
    return np.broadcast_to(fixed[name], planted.extrinsics.shape) if name in fixed else planted.extrinsics


def test_all_nine_sources_are_there() -> None:
    assert len(SOURCES) == 9
    assert SOURCES.keys() == WRITERS.keys() == TEXTS.keys()


@pytest.mark.parametrize("name", SOURCES)
def test_the_camera_text_and_times_come_out_again(data: dict[str, tuple[Path, str]], name: str) -> None:
    clip = _read(data, name)
    np.testing.assert_allclose(clip.camera.extrinsics, _extrinsics(name, PLANTED), atol=1e-6)
    np.testing.assert_allclose(clip.times, np.arange(COUNT) / RATES.get(name, 30), atol=1e-9)
    assert clip.camera.intrinsics.shape == (COUNT, 3, 3)
    assert clip.text == TEXTS[name]
    assert len(clip) == len(clip.frames) == COUNT
    assert set(clip.hands) == set(HANDS.get(name, ("left", "right")))
    assert data[name][1].startswith(clip.video)


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in MANO])
def test_planted_joints_come_out_again(data: dict[str, tuple[Path, str]], name: str) -> None:
    clip = _read(data, name)
    for side, hand in clip.hands.items():
        assert hand.joints is not None
        seen = in_camera(hand.joints, hand.frame, clip.camera)
        np.testing.assert_allclose(seen[hand.valid], PLANTED.seen[side][hand.valid], atol=1e-6)
        assert hand.valid.sum() == (COUNT if name == "fpha" or (name, side) == ("egodex", "left") else COUNT - 1)


@pytest.mark.parametrize("name", MANO)
def test_planted_hands_of_mano_come_out_again(data: dict[str, tuple[Path, str]], models: HandModels, name: str) -> None:
    clip = with_joints(_read(data, name), models)
    frame, is_flat, is_wrist_centred, tips, is_mended = MANO[name]
    for side, hand in clip.hands.items():
        assert hand.frame == frame
        conventions = {"is_flat": is_flat, "is_wrist_centred": is_wrist_centred, "tips": tips}
        planted = replace(PLANTED.mano[side], **conventions, is_left_shape_mended=is_mended)
        expected = models.joints(side, planted, hand.valid)
        assert hand.joints is not None
        np.testing.assert_allclose(hand.joints, expected, atol=1e-6)
        assert hand.valid.sum() == (COUNT - 1 if name == "hoi4d" or (name, side) == ("taste_rob", "right") else COUNT)
        if is_wrist_centred:
            np.testing.assert_allclose(hand.joints[:, 0], PLANTED.joints[side][:, 0], atol=1e-6)


@pytest.mark.parametrize("name", OBJECTS)
def test_planted_objects_come_out_again(data: dict[str, tuple[Path, str]], name: str) -> None:
    clip = _read(data, name)
    item = next(item for item in clip.objects if item.name == OBJECTS[name])
    assert item.poses is not None
    seen = item.poses if item.frame == "camera" else clip.camera.extrinsics @ item.poses
    np.testing.assert_allclose(seen[item.valid], (PLANTED.extrinsics @ PLANTED.item)[item.valid], atol=1e-6)
    assert item.valid.sum() == (COUNT - 1 if name == "hoi4d" else COUNT)


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_yields_true_questions_and_motions(
    data: dict[str, tuple[Path, str]], models: HandModels, name: str
) -> None:
    clip = with_joints(_read(data, name), models)
    # The planted hands of MANO were made without a view in mind; a wide picture sees them all.
    camera = replace(clip.camera, intrinsics=clip.camera.intrinsics * np.array([[0.1], [0.1], [1.0]]))
    wide = replace(clip, camera=camera)
    samples, reasons = visual_samples.samples_of(wide, _observed(wide), TemplateWriter())
    assert not reasons
    assert samples
    assert all(is_true(sample.text.answer, sample.measurement, VisualConfig()) for sample in samples)
    for motion in motions_of(clip, MotionConfig(shortest=1.0, least_movement=0.01))[0]:
        for sample in motion_tokens.samples_of(motion, clip.text):
            assert json.dumps(sample.record("0", clip))


def _observed(clip: Clip) -> list[Observation]:
    return observe(clip, one_per_second(clip.times))[0]


def test_a_video_gives_its_pictures(data: dict[str, tuple[Path, str]]) -> None:
    clip = _read(data, "taste_rob")
    assert clip.camera.size == (48, 64)
    assert abs(float(clip.frames.picture(30).mean()) - 120.0) < 4.0


def test_pictures_are_numbered_as_published(data: dict[str, tuple[Path, str]]) -> None:
    names = {
        "arctic": "images/s01/box_grab_01/0/00006.jpg",
        "fpha": "Video_files/Subject_1/put_salt/1/color/color_0000.jpeg",
        "h2o": "subject1/h1/0/cam4/rgb/000000.png",
        "oakink2": f"data/{data['oakink2'][1]}/104422070969/000000.jpg",
        "dexycb": f"{data['dexycb'][1]}/color_000000.jpg",
    }
    for name, path in names.items():
        with pytest.raises(Rejection, match=r"frame 0 is missing") as caught:
            _read(data, name).frames.picture(0)
        assert str(caught.value).endswith(path)


@pytest.mark.parametrize("name", SOURCES)
def test_an_empty_folder_is_named_with_what_was_expected(tmp_path: Path, name: str) -> None:
    with pytest.raises(Hand3DError, match=f"no clip of {SOURCES[name].name}; expected "):
        SOURCES[name](tmp_path).identifiers()


_CENTRAL = {
    "arctic": "raw_seqs/s01/box_grab_01.mano.npy",
    "hoi4d": "HOI4D_annotations/{}/3Dseg/output.log",
    "fpha": "Hand_pose_annotation_v1_1/{}/skeleton.txt",
    "h2o": "{}/cam4/hand_pose/000003.txt",
    "oakink2": "anno_preview/{}.pkl",
    "taco": "Hand_Poses/{}/right_hand.pkl",
    "dexycb": "{}/labels_000004.npz",
    "egodex": "{}.hdf5",
    "taste_rob": "hands/DoubleHand/17.npz",
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("content", [b"", b"broken \x80\x04", None])
def test_broken_and_missing_files_reject_the_clip(
    data: dict[str, tuple[Path, str]], tmp_path: Path, name: str, content: bytes | None
) -> None:
    root, identifier = data[name]
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    path = copy / _CENTRAL[name].format(identifier)
    assert path.is_file()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    if (name, content) == ("h2o", None):
        shutil.rmtree(path.parent)
    with pytest.raises(Rejection):
        SOURCES[name](copy).read(identifier)


class Command:
    """What an attacker would write."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Run a command."""
        return os.system, ("touch happened",)


@pytest.mark.parametrize("name", ["arctic", "oakink2", "taco", "hoi4d"])
def test_pickles_run_nothing(
    data: dict[str, tuple[Path, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    root, identifier = data[name]
    shutil.copytree(root, tmp_path / "copy")
    places = _CENTRAL | {"hoi4d": "handpose/refinehandpose_right/{}/3.pickle"}
    path = tmp_path / "copy" / places[name].format(identifier)
    if path.suffix == ".npy":
        np.save(path, np.array(Command(), dtype=object), allow_pickle=True)
    else:
        path.write_bytes(pickle.dumps(Command()))
    with pytest.raises(Rejection, match="is refused"):
        SOURCES[name](tmp_path / "copy").read(identifier)
    assert not (tmp_path / "happened").exists()


def test_wrong_units_and_lengths_are_named(tmp_path: Path) -> None:
    large, small = (
        replace(PLANTED, joints={side: joints * factor for side, joints in PLANTED.joints.items()})
        for factor in (1000.0, 0.001)
    )
    root = _made(tmp_path / "h2o")
    WRITERS["h2o"](root, large)
    with pytest.raises(Rejection, match="the joints are in mm, not in m"):
        SOURCES["h2o"](root).read("subject1/h1/0")
    root = _made(tmp_path / "egodex")
    WRITERS["egodex"](root, small)
    with pytest.raises(Rejection, match="wrist to knuckle"):
        SOURCES["egodex"](root).read("part1/add_remove_lid/0")
    root = _made(tmp_path / "taco")
    name = WRITERS["taco"](root, PLANTED)
    np.save(root / "Egocentric_Camera_Parameters" / name / "egocentric_frame_extrinsic.npy", PLANTED.extrinsics[:50])
    with pytest.raises(Rejection, match="left hand: 60 frames, the camera has 50"):
        SOURCES["taco"](root).read(name)


def test_hands_of_mano_in_millimetres_are_named(tmp_path: Path, models: HandModels) -> None:
    mano = {side: replace(hand, translation=hand.translation * 1000.0) for side, hand in PLANTED.mano.items()}
    name = WRITERS["taco"](_made(tmp_path / "t"), replace(PLANTED, mano=mano))
    with pytest.raises(Rejection, match=r"left hand: .* a translation is in mm"):
        with_joints(SOURCES["taco"](tmp_path / "t").read(name), models)


def test_missing_captions_stop_everything(tmp_path: Path) -> None:
    name = WRITERS["taste_rob"](_made(tmp_path / "t"), PLANTED)
    (tmp_path / "t" / "captions.xlsx").write_bytes(b"no book")
    with pytest.raises(Hand3DError, match="no captions can be read"):
        SOURCES["taste_rob"](tmp_path / "t").read(name)


def test_the_planted_frames_differ() -> None:
    """A reader that confuses world and camera, or a pose with its inverse, cannot pass by chance."""
    assert np.abs(PLANTED.extrinsics - inverse(PLANTED.extrinsics)).max() > 0.1
    assert np.abs(transformed(PLANTED.extrinsics, PLANTED.joints["left"]) - PLANTED.joints["left"]).max() > 0.1
