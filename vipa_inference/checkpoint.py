"""Checkpoints: a folder with model.safetensors, config.json and, where known, statistics.json.

Nothing but safetensors and JSON is read, so that a foreign checkpoint cannot run code. Every key is accounted for: one
that is missing, unused or of the wrong shape is an error, and nothing is loaded.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vipa_inference.config import SpatialEncoderConfig, VipaVlaConfig
from vipa_inference.policy import PolicyError
from vipa_inference.registry import configure
from vipa_inference.statistics import statistics_hash

if TYPE_CHECKING:
    from vipa_inference.model.vipa_vla import VipaVla

WEIGHTS, CONFIG, STATISTICS = "model.safetensors", "config.json", "statistics.json"
FORMAT = 1
NAMED_KEYS = 4  # how many keys a message names
_RANDOM = {"normal_", "uniform_", "trunc_normal_", "kaiming_uniform_", "xavier_uniform_"}


class CheckpointError(PolicyError):
    """A checkpoint cannot be read, or does not fit."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint."""

    model: "VipaVla"
    config: VipaVlaConfig
    statistics: dict[str, Any] | None  # of proprioception and actions
    statistics_hash: str | None  # SHA-256
    weights_hash: str  # SHA-256


def save_checkpoint(
    folder: Path,
    model: nn.Module | Mapping[str, Tensor],
    config: VipaVlaConfig,
    statistics: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint; a reader never sees half a file.

    Args:
        folder: is made where it does not exist.
        model: its parameters and buffers are written as they are, tied ones once; or these, under the model's keys.
        config: of the model.
        statistics: of the normalisation, any JSON; None: none are known yet.

    Raises:
        CheckpointError: the folder cannot be written, or the statistics are no JSON.
    """
    found = {key: tied[0] for key, tied in _tied(model).items()} if isinstance(model, nn.Module) else model
    tensors = {key: tensor.detach() for key, tensor in found.items()}
    digest = None if statistics is None else _hash(statistics, folder / STATISTICS)
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _write_tensors(folder / WEIGHTS, tensors)
        _write_json(folder / CONFIG, {"format": FORMAT, "model": dataclasses.asdict(config)})
        if statistics is None:
            (folder / STATISTICS).unlink(missing_ok=True)
        else:
            _write_json(folder / STATISTICS, {"sha256": digest, "statistics": dict(statistics)})


def load_checkpoint(folder: Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Read a checkpoint; the model is in evaluation mode, in the precision in which it was saved.

    Raises:
        CheckpointError: a file is missing, truncated or of another kind, a key of the configuration is unknown, the
            statistics do not fit their hash, or keys or shapes of the weights do not fit the configuration.
    """
    from vipa_inference.model.vipa_vla import VipaVla

    config = read_config(folder)
    statistics = read_statistics(folder)
    tensors = read_tensors(folder / WEIGHTS)
    with _SkipRandom():
        model = VipaVla(config)
        embedding = tensors.get("internvl.model.language_model.embed_tokens.weight")
        if embedding is not None and len(embedding) > config.language.vocabulary:
            model.add_motion_tokens()
    _assign(model, tensors, str(folder / WEIGHTS))
    model.to(device).eval()
    digest = None if statistics is None else _hash(statistics, folder / STATISTICS)
    return Checkpoint(model, config, statistics, digest, weights_hash(folder))


def save_part(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the converted tensors of one part of the model, e.g. of its InternVL, under the model's own keys.

    Raises:
        CheckpointError: the file cannot be written.
    """
    with _writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        _write_tensors(file, tensors)


def load_parts(model: nn.Module, files: Sequence[Path]) -> None:
    """Fill whole parts of a model from files of converted weights; other parts stay as they are.

    A part is what shares the first name of its keys, e.g. ``internvl`` or ``spatial_encoder``. The model keeps its
    precision and its vocabulary: a file with more or fewer rows of the embedding is an error.

    Raises:
        CheckpointError: a file cannot be read, or its keys and shapes are not those of its part of the model.
    """
    for file in files:
        tensors = read_tensors(file)
        parts = {key.split(".", 1)[0] for key in tensors}
        wanted = {key: tied for key, tied in _tied(model).items() if key.split(".", 1)[0] in parts}
        check_keys(shapes(tensors), {key: tied[0].shape for key, tied in wanted.items()}, str(file))
        with torch.no_grad():
            for key, tied in wanted.items():
                tied[0].copy_(tensors[key])


def weights_hash(folder: Path) -> str:
    """SHA-256 of the file of weights, in hexadecimal digits.

    Raises:
        CheckpointError: the file cannot be read.
    """
    file = folder / WEIGHTS
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
    except OSError as error:
        raise _unreadable(file, error) from None


def read_config(folder: Path) -> VipaVlaConfig:
    """The configuration of a checkpoint; keys that are absent take their defaults.

    Raises:
        CheckpointError: the file is missing, no JSON, of a newer format, or holds an unknown key or a wrong value.
    """
    file = folder / CONFIG
    content = _read_json(file)
    if content.get("format") != FORMAT or not isinstance(content.get("model"), dict):
        raise CheckpointError(f"{file}: format {content.get('format')!r} is not {FORMAT}. Update this software")
    values = cast(dict[str, Any], content["model"])
    try:
        spatial = values.get("spatial", {})
        if spatial is not None:
            spatial = configure(SpatialEncoderConfig, spatial, f"{file}: spatial")
        config = configure(VipaVlaConfig, {k: v for k, v in values.items() if k != "spatial"}, str(file))
    except PolicyError as error:
        raise CheckpointError(str(error)) from None
    return dataclasses.replace(config, spatial=spatial)


def read_statistics(folder: Path) -> dict[str, Any] | None:
    """The statistics of a checkpoint, or None where it has none.

    Raises:
        CheckpointError: the file cannot be read or the statistics do not fit their hash.
    """
    file = folder / STATISTICS
    if not file.exists():
        return None
    content = _read_json(file)
    statistics = content.get("statistics")
    if not isinstance(statistics, dict):
        raise CheckpointError(f"{file}: holds no statistics")
    found = _hash(cast(dict[str, Any], statistics), file)
    if found != content.get("sha256"):
        raise CheckpointError(
            f"{file}: the statistics have the hash {found[:12]}, not {str(content.get('sha256'))[:12]}. "
            "They were changed after training; restore the file"
        )
    return cast(dict[str, Any], statistics)


def read_tensors(file: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, mapped from the file rather than copied.

    Raises:
        CheckpointError: the file is missing, truncated or no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(file))
    except SafetensorError as error:
        raise CheckpointError(
            f"{file}: truncated or no safetensors file ({error}). "
            "Copy it again, or convert it with vipa_inference.converters"
        ) from None
    except OSError as error:
        raise _unreadable(file, error) from None


def check_keys(found: Mapping[str, torch.Size], expected: Mapping[str, torch.Size], where: str) -> None:
    """Compare keys and shapes.

    Raises:
        CheckpointError: something is missing, unused or of the wrong shape; one line for each of the three.
    """
    lines: list[str] = []
    missing = [key for key in expected if key not in found]
    unused = [key for key in found if key not in expected]
    wrong = [
        f"{key} {tuple(found[key])} instead of {tuple(shape)}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    for name, keys in (("missing", missing), ("unused", unused), ("wrong shape", wrong)):
        if keys:
            lines.append(f"{where}: {name}: {describe_keys(keys)}")
    if lines:
        raise CheckpointError("\n".join(lines))


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """The shape of each tensor."""
    return {key: tensor.shape for key, tensor in tensors.items()}


def describe_keys(keys: Sequence[str]) -> str:
    """How many keys there are, and the first few names."""
    names = ", ".join(keys[:NAMED_KEYS]) + (", …" if len(keys) > NAMED_KEYS else "")
    return f"{len(keys)} ({names})"


def _hash(statistics: Mapping[str, Any], file: Path) -> str:
    try:
        return statistics_hash(statistics)
    except PolicyError as error:
        raise CheckpointError(f"{file}: {error}") from None


def _tied(model: nn.Module) -> dict[str, list[Tensor]]:
    """Every parameter and persistent buffer under the first of its names, as often as it has names."""
    names: dict[int, str] = {}
    tied: dict[str, list[Tensor]] = {}
    for key, tensor in model.state_dict(keep_vars=True).items():
        tied.setdefault(names.setdefault(id(tensor), key), []).append(tensor)
    return tied


def _assign(model: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put tensors into the model without a copy; it takes over their precision."""
    wanted = _tied(model)
    check_keys(shapes(tensors), {key: tied[0].shape for key, tied in wanted.items()}, where)
    for key, tied in wanted.items():
        tied[0].data = tensors[key]


class _SkipRandom(TorchFunctionMode):
    """Modules made within hold arbitrary numbers instead of random ones, which takes no time; buffers are as ever."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in _RANDOM:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def _writing(path: Path) -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror or error}") from None


def _write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    partial = file.with_name(file.name + ".partial")
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, str(partial))
    os.replace(partial, file)


def _write_json(file: Path, content: Any) -> None:
    partial = file.with_name(file.name + ".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, file)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise _unreadable(file, error) from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: no valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: expected a JSON object, found {type(content).__name__}")
    return cast(dict[str, Any], content)


def _unreadable(file: Path, error: OSError) -> CheckpointError:
    return CheckpointError(f"{file}: cannot be read: {error.strerror or error}. Check the folder of the checkpoint")
