"""Strict reading of YAML into frozen dataclasses: an unknown key, a missing key or a wrong type names the key."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from vipa.errors import ConfigurationError

T = TypeVar("T")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises:
        ConfigurationError: the file is missing, is no YAML, or holds no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"configuration {path}: no such file") from None
    except OSError as error:
        raise ConfigurationError(f"configuration {path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"configuration {path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"configuration {path}: expected a mapping of keys, found {type(content).__name__}")
    return typing.cast(dict[str, Any], content)


def from_mapping(cls: type[T], values: Any, where: str = "") -> T:
    """Build the dataclass ``cls`` from a mapping, nested dataclasses included.

    Args:
        cls: a dataclass; its field types may be dataclasses, scalars, ``X | None``, ``Literal``,
            ``tuple[X, ...]``, ``tuple[X, Y]`` and ``dict[str, X]``.
        values: the mapping as YAML gave it.
        where: the path of ``values`` in the file, for messages ("cameras.front").

    Raises:
        ConfigurationError: an unknown key, a missing key, or a value of the wrong type; the message names the key.
    """
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"{where or 'configuration'}: expected a mapping of keys, found {values!r}")
    mapping = typing.cast(Mapping[Any, Any], values)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    for key in mapping:
        if key not in fields:
            known = ", ".join(sorted(fields))
            name = str(key) if str(key).isprintable() else repr(key)
            raise ConfigurationError(f"unknown key {_join(where, name)}; known keys here: {known}")
    arguments: dict[str, Any] = {}
    for name, field in fields.items():
        if name in mapping:
            arguments[name] = _convert(hints[name], mapping[name], _join(where, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigurationError(f"missing key {_join(where, name)}")
    try:
        return cls(**arguments)
    except ValueError as error:  # a __post_init__ that checks ranges
        raise ConfigurationError(f"{where + ': ' if where else ''}{error}") from None


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return from_mapping(typing.cast(type[Any], hint), value, where)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise ConfigurationError(f"{where}: {value!r} is not one of {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        return _convert_tuple(arguments, value, where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigurationError(f"{where}: expected a mapping of keys, found {value!r}")
        items = typing.cast(Mapping[Any, Any], value).items()
        return {str(k): _convert(arguments[1], v, _join(where, str(k))) for k, v in items}
    return _convert_scalar(hint, value, where)


def _convert_union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    candidates = [a for a in arguments if a is not type(None)]
    for candidate in candidates[:-1]:
        try:
            return _convert(candidate, value, where)
        except ConfigurationError:
            continue
    return _convert(candidates[-1], value, where)


def _convert_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigurationError(f"{where}: expected a list, found {value!r}")
    items = typing.cast(list[Any], value)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_convert(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(items))
    if len(items) != len(arguments):
        raise ConfigurationError(f"{where}: expected {len(arguments)} values, found {len(items)}")
    return tuple(_convert(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(arguments, items, strict=True)))


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise ConfigurationError(f"{where}: expected {getattr(hint, '__name__', hint)}, found {value!r}")
