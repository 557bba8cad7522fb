"""The spatial encoder: its positions, its recurrence, the order in which its decoders read, its heads, its export."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vipa_inference.config import PRESETS, SpatialEncoderConfig
from vipa_inference.model.spatial_blocks import grid_positions, rotate, rotation_of
from vipa_inference.model.spatial_encoder import SpatialEncoder

FRAMES, SIZE = 3, 32


@pytest.fixture
def encoder(spatial: SpatialEncoderConfig) -> SpatialEncoder:
    return _randomised(SpatialEncoder(spatial))


@pytest.fixture
def frames() -> Tensor:
    return torch.rand(2, FRAMES, 3, SIZE, SIZE) * 2 - 1


@settings(max_examples=20, deadline=None)
@given(shift=st.tuples(st.integers(-30, 30), st.integers(-30, 30)), seed=st.integers(0, 100))
def test_attention_scores_depend_on_the_difference_of_positions_only(shift: tuple[int, int], seed: int) -> None:
    torch.manual_seed(seed)
    queries, keys = torch.randn(2, 1, 2, 12, 16).unbind()
    positions = grid_positions(3, 4)
    scores = [
        rotate(queries, rotation_of(at, 16, 100.0)) @ rotate(keys, rotation_of(at, 16, 100.0)).mT
        for at in (positions, positions + torch.tensor(shift))
    ]
    torch.testing.assert_close(*scores, rtol=0, atol=2e-4)


def test_rotation_turns_the_pairs_of_each_axis_by_its_position() -> None:
    base, width = 100.0, 16
    heads = torch.randn(1, 1, 1, width)
    turned = rotate(heads, rotation_of(torch.tensor([[-1, 3]]), width, base))[0, 0, 0]
    for axis, position in enumerate((-1, 3)):
        for k in range(width // 4):
            first, second = axis * width // 2 + k, axis * width // 2 + width // 4 + k
            before = complex(heads[0, 0, 0, first], heads[0, 0, 0, second])
            after = before * np.exp(1j * position / base ** (4 * k / width))
            assert complex(turned[first], turned[second]) == pytest.approx(after, abs=1e-5)


def test_lengths_are_kept_and_without_a_rotation_nothing_changes() -> None:
    heads = torch.randn(2, 3, 9, 8)
    turned = rotate(heads, rotation_of(grid_positions(3, 3), 8, 100.0))
    torch.testing.assert_close(turned.norm(dim=-1), heads.norm(dim=-1))
    assert rotate(heads, None) is heads


def test_grid_is_numbered_row_by_row() -> None:
    assert grid_positions(2, 3).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]


def test_frames_in_one_call_equal_frame_by_frame_with_the_state_carried_on(
    encoder: SpatialEncoder, frames: Tensor
) -> None:
    together = encoder.features(frames)
    state = encoder.initial_state(2)
    for i in range(FRAMES):
        layers, state = encoder.step(encoder.encode(frames[:, i : i + 1])[:, 0], state, (2, 2))
        torch.testing.assert_close(together[:, i], layers[-1])
    assert together.shape == (2, FRAMES, 1 + 4, 24)
    assert state.memory is not None
    assert state.memory.shape == (2, 5, 48)


def test_later_frames_depend_on_earlier_ones_but_not_the_other_way_round(
    encoder: SpatialEncoder, frames: Tensor
) -> None:
    before = encoder.features(frames)
    changed = frames.clone()
    changed[:, 1] *= -1
    after = encoder.features(changed)
    torch.testing.assert_close(before[:, 0], after[:, 0])
    assert (before[:, 2] - after[:, 2]).abs().max() > 1e-3


def test_the_pose_token_of_a_later_frame_comes_from_memory(encoder: SpatialEncoder, frames: Tensor) -> None:
    before = encoder.features(frames)
    with torch.no_grad():
        encoder.pose_memory.unknown_pose += 1
    after = encoder.features(frames)
    torch.testing.assert_close(before[:, 0], after[:, 0])
    assert (before[:, 1] - after[:, 1]).abs().max() > 1e-3


def test_decoders_read_each_others_previous_layer_and_only_the_last_is_normalised(
    encoder: SpatialEncoder, frames: Tensor
) -> None:
    """The decoder written out by hand, with positions as they should be."""
    config = encoder.config
    tokens = encoder.encode(frames)[:, 0]
    patches = torch.tensor([[-1, -1], [0, 0], [0, 1], [1, 0], [1, 1]])
    columns = 4  # of ten state tokens: the root of ten, rounded down, is 3, and the next even number is 4
    states = torch.tensor([[i // columns, i % columns] for i in range(config.state_tokens)])

    def positions(heads: int) -> tuple[Any, Any]:
        width = config.decoder_width // heads
        return rotation_of(patches, width, 100.0), rotation_of(states, width, 100.0)

    image = torch.cat([encoder.pose_token.expand(2, -1, -1), encoder.image_projection(tokens)], dim=1)
    state = encoder.state_projection(encoder.state_embedding).expand(2, -1, -1)
    expected = [tokens]
    for image_block, state_block in zip(encoder.image_blocks, encoder.state_blocks, strict=True):
        old_image, old_state = image, state
        for_patches, for_states = positions(config.decoder_heads)
        image = image_block(old_image, old_state, for_patches, for_states)
        for_patches, for_states = positions(config.state_heads)
        state = state_block(old_state, old_image, for_states, for_patches)
        expected.append(image)
    expected[-1] = encoder.image_norm(image)

    layers, after = encoder.step(tokens, encoder.initial_state(2), (2, 2))
    for found, wanted in zip(layers, expected, strict=True):
        torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(after.tokens, encoder.state_norm(state))


def test_without_update_the_features_are_the_same_and_the_state_is_the_old_one(
    encoder: SpatialEncoder, frames: Tensor
) -> None:
    tokens, state = encoder.encode(frames)[:, 0], encoder.initial_state(2)
    with_update, _ = encoder.step(tokens, state, (2, 2))
    without, same = encoder.step(tokens, state, (2, 2), update=False)
    torch.testing.assert_close(with_update[-1], without[-1])
    assert same is state


def test_features_use_neither_heads_nor_what_follows_the_last_frame(encoder: SpatialEncoder, frames: Tensor) -> None:
    encoder.features(frames[:, :1]).sum().backward()
    unused = {name.split(".")[0] for name, parameter in encoder.named_parameters() if parameter.grad is None}
    used = {name.split(".")[0] for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    assert unused == {"heads", "pose_memory", "state_blocks", "state_norm"}
    assert unused & used == {"state_blocks"}
    assert all(p.grad is None for p in encoder.state_blocks[-1].parameters())


@pytest.mark.parametrize("head", ["linear", "dpt"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (48, 80)])
def test_geometry_has_the_size_of_the_image_and_lies_within_its_bounds(
    spatial: SpatialEncoderConfig, head: str, height: int, width: int
) -> None:
    encoder = _randomised(SpatialEncoder(replace(spatial, head=head)))
    frames = torch.rand(2, 2, 3, height, width) * 2 - 1
    out = encoder(frames)
    assert out.pointmap.shape == out.world_pointmap.shape == (2, 2, height, width, 3)
    assert out.confidence.shape == out.world_confidence.shape == (2, 2, height, width)
    assert out.pose.shape == (2, 2, 7)
    torch.testing.assert_close(out.features, encoder.features(frames))
    torch.testing.assert_close(out.pose[..., 3:].norm(dim=-1), torch.ones(2, 2))
    assert bool((out.pose[..., 3] >= 0).all())
    assert bool((out.confidence > 1).all())
    assert bool((out.world_confidence > 1).all())
    assert all(bool(torch.isfinite(t).all()) for t in (out.pointmap, out.world_pointmap))
    if head == "linear":
        assert bool((out.pointmap[..., 2] >= 0).all())
        assert bool((out.world_pointmap[..., 2] < 0).any())


def test_a_pixel_of_the_linear_head_comes_from_its_patch(encoder: SpatialEncoder) -> None:
    assert encoder.heads is not None
    regressor: Any = encoder.heads.camera
    tokens = torch.randn(1, 6, 24)
    image = regressor([tokens], (2, 3))
    pixels = regressor.pixels(tokens)[0].unflatten(-1, (4, 16, 16))
    for row, column, channel in ((0, 0, 0), (17, 40, 3), (31, 47, 1)):
        patch = row // 16 * 3 + column // 16
        assert image[0, row, column, channel] == pixels[patch, channel, row % 16, column % 16]


def test_bad_sizes_and_missing_heads_are_named(spatial: SpatialEncoderConfig) -> None:
    encoder = SpatialEncoder(replace(spatial, head="none"))
    assert encoder.features(torch.zeros(1, 1, 3, 32, 32)).shape == (1, 1, 5, 24)
    with pytest.raises(ValueError, match="without heads"):
        encoder(torch.zeros(1, 1, 3, 32, 32))
    with pytest.raises(ValueError, match="32 x 40 px is no multiple of the patch size 16"):
        encoder.features(torch.zeros(1, 1, 3, 40, 32))
    for wrong in ({"head": "cubic"}, {"image_size": 40}, {"state_heads": 5}, {"encoder_heads": 16}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            replace(spatial, **wrong)


def test_public_size_on_the_meta_device() -> None:
    """The sizes of the public cut3r_512_dpt_4_64 without what only questions by rays need."""
    config = PRESETS["2b"].spatial
    assert config is not None
    with torch.device("meta"):
        encoder = SpatialEncoder(config)
        assert encoder.features(torch.zeros(1, 1, 3, 448, 448)).shape == (1, 1, 1 + 784, 768)
    assert encoder.heads is not None
    count = {"all": _count(encoder), "heads": _count(encoder.heads), "memory": _count(encoder.pose_memory)}
    assert count == {"all": 743_975_567, "heads": 59_327_375, "memory": 152_305_152}


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.long), pytest.param(2, marks=pytest.mark.idle)])
def test_exported_features_agree(spatial: SpatialEncoderConfig, count: int, tmp_path: Path) -> None:
    encoder = _randomised(SpatialEncoder(replace(spatial, encoder_layers=1, decoder_layers=2, memory_layers=1)))
    onnxruntime: Any = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")

    class Features(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, frames: Tensor) -> Tensor:
            return self.encoder.features(frames)

    file = tmp_path / "features.onnx"
    batch = torch.export.Dim("batch", min=1, max=8)
    example = torch.zeros(2, count, 3, SIZE, SIZE)
    torch.onnx.export(
        Features().eval(),
        (example,),
        str(file),
        dynamo=True,
        dynamic_shapes=({0: batch},),
        opset_version=20,
        verbose=False,
        optimize=False,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    for size in (1, 3):
        given = torch.rand(size, count, 3, SIZE, SIZE) * 2 - 1
        (found,) = session.run(None, {session.get_inputs()[0].name: given.numpy()})
        np.testing.assert_allclose(found, encoder.features(given).detach().numpy(), rtol=0, atol=1e-5)


def _randomised(encoder: SpatialEncoder) -> SpatialEncoder:
    """Parameters large enough that every part matters; as they begin, norms and biases hide mistakes."""
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            scale = 0.1 if "heads." in name else 0.3
            parameter.copy_(torch.randn_like(parameter) * scale + (1.0 if name.endswith("norm.weight") else 0.0))
    return encoder.eval()


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
