"""Convert a public InternVL3.5 checkpoint to this model's names: python -m vipa_inference.converters.internvl IN OUT

IN is the folder of OpenGVLab/InternVL3_5-2B or InternVL3_5-2B-HF, with one safetensors file or shards and an index.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from vipa_inference.checkpoint import CheckpointError, read_tensors, save_part, shapes
from vipa_inference.config import PRESETS, VipaVlaConfig, internvl_config
from vipa_inference.converters.conversion import Conversion, Rule, block_rules, convert_keys, summary
from vipa_inference.model.motion_tokens import MotionTokenizer, new_embeddings, padded_vocabulary

PREFIX = "internvl"
EMBEDDING = f"{PREFIX}.model.language_model.embed_tokens.weight"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

_TOWER = f"{PREFIX}.model.vision_tower"
_LAYER = rf"{_TOWER}.encoder.layer.\1"
_PROJECTOR = f"{PREFIX}.model.multi_modal_projector"
_PARTS = "vision_tower|multi_modal_projector"

RULES: list[Rule] = [
    # The original naming: InternViT, "mlp1", and Qwen3 below "language_model".
    Rule(r"vision_model\.embeddings\.class_embedding", (f"{_TOWER}.embeddings.cls_token",)),
    Rule(r"vision_model\.embeddings\.position_embedding", (f"{_TOWER}.embeddings.position_embeddings",)),
    *block_rules(
        r"vision_model\.embeddings", f"{_TOWER}.embeddings", [("patch_embedding", "patch_embeddings.projection")]
    ),
    Rule(
        r"vision_model\.encoder\.layers\.(\d+)\.attn\.qkv\.(weight|bias)",
        tuple(rf"{_LAYER}.attention.{name}_proj.\2" for name in "qkv"),
    ),
    *block_rules(
        r"vision_model\.encoder\.layers\.(\d+)",
        _LAYER,
        [
            ("attn.proj", "attention.projection_layer"),
            ("norm1", "layernorm_before"),
            ("norm2", "layernorm_after"),
            ("mlp.fc1", "mlp.fc1"),
            ("mlp.fc2", "mlp.fc2"),
        ],
    ),
    Rule(r"vision_model\.encoder\.layers\.(\d+)\.ls([12])", (rf"{_LAYER}.lambda_\2",)),
    *block_rules(r"mlp1", _PROJECTOR, [("0", "layer_norm"), ("1", "linear_1"), ("3", "linear_2")]),
    # transformers' naming, before and since the parts moved below "model".
    Rule(rf"(?:model\.)?((?:{_PARTS})\..+)", (rf"{PREFIX}.model.\1",)),
    Rule(r"language_model\.model\.(.+)", (rf"{PREFIX}.model.language_model.\1",)),
    Rule(r"model\.language_model\.(.+)", (rf"{PREFIX}.model.language_model.\1",)),
    # The output embedding is tied to the input embedding; where it is stored, it must be the same.
    Rule(r"(?:language_model\.)?lm_head\.weight", (EMBEDDING,)),
]
NOT_NEEDED: dict[str, str] = {
    r".*\.rotary_emb\.inv_freq": "is computed",
    r".*\.position_ids": "is computed",
}


def convert(
    source: Mapping[str, Tensor], config: VipaVlaConfig, motion_tokens: bool = False, where: str = "InternVL"
) -> Conversion:
    """The tensors of the model's InternVL from the public ones.

    Args:
        source: public keys, in the original naming or in that of transformers.
        config: must fit the checkpoint.
        motion_tokens: extend the vocabulary by the motion tokens, to a multiple of 64 rows.
        where: the source, for messages.

    Raises:
        CheckpointError: see ``convert_keys``.
    """
    from transformers import InternVLForConditionalGeneration

    with torch.device("meta"):
        model: Any = InternVLForConditionalGeneration(internvl_config(config))
    expected = {f"{PREFIX}.{key}": shape for key, shape in shapes(model.state_dict()).items()}
    del expected[f"{PREFIX}.lm_head.weight"]  # tied to the input embedding
    conversion = convert_keys(source, RULES, NOT_NEEDED, expected, where)
    if not motion_tokens:
        return conversion
    embedding = conversion.tensors[EMBEDDING]
    tokenizer = MotionTokenizer(config.motion, first_id=config.language.vocabulary)
    rows = padded_vocabulary(config.language.vocabulary + tokenizer.count)
    extended = torch.cat([embedding, new_embeddings(embedding, rows - len(embedding))])
    return replace(conversion, tensors={**conversion.tensors, EMBEDDING: extended})


def read(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder with one safetensors file, or with the shards that its index names.

    Raises:
        CheckpointError: there is neither, or a shard is missing, truncated, or does not hold what the index says.
    """
    if not (folder / INDEX).exists():
        return read_tensors(folder / SINGLE)
    try:
        content: Any = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        files = cast(dict[str, str], content["weight_map"])
        shards = sorted(set(files.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / INDEX}: no readable index of shards ({error}). Download it again") from None
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        if Path(shard).name != shard:
            raise CheckpointError(f"{folder / INDEX}: the shard {shard!r} is not in this folder")
        tensors.update(read_tensors(folder / shard))
    differing = sorted(set(files) ^ set(tensors))
    if differing:
        raise CheckpointError(
            f"{folder}: index and shards disagree about {len(differing)} keys, e.g. {differing[0]}. Download it again"
        )
    return tensors


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 where the file was written."""
    parser = argparse.ArgumentParser(prog="python -m vipa_inference.converters.internvl", description=__doc__)
    parser.add_argument("source", type=Path, help="folder of InternVL3_5-2B or InternVL3_5-2B-HF")
    parser.add_argument("target", type=Path, help="the .safetensors file to write")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="2b", help="the size that it must have")
    parser.add_argument("--motion-tokens", action="store_true", help="extend the vocabulary by the motion tokens")
    options = parser.parse_args(arguments)
    try:
        conversion = convert(read(options.source), PRESETS[options.preset], options.motion_tokens, str(options.source))
        save_part(options.target, conversion.tensors)
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 1
    print(summary(conversion, options.target))
    return 0


if __name__ == "__main__":
    sys.exit(main())
