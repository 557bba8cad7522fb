"""Renaming of a public checkpoint by rules: each key is converted or listed as not needed, else it is an error."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from vipa_inference.checkpoint import CheckpointError, check_keys, describe_keys, shapes


@dataclass(frozen=True)
class Rule:
    """What becomes of the keys that match a pattern wholly.

    One target: the key is renamed. Several targets: the tensor is cut along its first axis into as many equal parts.
    With ``part``: the tensors that share the target are joined along the first axis in the order of their parts.
    """

    pattern: str
    targets: tuple[str, ...]
    part: int | None = None


@dataclass(frozen=True)
class Conversion:
    """The converted tensors, and the keys of the source that are not needed, with the reason."""

    tensors: dict[str, Tensor]
    unused: dict[str, str] = field(default_factory=dict[str, str])


def block_rules(source: str, target: str, table: Iterable[tuple[str, str]]) -> list[Rule]:
    """Rules for weight and bias of the named parts of a block.

    Args:
        source: pattern of the block's prefix, with groups, e.g. ``enc_blocks\\.(\\d+)``.
        target: template of the new prefix, e.g. ``encoder_blocks.\\1``.
        table: pairs of the old and the new name of a part; a new name with ``+ n`` is joined as part n.
    """
    rules: list[Rule] = []
    for old, new in table:
        name, _, part = new.partition("+")
        rules.append(
            Rule(
                rf"{source}\.{re.escape(old)}\.(?P<kind>weight|bias)",
                (rf"{target}.{name}.\g<kind>",),
                int(part) if part else None,
            )
        )
    return rules


def convert_keys(
    source: Mapping[str, Tensor],
    rules: Sequence[Rule],
    not_needed: Mapping[str, str],
    expected: Mapping[str, torch.Size],
    where: str,
) -> Conversion:
    """Rename the tensors of a public checkpoint.

    Args:
        source: the public keys.
        rules: the first whose pattern matches a key counts.
        not_needed: pattern of keys that are left out → the reason. They count before the rules.
        expected: the keys and shapes that must come out.
        where: the source, for messages.

    Raises:
        CheckpointError: a key that no rule knows, a duplicate that differs, a key that is missing, or a wrong shape.
    """
    unused: dict[str, str] = {}
    unknown: list[str] = []
    whole: dict[str, tuple[str, Tensor]] = {}
    parts: dict[str, dict[int, Tensor]] = {}
    for key, tensor in source.items():
        reason = next((reason for pattern, reason in not_needed.items() if re.fullmatch(pattern, key)), None)
        if reason is not None:
            unused[key] = reason
            continue
        found = next(((rule, match) for rule in rules if (match := re.fullmatch(rule.pattern, key))), None)
        if found is None:
            unknown.append(key)
            continue
        rule, match = found
        targets = [match.expand(target) for target in rule.targets]
        if len(tensor) % len(targets) if tensor.ndim else len(targets) > 1:
            raise CheckpointError(
                f"{where}: {key} of shape {tuple(tensor.shape)} cannot be cut into {len(targets)} parts"
            )
        pieces = tensor.chunk(len(targets)) if len(targets) > 1 else (tensor,)
        for target, piece in zip(targets, pieces, strict=True):
            if rule.part is not None:
                parts.setdefault(target, {})[rule.part] = piece
            elif target not in whole:
                whole[target] = (key, piece)
            elif not _equal(whole[target][1], piece):
                raise CheckpointError(
                    f"{where}: {key} and {whole[target][0]} should be the same tensor but differ. It is another model"
                )
    if unknown:
        raise CheckpointError(f"{where}: unknown keys: {describe_keys(unknown)}. It is another model or version")
    tensors = {key: piece.contiguous() for key, (_, piece) in whole.items()}
    for target, joined in parts.items():
        tensors[target] = torch.cat([joined[part] for part in sorted(joined)])
    check_keys(shapes(tensors), expected, where)
    return Conversion(tensors, unused)


def summary(conversion: Conversion, where: Path) -> str:
    """A few lines that say what was converted and what was left out, and why."""
    parameters = sum(tensor.numel() for tensor in conversion.tensors.values())
    lines = [f"{where}: {len(conversion.tensors)} tensors, {parameters / 1e6:.1f} M parameters"]
    for reason in dict.fromkeys(conversion.unused.values()):
        keys = [key for key, why in conversion.unused.items() if why == reason]
        lines.append(f"not needed ({reason}): {describe_keys(keys)}")
    return "\n".join(lines)


def _equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and (first.is_meta or torch.equal(first, second))
