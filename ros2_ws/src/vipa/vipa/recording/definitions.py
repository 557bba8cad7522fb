"""Texts of ROS message types as MCAP keeps them (``ros2msg``), found where ROS 2 is installed."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from vipa.environment import ros_environment
from vipa.errors import ConfigurationError

SEPARATOR = "=" * 80
_PRIMITIVES = re.compile(r"bool|byte|char|float(32|64)|u?int(8|16|32|64)|w?string")
_FIELD = re.compile(r"^\s*(?P<type>[A-Za-z][\w/]*)(?P<bounds>(<=\d+)?(\[[^\]]*\])?)\s+\w+")


def load_definitions(types: Iterable[str], prefixes: Iterable[Path] | None = None) -> dict[str, str]:
    """The definition of each type, followed by those of the types that it uses.

    Args:
        types: such as "sensor_msgs/msg/Image".
        prefixes: installation prefixes whose ``share/<package>/msg`` is searched; None: those of ROS 2.

    Raises:
        ConfigurationError: a definition is not installed.
    """
    folders = tuple(_ament_prefixes() if prefixes is None else prefixes)
    return {name: _complete(name, folders) for name in sorted(set(types))}


def _ament_prefixes() -> list[Path]:
    paths = ros_environment().get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    return [Path(path) for path in paths if path]


def _complete(name: str, prefixes: tuple[Path, ...]) -> str:
    texts: dict[str, str] = {}
    waiting = [name]
    while waiting:
        current = waiting.pop(0)
        if current not in texts:
            texts[current] = _read(current, prefixes)
            waiting += _used_types(texts[current], current.partition("/")[0])
    parts = (f"{SEPARATOR}\nMSG: {used.replace('/msg/', '/')}\n{text}" for used, text in _others(texts, name))
    return "\n".join((texts[name], *parts))


def _others(texts: Mapping[str, str], name: str) -> list[tuple[str, str]]:
    return [(used, text) for used, text in texts.items() if used != name]


def _read(name: str, prefixes: tuple[Path, ...]) -> str:
    package, _, message = name.partition("/msg/")
    for prefix in prefixes:
        path = prefix / "share" / package / "msg" / f"{message}.msg"
        if path.is_file():
            return path.read_text(encoding="utf-8").strip("\n")
    raise ConfigurationError(f"message type {name}: its definition is not installed; run: make setup")


def _used_types(text: str, package: str) -> list[str]:
    used: list[str] = []
    for line in text.splitlines():
        match = _FIELD.match(line.partition("#")[0])
        if match is None or _PRIMITIVES.fullmatch(match["type"]):
            continue
        other, slash, message = match["type"].rpartition("/")
        used.append(f"{other.partition('/')[0] if slash else package}/msg/{message}")
    return list(dict.fromkeys(used))
