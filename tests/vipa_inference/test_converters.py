"""Converters: fabricated public checkpoints, with the public keys, become this model's; every key is accounted for."""

import argparse
import json
import os
import sys
import types
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import InternVLForConditionalGeneration

from tests.vipa_inference.model.tiny import SPATIAL, TINY
from vipa_inference.checkpoint import CheckpointError, load_parts
from vipa_inference.config import PRESETS, SpatialEncoderConfig, VipaVlaConfig, internvl_config
from vipa_inference.converters import cut3r, internvl
from vipa_inference.model.spatial_encoder import SpatialEncoder
from vipa_inference.model.vipa_vla import VipaVla


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _convolution(name: str, outputs: int, inputs: int, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs, size, size), f"{name}.bias": (outputs,)}


def _perceptron(name: str, width: int, outputs: int | None = None) -> dict[str, tuple[int, ...]]:
    return {**_linear(f"{name}.fc1", 4 * width, width), **_linear(f"{name}.fc2", outputs or width, 4 * width)}


def cut3r_shapes(config: SpatialEncoderConfig) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of the public checkpoints, for any size."""
    wide, width, patch = config.encoder_width, config.decoder_width, config.patch_size
    keys: dict[str, tuple[int, ...]] = {
        "pose_token": (1, 1, width),
        "masked_img_token": (1, wide),
        "masked_ray_map_token": (1, wide),
        "pose_retriever.masked_token": (1, 1, width),
        "pose_retriever.mem": (1, config.local_memory, 2 * width),
        "register_tokens.weight": (config.state_tokens, wide),
        **_convolution("patch_embed.proj", wide, 3, patch),
        **_convolution("patch_embed_ray_map.proj", wide, 6, patch),
        **_norm("enc_norm", wide),
        **_norm("enc_norm_ray_map", wide),
        **_norm("dec_norm", width),
        **_norm("dec_norm_state", width),
        **_linear("decoder_embed", width, wide),
        **_linear("decoder_embed_state", width, wide),
        **_linear("pose_retriever.proj_q", width, wide),
        **_perceptron("downstream_head.pose_head.mlp", width, 7),
    }

    def attention(name: str, size: int) -> None:
        keys.update(_linear(f"{name}.attn.qkv", 3 * size, size) | _linear(f"{name}.attn.proj", size, size))
        keys.update(_perceptron(f"{name}.mlp", size))

    for name, count in (("enc_blocks", config.encoder_layers), ("enc_blocks_ray_map", 2)):
        for i in range(count):
            attention(f"{name}.{i}", wide)
            keys.update(_norm(f"{name}.{i}.norm1", wide) | _norm(f"{name}.{i}.norm2", wide))
    for name, count, size in (
        ("dec_blocks", config.decoder_layers, width),
        ("dec_blocks_state", config.decoder_layers, width),
        ("pose_retriever.write_blocks", 2, 2 * width),
        ("pose_retriever.read_blocks", 2, 2 * width),
    ):
        for i in range(count):
            attention(f"{name}.{i}", size)
            for part in ("projq", "projk", "projv", "proj"):
                keys.update(_linear(f"{name}.{i}.cross_attn.{part}", size, size))
            for part in ("norm1", "norm2", "norm3", "norm_y"):
                keys.update(_norm(f"{name}.{i}.{part}", size))
    for i in range(2):
        name = f"downstream_head.final_transform.{i}"
        attention(name, width)
        for part in ("norm1", "norm2"):
            keys.update(_norm(f"{name}.{part}.norm", width) | _linear(f"{name}.{part}.mlp.1", 2 * width, width))
    if config.head == "linear":
        for part, channels in (("proj", 4), ("cross_proj", 4), ("rgb_proj", 3)):
            keys.update(_perceptron(f"downstream_head.{part}", width, channels * patch**2))
    else:
        for part, channels in (("dpt_self", 4), ("dpt_cross", 4), ("dpt_rgb", 3)):
            keys.update(_dense_shapes(f"downstream_head.{part}", config, channels))
    return keys


def _dense_shapes(name: str, config: SpatialEncoderConfig, channels: int) -> dict[str, tuple[int, ...]]:
    keys: dict[str, tuple[int, ...]] = {}
    levels, dense = config.dense_levels, config.dense_width
    inputs = (config.encoder_width, *(config.decoder_width,) * 3)
    for i, (level, source) in enumerate(zip(levels, inputs, strict=True)):
        keys |= _convolution(f"{name}.act_postprocess.{i}.0", level, source, 1)
        keys |= {f"{name}.scratch.layer{i + 1}_rn.weight": (dense, level, 3, 3)}
        keys |= {f"{name}.scratch.layer_rn.{i}.weight": (dense, level, 3, 3)}
        stage = f"{name}.scratch.refinenet{i + 1}"
        keys |= _convolution(f"{stage}.out_conv", dense, dense, 1)
        for unit in (1, 2):
            for j in (1, 2):
                keys |= _convolution(f"{stage}.resConfUnit{unit}.conv{j}", dense, dense, 3)
    for i, size in ((0, 4), (1, 2), (3, 3)):
        keys |= _convolution(f"{name}.act_postprocess.{i}.1", levels[i], levels[i], size)
    keys |= _convolution(f"{name}.head.0", dense // 2, dense, 3)
    keys |= _convolution(f"{name}.head.2", dense // 2, dense // 2, 3)
    return keys | _convolution(f"{name}.head.4", channels, dense // 2, 1)


def _fabricate(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    tensors = {key: torch.randn(shape) for key, shape in shapes.items()}
    for key, tensor in tensors.items():
        if ".scratch.layer_rn." in key:  # the same weights under two names
            head, _, i = key.removesuffix(".weight").rpartition(".layer_rn.")
            tensors[f"{head}.layer{int(i) + 1}_rn.weight"] = tensor
    return tensors


@pytest.fixture(params=["linear", "dpt"])
def spatial(request: pytest.FixtureRequest) -> SpatialEncoderConfig:
    return replace(SPATIAL, head=request.param, memory_layers=2)


class TestCut3r:
    """Public CUT3R checkpoints."""

    @pytest.mark.parametrize(("head", "count"), [("dpt", 1248), ("linear", 1056)])
    def test_public_size(self, head: str, count: int) -> None:
        config = replace(SpatialEncoderConfig(), head=head)
        shapes = cut3r_shapes(config)
        assert len(shapes) == count
        source = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
        assert cut3r.head_of(source) == head
        conversion = cut3r.convert(source, config)
        left_out = sum(source[key].numel() for key in conversion.unused)
        duplicates = sum(t.numel() for key, t in source.items() if "_rn.weight" in key and "dpt_rgb" not in key)
        kept = sum(tensor.numel() for tensor in conversion.tensors.values())
        assert kept + left_out + duplicates == sum(tensor.numel() for tensor in source.values())

    def test_every_tensor_is_in_its_place(self, spatial: SpatialEncoderConfig) -> None:
        source = _fabricate(cut3r_shapes(spatial))
        found = cut3r.convert(source, spatial).tensors
        SpatialEncoder(spatial).load_state_dict({key.removeprefix("spatial_encoder."): t for key, t in found.items()})
        for ours, theirs in {
            "encoder_blocks.1.attention.query_key_value.bias": "enc_blocks.1.attn.qkv.bias",
            "image_blocks.2.feed_forward_norm.weight": "dec_blocks.2.norm3.weight",
            "state_blocks.3.context_norm.weight": "dec_blocks_state.3.norm_y.weight",
            "state_blocks.0.cross_attention.output.weight": "dec_blocks_state.0.cross_attn.proj.weight",
            "pose_memory.read_blocks.1.cross_norm.bias": "pose_retriever.read_blocks.1.norm2.bias",
            "state_embedding": "register_tokens.weight",
            "heads.world_blocks.1.feed_forward_norm.modulation.weight": (
                "downstream_head.final_transform.1.norm2.mlp.1.weight"
            ),
            "heads.pose.2.bias": "downstream_head.pose_head.mlp.fc2.bias",
        }.items():
            assert torch.equal(found[f"spatial_encoder.{ours}"], source[theirs]), ours
        joined = [source[f"dec_blocks.1.cross_attn.proj{part}.weight"] for part in "kv"]
        assert torch.equal(found["spatial_encoder.image_blocks.1.cross_attention.key_value.weight"], torch.cat(joined))

    def test_without_heads(self, spatial: SpatialEncoderConfig) -> None:
        source = _fabricate(cut3r_shapes(spatial))
        conversion = cut3r.convert(source, replace(spatial, head="none"))
        assert not any(".heads." in key for key in conversion.tensors)
        assert {key for key in source if "head" in key} <= conversion.unused.keys()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"surprise": (3,)}, r"unknown keys: 1 \(surprise\)"),
            (
                {"enc_blocks.9.norm1.weight": (32,)},
                r"unused: 1 \(spatial_encoder.encoder_blocks.9.attention_norm.weight",
            ),
            ({"pose_token": (1, 1, 25)}, r"wrong shape: 1 \(spatial_encoder.pose_token \(1, 1, 25\) instead of"),
            ({"enc_norm.bias": None}, r"missing: 1 \(spatial_encoder.encoder_norm.bias\)"),
            ({"dec_blocks.0.cross_attn.projk.bias": None}, r"wrong shape: 1 \(.*key_value.bias \(24,\)"),
        ],
    )
    def test_what_does_not_fit_is_named(self, change: dict[str, tuple[int, ...] | None], message: str) -> None:
        source = _fabricate(cut3r_shapes(SPATIAL_PUBLIC))
        for key, shape in change.items():
            if shape is None:
                del source[key]
            else:
                source[key] = torch.zeros(shape)
        with pytest.raises(CheckpointError, match=message):
            cut3r.convert(source, SPATIAL_PUBLIC)

    def test_duplicates_that_differ_are_refused(self) -> None:
        config = replace(SPATIAL_PUBLIC, head="dpt")
        source = _fabricate(cut3r_shapes(config))
        key = "downstream_head.dpt_self.scratch.layer2_rn.weight"
        source[key] = source[key] + 1
        with pytest.raises(CheckpointError, match="should be the same tensor but differ"):
            cut3r.convert(source, config)

    def test_file_with_settings_of_the_training(self, tmp_path: Path, omegaconf: Any, capsys: Any) -> None:
        """The settings are objects of libraries that are not there; nothing of them is made, called or evaluated."""
        source = _fabricate(cut3r_shapes(SPATIAL_PUBLIC))
        settings = omegaconf.DictConfig(tmp_path / "evaluated")
        namespace = argparse.Namespace(model=f"open({str(tmp_path / 'evaluated')!r}, 'w')")
        file = tmp_path / "cut3r.pth"
        torch.save(
            {"model": source, "args": namespace, "settings": settings, "cache": defaultdict(dict), "epoch": 3}, file
        )
        found = cut3r.read(file)
        assert found.keys() == source.keys()
        assert all(torch.equal(found[key], source[key]) for key in source)
        assert not (tmp_path / "evaluated").exists()
        assert cut3r.main([str(file), str(tmp_path / "out.safetensors")]) == 1  # it is not of the public size
        assert "wrong shape" in capsys.readouterr().err

    def test_a_file_that_would_run_code_runs_none(self, tmp_path: Path) -> None:
        class Call:
            def __init__(self, *call: Any) -> None:
                self.call = call

            def __reduce__(self) -> Any:
                return self.call[0], self.call[1:]

        mark = tmp_path / "harm"
        file = tmp_path / "harmful.pth"
        torch.save({"model": {"weight": torch.zeros(1)}, "args": Call(exec, f"open({str(mark)!r}, 'w')")}, file)
        assert cut3r.read(file).keys() == {"weight"}
        torch.save({"model": {"weight": torch.zeros(1)}, "args": Call(os.system, f"touch {mark}")}, file)
        with pytest.raises(CheckpointError, match="no readable PyTorch checkpoint"):
            cut3r.read(file)
        assert not mark.exists()

    @pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half a zip file"])
    def test_foreign_files_are_named(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "bad.pth").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"bad\.pth: no readable PyTorch checkpoint"):
            cut3r.read(tmp_path / "bad.pth")

    def test_truncated_missing_and_other_checkpoints_are_named(self, tmp_path: Path) -> None:
        file = tmp_path / "cut3r.pth"
        torch.save({"model": {"weight": torch.zeros(1000)}}, file)
        file.write_bytes(file.read_bytes()[:-200])
        with pytest.raises(CheckpointError, match="no readable PyTorch checkpoint"):
            cut3r.read(file)
        with pytest.raises(CheckpointError, match="cannot be read: No such file"):
            cut3r.read(tmp_path / "none.pth")
        for content in ([1], {"weights": {}}, {"model": {"weight": 3}}):
            torch.save(content, file)
            with pytest.raises(CheckpointError, match="'model'"):
                cut3r.read(file)

    @pytest.fixture
    def omegaconf(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        """A library that exists while the checkpoint is written, but not when it is read; opening makes a file."""
        module: Any = types.ModuleType("omegaconf_of_the_past")

        class DictConfig:
            def __init__(self, path: Path) -> None:
                self.path, self.content = str(path), {"a": [1, 2]}

            def __setstate__(self, state: dict[str, Any]) -> None:
                Path(state["path"]).write_text("evaluated")

        DictConfig.__module__, DictConfig.__qualname__ = module.__name__, "DictConfig"
        module.DictConfig = DictConfig
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return module


SPATIAL_PUBLIC = replace(SPATIAL, memory_layers=2)


def _internvl(config: VipaVlaConfig) -> Any:
    model: Any = InternVLForConditionalGeneration(internvl_config(config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1)
    return model


def original_naming(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The naming of OpenGVLab's repositories, written from what transformers' class is called today."""
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name, value = key.removeprefix("model."), tensor
        if name.startswith("vision_tower"):
            if ".attention.k_proj" in name or ".attention.v_proj" in name:
                continue
            if ".attention.q_proj" in name:
                parts = [state[key.replace("q_proj", f"{part}_proj")] for part in "qkv"]
                name, value = name.replace("attention.q_proj", "attn.qkv"), torch.cat(parts)
            for old, new in (
                ("vision_tower", "vision_model"),
                ("encoder.layer.", "encoder.layers."),
                ("cls_token", "class_embedding"),
                ("position_embeddings", "position_embedding"),
                ("patch_embeddings.projection", "patch_embedding"),
                ("attention.projection_layer", "attn.proj"),
                ("lambda_", "ls"),
                ("layernorm_before", "norm1"),
                ("layernorm_after", "norm2"),
            ):
                name = name.replace(old, new)
        elif name.startswith("multi_modal_projector"):
            for old, new in (("layer_norm", "0"), ("linear_1", "1"), ("linear_2", "3")):
                name = name.replace(f"multi_modal_projector.{old}", f"mlp1.{new}")
        elif name.startswith("language_model"):
            name = name.replace("language_model.", "language_model.model.", 1)
        else:
            name = f"language_model.{name}"
        renamed[name] = value
    return renamed


