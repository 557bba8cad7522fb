"""Convert a public CUT3R checkpoint to the spatial encoder's names: python -m vipa_inference.converters.cut3r IN OUT

IN is cut3r_512_dpt_4_64.pth or cut3r_224_linear_4.pth. Such a file also holds the training's settings, among them a
line of Python that the original loader runs; here nothing from the file is run, and every class in it but tensors
becomes an empty shell. The weights are under CC BY-NC-SA 4.0: convert them for yourself, do not pass them on.
"""

import argparse
import pickle
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from vipa_inference.checkpoint import CheckpointError, save_part
from vipa_inference.config import SpatialEncoderConfig
from vipa_inference.converters.conversion import Conversion, Rule, block_rules, convert_keys, summary
from vipa_inference.model.spatial_encoder import SpatialEncoder

PREFIX = "spatial_encoder"
_UNREADABLE = (  # what torch.load raises on files of other kinds and on damaged ones
    pickle.UnpicklingError,
    OSError,
    RuntimeError,
    ValueError,
    EOFError,
    TypeError,
    AttributeError,
    LookupError,
)

_ENCODER = [
    ("norm1", "attention_norm"),
    ("attn.qkv", "attention.query_key_value"),
    ("attn.proj", "attention.output"),
    ("norm2", "feed_forward_norm"),
    ("mlp.fc1", "feed_forward.0"),
    ("mlp.fc2", "feed_forward.2"),
]
_DECODER = [
    *[pair for pair in _ENCODER if pair[0] != "norm2"],
    ("norm2", "cross_norm"),
    ("norm_y", "context_norm"),
    ("cross_attn.projq", "cross_attention.query"),
    ("cross_attn.projk", "cross_attention.key_value+0"),
    ("cross_attn.projv", "cross_attention.key_value+1"),
    ("cross_attn.proj", "cross_attention.output"),
    ("norm3", "feed_forward_norm"),
]
_MODULATED = [
    *[pair for pair in _ENCODER if not pair[0].startswith("norm")],
    ("norm1.norm", "attention_norm.norm"),
    ("norm1.mlp.1", "attention_norm.modulation"),
    ("norm2.norm", "feed_forward_norm.norm"),
    ("norm2.mlp.1", "feed_forward_norm.modulation"),
]
_PERCEPTRON = [("fc1", "0"), ("fc2", "2")]
_DENSE = [
    *[(f"act_postprocess.{i}.{j}", f"reassemble.{i}.{j}") for i in range(4) for j in range(2)],
    *[(f"scratch.layer_rn.{i}", f"project.{i}") for i in range(4)],
    *[(f"scratch.layer{i + 1}_rn", f"project.{i}") for i in range(4)],
    *[(f"scratch.refinenet{i + 1}.out_conv", f"fuse.{i}.output") for i in range(4)],
    *[
        (f"scratch.refinenet{i + 1}.resConfUnit{unit}.conv{j}", f"fuse.{i}.{ours}.{name}")
        for i in range(4)
        for unit, ours in ((1, "skip"), (2, "refine"))
        for j, name in ((1, "first"), (2, "second"))
    ],
    *[(f"head.{i}", f"output.{i}") for i in (0, 2, 4)],
]

_HEAD = r"(?:module\.)?downstream_head"
_START = r"(?:module\.)?"
RULES: list[Rule] = [
    *block_rules(_START + r"patch_embed", PREFIX, [("proj", "patch_embedding")]),
    *block_rules(_START + r"enc_blocks\.(\d+)", rf"{PREFIX}.encoder_blocks.\1", _ENCODER),
    *block_rules(_START + r"dec_blocks\.(\d+)", rf"{PREFIX}.image_blocks.\1", _DECODER),
    *block_rules(_START + r"dec_blocks_state\.(\d+)", rf"{PREFIX}.state_blocks.\1", _DECODER),
    *[
        Rule(rf"{_START}{old}\.(weight|bias)", (rf"{PREFIX}.{new}.\1",))
        for old, new in (
            ("enc_norm", "encoder_norm"),
            ("dec_norm", "image_norm"),
            ("dec_norm_state", "state_norm"),
            ("decoder_embed", "image_projection"),
            ("decoder_embed_state", "state_projection"),
        )
    ],
    Rule(_START + r"pose_token", (f"{PREFIX}.pose_token",)),
    Rule(_START + r"register_tokens\.weight", (f"{PREFIX}.state_embedding",)),
    Rule(_START + r"pose_retriever\.masked_token", (f"{PREFIX}.pose_memory.unknown_pose",)),
    Rule(_START + r"pose_retriever\.mem", (f"{PREFIX}.pose_memory.entries",)),
    *block_rules(_START + r"pose_retriever", f"{PREFIX}.pose_memory", [("proj_q", "key")]),
    *block_rules(
        _START + r"pose_retriever\.(write|read)_blocks\.(\d+)", rf"{PREFIX}.pose_memory.\1_blocks.\2", _DECODER
    ),
    *block_rules(_HEAD + r"\.final_transform\.(\d+)", rf"{PREFIX}.heads.world_blocks.\1", _MODULATED),
    *block_rules(_HEAD + r"\.pose_head\.mlp", f"{PREFIX}.heads.pose", _PERCEPTRON),
    *block_rules(_HEAD + r"\.dpt_self", f"{PREFIX}.heads.camera", _DENSE),
    *block_rules(_HEAD + r"\.dpt_cross", f"{PREFIX}.heads.world", _DENSE),
    *block_rules(_HEAD + r"\.proj", f"{PREFIX}.heads.camera.pixels", _PERCEPTRON),
    *block_rules(_HEAD + r"\.cross_proj", f"{PREFIX}.heads.world.pixels", _PERCEPTRON),
]
NOT_NEEDED: dict[str, str] = {
    _START + r"(patch_embed_ray_map|enc_blocks_ray_map|enc_norm_ray_map)\..+": "questions by rays instead of an image",
    _START + r"masked_(img|ray_map)_token": "questions by rays instead of an image",
    _HEAD + r"\.(dpt_rgb|rgb_proj)\..+": "colour of a question by rays",
    _HEAD + r"\.dpt_(self|cross)\.scratch\.refinenet4\.resConfUnit1\..+": "the coarsest stage has nothing to add",
}


