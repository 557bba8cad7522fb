"""MANO with invented numbers: reading its files, posing the hand, fitting it to joints."""

import pickle
import re
from dataclasses import replace
from pathlib import Path

import fabricated_clip
import numpy as np
import pytest
import torch
from fabricated_mano import invented_hand, write_models

from vipa_inference.rotations import matrix_from_rotation_vector
from vipa_training.hand3d.clip import Hand, ManoParameters
from vipa_training.hand3d.errors import Hand3DError, Rejection
from vipa_training.hand3d.joints import FROM_MANO, SIDES, TIPS, Side
from vipa_training.hand3d.mano.fitting import FitConfig, fit
from vipa_training.hand3d.mano.hands import HandModels, with_joints, with_mano
from vipa_training.hand3d.mano.layer import TIP_VERTICES, ManoLayer, rotation_matrix
from vipa_training.hand3d.mano.model_file import PARENTS, ManoModel, load_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("mano"))


@pytest.fixture(scope="module")
def model(folder: Path) -> ManoModel:
    return load_model(folder, "right")


@pytest.mark.parametrize("side", SIDES)
def test_licensed_pickles_are_read_without_chumpy(folder: Path, side: Side) -> None:
    content, found = invented_hand(side, 0 if side == "right" else 1), load_model(folder, side)
    np.testing.assert_array_equal(found.template, content["v_template"])
    np.testing.assert_array_equal(found.shapes, content["shapedirs"])
    np.testing.assert_array_equal(found.pose_corrections, content["posedirs"])
    np.testing.assert_array_equal(found.regressor, content["J_regressor"].toarray())
    np.testing.assert_array_equal(found.components, content["hands_components"])


def test_an_npz_is_read_too(tmp_path: Path, model: ManoModel) -> None:
    content = invented_hand("right")
    content["J_regressor"] = content["J_regressor"].toarray()
    np.savez(tmp_path / "MANO_RIGHT.npz", **content)
    np.testing.assert_array_equal(load_model(tmp_path, "right").regressor, model.regressor)


def test_a_missing_licensed_file_is_named_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(Hand3DError, match=r"no MANO_LEFT.pkl. Register at https://mano.is.tue.mpg.de"):
        HandModels(tmp_path).layer("left", "smplx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kintree_table": np.stack([np.zeros(16), np.arange(16)])}, "another tree of joints"),
        ({"weights": np.zeros((3, 16))}, r"weights of shape \(3, 16\)"),
        ({"hands_mean": np.full(45, np.nan)}, "all finite"),
    ],
)
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    (tmp_path / "MANO_RIGHT.pkl").write_bytes(pickle.dumps(invented_hand("right") | change))
    with pytest.raises(Hand3DError, match=message):
        load_model(tmp_path, "right")
    (tmp_path / "MANO_RIGHT.pkl").write_bytes(b"broken")
    with pytest.raises(Hand3DError, match=re.escape(str(tmp_path / "MANO_RIGHT.pkl"))):
        load_model(tmp_path, "right")


def _pose(seed: int, count: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=chance, dtype=torch.float64)

    return normal(count, 3), 0.4 * normal(count, 15, 3), normal(count, 10)