def former_naming(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' naming before the parts moved below "model"."""
    return {
        key.replace("model.language_model.", "language_model.model.", 1)
        .removeprefix("model.")
        .replace("lm_head", "language_model.lm_head"): tensor
        for key, tensor in state.items()
    }


def present_naming(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' naming of today."""
    return dict(state)


NAMINGS = [original_naming, former_naming, present_naming]


class TestInternVl:
    """Public InternVL3.5 checkpoints."""

    @pytest.mark.parametrize("naming", NAMINGS)
    @pytest.mark.parametrize("tied", [True, False])
    def test_every_tensor_is_in_its_place(self, naming: Any, tied: bool) -> None:
        reference = _internvl(TINY)
        source = naming(reference.state_dict())
        if not tied:
            source = {key: tensor for key, tensor in source.items() if "lm_head" not in key}
        conversion = internvl.convert(source, TINY)
        state = reference.state_dict()
        del state["lm_head.weight"]
        assert conversion.tensors.keys() == {f"internvl.{key}" for key in state}
        assert conversion.unused == {}
        for key, tensor in state.items():
            assert torch.equal(conversion.tensors[f"internvl.{key}"], tensor), key

    @pytest.mark.parametrize(("naming", "count"), list(zip(NAMINGS, [657, 753, 753], strict=True)))
    def test_public_size(self, naming: Any, count: int) -> None:
        with torch.device("meta"):
            reference: Any = InternVLForConditionalGeneration(internvl_config(PRESETS["2b"]))
            source = naming(reference.state_dict())
        conversion = internvl.convert(source, PRESETS["2b"])
        assert sum(tensor.numel() for tensor in conversion.tensors.values()) == 2_037_182_464
        assert len(source) == count

    def test_original_names_of_one_layer(self) -> None:
        """The names themselves, in case renaming and its inverse err alike."""
        keys = original_naming(_internvl(TINY).state_dict()).keys()
        layer = "vision_model.encoder.layers.1."
        assert {key.removeprefix(layer) for key in keys if key.startswith(layer)} == {
            "ls1", "ls2", "norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias",
            "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias",
            "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias",
        }  # fmt: skip
        layer = "language_model.model.layers.0."
        assert {key.removeprefix(layer).removesuffix(".weight") for key in keys if key.startswith(layer)} == {
            "input_layernorm", "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
            *[f"self_attn.{part}" for part in ("q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm")],
        }  # fmt: skip
        assert {key for key in keys if "layers" not in key} == {
            "vision_model.embeddings.class_embedding", "vision_model.embeddings.position_embedding",
            "vision_model.embeddings.patch_embedding.weight", "vision_model.embeddings.patch_embedding.bias",
            *[f"mlp1.{i}.{kind}" for i in (0, 1, 3) for kind in ("weight", "bias")],
            "language_model.model.embed_tokens.weight", "language_model.model.norm.weight",
            "language_model.lm_head.weight",
        }  # fmt: skip

    @pytest.mark.parametrize("sharded", [False, True])
    def test_folder_to_model(self, sharded: bool, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
        monkeypatch.setitem(PRESETS, "tiny", TINY)
        reference = _internvl(TINY)
        source = {key: tensor.clone() for key, tensor in original_naming(reference.state_dict()).items()}
        _write(tmp_path / "in", source, sharded)
        out = tmp_path / "out" / "internvl.safetensors"
        assert internvl.main([str(tmp_path / "in"), str(out), "--preset", "tiny"]) == 0
        assert "M parameters" in capsys.readouterr().out
        model = VipaVla(TINY)
        load_parts(model, [out])
        for key, tensor in reference.state_dict().items():
            assert torch.equal(model.internvl.state_dict()[key], tensor), key

    def test_motion_tokens_extend_the_vocabulary(self) -> None:
        source = original_naming(_internvl(TINY).state_dict())
        extended = internvl.convert(source, TINY, motion_tokens=True).tensors[internvl.EMBEDDING]
        assert extended.shape == (320, 32)
        known = source["language_model.model.embed_tokens.weight"]
        assert torch.equal(extended[:270], known)
        model = VipaVla(TINY)
        with torch.no_grad():
            model.internvl.get_input_embeddings().weight.copy_(known)
        model.add_motion_tokens()
        assert torch.equal(model.internvl.get_input_embeddings().weight, extended)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"vision_model.encoder.layers.0.attn.q_norm.weight": (24,)}, r"unknown keys: 1 \(vision_model.*q_norm"),
            ({"language_model.model.layers.0.extra.weight": (3,)}, r"unused: 1 \(internvl.*layers.0.extra"),
            ({"mlp1.1.weight": None}, r"missing: 1 \(internvl.*linear_1.weight\)"),
            (
                {"vision_model.encoder.layers.0.attn.qkv.bias": (71,)},
                r"qkv.bias of shape \(71,\) cannot be cut into 3 parts",
            ),
            (
                {"language_model.lm_head.weight": (270, 32)},
                "lm_head.weight and .*embed_tokens.weight should be the same",
            ),
            (
                {"language_model.model.embed_tokens.weight": (271, 32), "language_model.lm_head.weight": None},
                "wrong shape",
            ),
        ],
    )
    def test_what_does_not_fit_is_named(self, change: dict[str, tuple[int, ...] | None], message: str) -> None:
        source = original_naming(_internvl(TINY).state_dict())
        for key, shape in change.items():
            if shape is None:
                del source[key]
            else:
                source[key] = torch.zeros(shape)
        with pytest.raises(CheckpointError, match=message):
            internvl.convert(source, TINY)

    def test_missing_damaged_and_lying_shards_are_named(self, tmp_path: Path, capsys: Any) -> None:
        with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be read"):
            internvl.read(tmp_path)
        source = {f"key{i}": torch.zeros(4) for i in range(4)}
        _write(tmp_path, source, sharded=True)
        assert internvl.read(tmp_path).keys() == source.keys()
        index = json.loads((tmp_path / internvl.INDEX).read_text())

        def lie(files: Any) -> None:
            (tmp_path / internvl.INDEX).write_text(json.dumps({"weight_map": files}))

        lie({**index["weight_map"], "key9": "a.safetensors"})
        with pytest.raises(CheckpointError, match=r"disagree about 1 keys, e\.g\. key9"):
            internvl.read(tmp_path)
        lie({**index["weight_map"], "key9": "../a.safetensors"})
        with pytest.raises(CheckpointError, match="is not in this folder"):
            internvl.read(tmp_path)
        lie([1])
        with pytest.raises(CheckpointError, match="no readable index"):
            internvl.read(tmp_path)
        lie(index["weight_map"])
        (tmp_path / "b.safetensors").write_bytes(b"half")
        assert internvl.main([str(tmp_path), str(tmp_path / "out.safetensors")]) == 1
        assert "b.safetensors: truncated or no safetensors file" in capsys.readouterr().err


def _write(folder: Path, tensors: dict[str, Tensor], sharded: bool) -> None:
    folder.mkdir(exist_ok=True)
    tensors = {key: tensor.clone() for key, tensor in tensors.items()}
    if not sharded:
        save_file(tensors, folder / internvl.SINGLE)
        assert load_file(folder / internvl.SINGLE).keys() == tensors.keys()
        return
    files: dict[str, str] = {}
    for i, name in enumerate(("a.safetensors", "b.safetensors")):
        shard = dict(list(tensors.items())[i::2])
        save_file(shard, folder / name)
        files.update(dict.fromkeys(shard, name))
    (folder / internvl.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": files}))
