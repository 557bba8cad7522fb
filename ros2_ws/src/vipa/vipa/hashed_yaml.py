"""YAML files with a hash over their contents: what a calibration leaves behind."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

from vipa.config import from_mapping, read_yaml
from vipa.errors import ConfigurationError

T = TypeVar("T")


def now() -> str:
    """The present time, ISO 8601, UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def save(path: Path, content: Any) -> None:
    """Write a dataclass with the field ``hash``, which is set; fields that are None are left out.

    Raises:
        ConfigurationError: it cannot be written.
    """
    values = {k: v for k, v in _plain(dataclasses.asdict(content)).items() if k != "hash" and v is not None}
    values["hash"] = content_hash(values)
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(yaml.safe_dump(values, sort_keys=False, default_flow_style=None), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror or error}") from None


def load(path: Path, kind: type[T], needs_hash: bool = True) -> T:
    """Read a file into the dataclass ``kind``.

    Args:
        path: of the file.
        kind: what it must be.
        needs_hash: False where a file without a hash, that another program wrote, is taken as it is.

    Raises:
        ConfigurationError: the file is missing, is no YAML, has an unknown, missing or wrong key, or its contents do
            not match its hash.
    """
    values = read_yaml(path)
    try:
        content = from_mapping(kind, values)
    except ConfigurationError as error:
        raise ConfigurationError(f"calibration {path}: {error}") from None
    found = str(values.get("hash", ""))
    if (found or needs_hash) and found != content_hash(values):
        raise ConfigurationError(
            f"calibration {path}: the contents do not match the hash: it was changed or damaged; calibrate again"
        )
    return content


def content_hash(values: Mapping[str, Any]) -> str:
    """The hash over everything but the hash itself, independent of how the file is laid out."""
    rest = {key: value for key, value in values.items() if key != "hash"}
    return "sha256:" + hashlib.sha256(json.dumps(rest, sort_keys=True, default=str).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Tuples as lists and numbers of NumPy as Python's, for YAML."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in cast(dict[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in cast(list[Any], value)]
    return float(value) if isinstance(value, float) else value
