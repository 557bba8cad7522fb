"""Options of a policy as text: KEY=VALUE on a command line, JSON or a file's path in a parameter."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from vipa.config import read_yaml
from vipa.errors import ConfigurationError


def options_from_pairs(pairs: Sequence[str]) -> dict[str, Any]:
    """The options in "KEY=VALUE", VALUE being JSON where it can be read as such, else text.

    Raises:
        ConfigurationError: no "=", no key, or a key twice.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key.isidentifier():
            raise ConfigurationError(f"policy option {pair!r}: expected KEY=VALUE")
        if key in options:
            raise ConfigurationError(f"policy option {key}: given twice")
        options[key] = _value(value)
    return options


def read_policy_options(text: str) -> dict[str, Any]:
    """The options in a JSON object, or in the YAML or JSON file of that name; nothing: none.

    Raises:
        ConfigurationError: neither can be read, or it holds no mapping.
    """
    if not text.strip():
        return {}
    if not text.lstrip().startswith("{"):
        return read_yaml(Path(text).expanduser())
    try:
        return cast(dict[str, Any], json.loads(text))
    except ValueError as error:
        raise ConfigurationError(f"policy_options: no valid JSON: {error}") from None


def policy_options_text(options: dict[str, Any]) -> str:
    """What ``read_policy_options`` reads; no options are empty text."""
    return json.dumps(options) if options else ""


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=str)  # NaN and Infinity are no JSON
    except ValueError:
        return text