def convert(source: Mapping[str, Tensor], config: SpatialEncoderConfig, where: str = "CUT3R") -> Conversion:
    """The spatial encoder's tensors from the public state dict.

    Args:
        source: public keys, e.g. ``enc_blocks.0.attn.qkv.weight``.
        config: must fit the checkpoint; ``head="none"`` leaves out the heads.
        where: the source, for messages.

    Raises:
        CheckpointError: see ``convert_keys``.
    """
    with torch.device("meta"):
        encoder = SpatialEncoder(config)
    expected = {f"{PREFIX}.{key}": tensor.shape for key, tensor in encoder.state_dict().items()}
    not_needed = dict(NOT_NEEDED)
    if config.head == "none":
        not_needed[_HEAD + r"\..+"] = "the encoder was asked for without heads"
    return convert_keys(source, RULES, not_needed, expected, where)


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a public .pth file; everything else in it is ignored and never run.

    Raises:
        CheckpointError: the file is missing, truncated, or no such checkpoint.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
        shells: list[Any] = [(_shell(name), name) for name in names]
        with torch.serialization.safe_globals(shells):
            content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except _UNREADABLE as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path}: no readable PyTorch checkpoint ({reason}). Download it again") from None
    model: Any = cast(dict[str, Any], content).get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict):
        raise CheckpointError(f"{path}: holds no state dict under 'model'. It is no CUT3R checkpoint")
    foreign = [str(key) for key, value in cast(dict[Any, Any], model).items() if not isinstance(value, Tensor)]
    if foreign:
        raise CheckpointError(f"{path}: values of 'model' are no tensors: {', '.join(foreign[:3])}")
    return cast(dict[str, Tensor], model)


def head_of(source: Mapping[str, Tensor]) -> str:
    """Which head a public checkpoint has, "dpt" or "linear"."""
    return "dpt" if any("downstream_head.dpt_self." in key for key in source) else "linear"


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 where the file was written."""
    parser = argparse.ArgumentParser(prog="python -m vipa_inference.converters.cut3r", description=__doc__)
    parser.add_argument("source", type=Path, help="cut3r_512_dpt_4_64.pth or cut3r_224_linear_4.pth")
    parser.add_argument("target", type=Path, help="the .safetensors file to write")
    parser.add_argument("--features-only", action="store_true", help="leave out the heads; a policy needs none")
    options = parser.parse_args(arguments)
    try:
        source = read(options.source)
        head = "none" if options.features_only else head_of(source)
        conversion = convert(source, replace(SpatialEncoderConfig(), head=head), str(options.source))
        save_part(options.target, conversion.tensors)
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 1
    print(summary(conversion, options.target))
    return 0


def _shell(name: str) -> Any:
    """What stands for a class or function named in the file: makes an empty object, whatever it is given."""
    if name == "collections.defaultdict":
        return _empty_dictionary

    class Shell:
        def __new__(cls, *_arguments: Any) -> Any:
            return object.__new__(cls)

        def __init__(self, *_arguments: Any) -> None:
            pass

        def __setstate__(self, _state: Any) -> None:
            pass

    return Shell


def _empty_dictionary(*_arguments: Any) -> dict[Any, Any]:
    return {}


if __name__ == "__main__":
    sys.exit(main())