def _by_hand(model: ManoModel, orientation: np.ndarray, pose: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Vertices (V, 3) joint by joint, as the paper of MANO writes them."""
    shaped = model.template + model.shapes @ shape
    rest = model.regressor @ shaped
    turns = matrix_from_rotation_vector(np.concatenate([orientation[None], pose]))
    posed = shaped + model.pose_corrections @ (turns[1:] - np.eye(3)).ravel()
    chain: list[np.ndarray] = []
    for joint, parent in enumerate(PARENTS):
        own = np.eye(4)
        own[:3, :3], own[:3, 3] = turns[joint], rest[joint] - (rest[parent] if joint else 0.0)
        chain.append(chain[parent] @ own if joint else own)
    out = np.zeros_like(posed)
    for joint, link in enumerate(chain):
        out += model.weights[:, joint, None] * ((posed - rest[joint]) @ link[:3, :3].T + link[:3, 3])
    return out


def test_the_layer_poses_the_surface_as_the_formula_says(model: ManoModel) -> None:
    layer, (orientation, pose, shape) = ManoLayer(model), _pose(1)
    found = layer.vertices(orientation, pose, shape).numpy()
    for row in range(3):
        by_hand = _by_hand(model, orientation[row].numpy(), pose[row].numpy(), shape[row].numpy())
        np.testing.assert_allclose(found[row], by_hand, atol=1e-12)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("tips", ["smplx", "manopth"])
def test_finger_tips_are_vertices_of_the_chosen_convention(folder: Path, side: Side, tips: str) -> None:
    layer, (orientation, pose, shape) = ManoLayer(load_model(folder, side), tips), _pose(2)
    vertices = list(TIP_VERTICES[tips])
    if (side, tips) == ("left", "manopth"):
        vertices[2] = 445
    joints = layer.joints(orientation, pose, shape)
    torch.testing.assert_close(joints[:, TIPS], layer.vertices(orientation, pose, shape)[:, vertices])


def test_a_flat_hand_has_its_joints_where_the_regressor_puts_them(model: ManoModel) -> None:
    layer, nothing = ManoLayer(model), torch.zeros(1, 45, dtype=torch.float64)
    flat = layer.pose_of(nothing, is_pca=False, is_flat=True)
    joints = layer.joints(nothing[:, :3], flat, nothing[:, :10])[0].numpy()
    np.testing.assert_allclose(joints[np.argsort(FROM_MANO)][:16], model.regressor @ model.template, atol=1e-12)


def test_poses_by_components_and_relative_to_the_mean(model: ManoModel) -> None:
    layer, coefficients = ManoLayer(model), torch.randn(2, 12, dtype=torch.float64)
    expected = coefficients.numpy() @ model.components[:12]
    flat = layer.pose_of(coefficients, is_pca=True, is_flat=True).flatten(1).numpy()
    bent = layer.pose_of(coefficients, is_pca=True, is_flat=False).flatten(1).numpy()
    np.testing.assert_allclose(flat, expected, atol=1e-12)
    np.testing.assert_allclose(bent, expected + model.mean, atol=1e-12)


def test_rotations_are_exact_and_smooth_at_zero() -> None:
    vectors = torch.tensor([[0.0, 0.0, 0.0], [1e-9, 0.0, 0.0], [0.3, -2.0, 1.1]], dtype=torch.float64)
    np.testing.assert_allclose(rotation_matrix(vectors).numpy(), matrix_from_rotation_vector(vectors), atol=1e-12)
    assert torch.autograd.gradcheck(rotation_matrix, vectors[2:].clone().requires_grad_())
    zero = vectors[:1].clone().requires_grad_()
    rotation_matrix(zero)[0, 2, 1].backward()
    assert zero.grad is not None
    assert zero.grad[0].tolist() == pytest.approx([1.0, 0.0, 0.0])


@pytest.mark.parametrize("is_wrist_centred", [True, False])
def test_translations_move_the_hand_or_place_its_wrist(folder: Path, is_wrist_centred: bool) -> None:
    orientation, pose, shape = (part.flatten(1).numpy() for part in _pose(3))
    place = np.arange(9.0).reshape(3, 3)
    parameters = ManoParameters(orientation, pose, shape, place, is_wrist_centred=is_wrist_centred)
    rows = np.array([True, False, True])
    joints = HandModels(folder).joints("right", parameters, rows)
    assert np.isnan(joints[1]).all()
    wrist = joints[rows, 0] - place[rows]
    assert (np.abs(wrist).max() < 1e-12) == is_wrist_centred


def test_the_left_shape_is_mended_where_it_is_the_rights(tmp_path: Path, folder: Path) -> None:
    right = invented_hand("right")
    for side in ("RIGHT", "LEFT"):
        (tmp_path / f"MANO_{side}.pkl").write_bytes(pickle.dumps(right))
    mended = HandModels(tmp_path).model("left", is_left_shape_mended=True).shapes
    np.testing.assert_array_equal(mended, right["shapedirs"] * np.array([-1.0, 1.0, 1.0])[None, :, None])
    np.testing.assert_array_equal(HandModels(tmp_path).model("left").shapes, right["shapedirs"])
    sound = HandModels(folder).model("left", is_left_shape_mended=True).shapes
    np.testing.assert_array_equal(sound, load_model(folder, "left").shapes)


@pytest.mark.parametrize("side", SIDES)
def test_joints_are_fitted_within_a_millimetre(folder: Path, side: Side) -> None:
    layer = ManoLayer(load_model(folder, side), dtype=torch.float32)
    chance = torch.Generator().manual_seed(4)
    frames = 24

    def walk(width: int, step: float, start: float) -> torch.Tensor:
        steps = torch.randn(frames, width, generator=chance) * step
        return steps.cumsum(0) + torch.randn(width, generator=chance) * start

    shape = (torch.randn(1, 10, generator=chance) * 0.8).expand(frames, -1)
    pose = layer.pose_of(walk(45, 0.03, 0.25), is_pca=False, is_flat=False)
    target = layer.joints(walk(3, 0.03, 1.0), pose, shape) + walk(3, 0.004, 0.4)[:, None]
    found = fit(target.numpy().astype(np.float64), layer)
    assert found.errors.mean() <= 1e-3
    again = HandModels(folder).joints(side, found.parameters, np.ones(frames, np.bool_))
    np.testing.assert_allclose(np.linalg.norm(again - target.numpy(), axis=-1).mean(1), found.errors, atol=1e-6)


def test_one_frame_is_fitted_and_nonsense_refused(model: ManoModel) -> None:
    layer = ManoLayer(model)
    orientation, pose, shape = _pose(5, 1)
    target = layer.joints(orientation, 0.5 * pose, 0.3 * shape).numpy()
    assert fit(target, layer).errors.max() <= 2e-3
    for wrong in (target[:, :20], target[:0], target * np.nan):
        with pytest.raises(ValueError, match="all finite"):
            fit(wrong, layer)


def test_hands_known_by_their_joints_get_parameters(folder: Path) -> None:
    models, clip = HandModels(folder), fabricated_clip.clip(4)
    orientation, pose, shape = _pose(6, 4)
    valid = np.array([True, True, False, True])
    planted = ManoParameters(
        orientation.numpy(), 0.3 * pose.flatten(1).numpy(), np.tile(shape[:1].numpy(), (4, 1)), np.full((4, 3), 0.1)
    )
    joints = models.joints("left", planted, valid)
    bare = replace(clip, hands={"left": Hand(valid, joints)})
    fitted = with_mano(bare, models, FitConfig(motion_weight=0.0)).hands["left"]
    assert fitted.mano is not None
    again = models.joints("left", fitted.mano, valid)
    assert np.linalg.norm(again - joints, axis=-1)[valid].mean() < 2e-3
    known = with_joints(replace(clip, hands={"left": Hand(valid, mano=planted)}), models)
    np.testing.assert_array_equal(known.hands["left"].joints, joints)
    assert with_mano(known, models).hands["left"].mano is planted
    with pytest.raises(Rejection, match="left hand: MANO fits no better than"):
        with_mano(replace(clip, hands={"left": Hand(valid, joints * 3.0)}), models, FitConfig(steps=20))
