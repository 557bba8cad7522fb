"""Policies by name."""

import dataclasses
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from vipa_inference.policy import Policy, PolicyError

T = TypeVar("T")


def make_policy(name: str, **options: Any) -> Policy:
    """Build a policy.

    Args:
        name: one of ``POLICIES``.
        options: fields of the policy's configuration; a nested configuration as a mapping or as the dataclass itself.

    Raises:
        PolicyError: an unknown name or option, or an option out of range; the message lists the known ones.
    """
    if name not in POLICIES:
        raise PolicyError(f"unknown policy {name!r}; known: {', '.join(sorted(POLICIES))}")
    return POLICIES[name](options)


def _wave(options: Mapping[str, Any]) -> Policy:
    from vipa_inference.scripted import WaveConfig, WavePolicy

    return WavePolicy(configure(WaveConfig, options, "policy wave"))


def _reach(options: Mapping[str, Any]) -> Policy:
    from vipa_inference.scripted import ReachConfig, ReachPolicy

    return ReachPolicy(configure(ReachConfig, options, "policy reach"))


def _scripted(options: Mapping[str, Any]) -> Policy:
    from vipa_inference.scripted import ScriptedConfig, ScriptedPolicy

    return ScriptedPolicy(configure(ScriptedConfig, options, "policy scripted"))


def _vipa(options: Mapping[str, Any]) -> Policy:
    try:
        from vipa_inference.vipa_policy import VipaPolicy, VipaPolicyConfig
    except ModuleNotFoundError as error:
        raise PolicyError(
            f"policy vipa: the package {error.name} is not installed here. Install it with: pip install '.[train]', "
            "or run the policy on another machine with: vipa serve"
        ) from None
    policy = VipaPolicy(configure(VipaPolicyConfig, options, "policy vipa"))
    policy.warm_up()
    return policy


def _remote(options: Mapping[str, Any]) -> Policy:
    try:
        from vipa_inference.serving.client import RemoteConfig, RemotePolicy
    except ModuleNotFoundError as error:
        raise PolicyError(
            f"policy remote: the package {error.name} is not installed here. Install it with: pip install '.[serve]'"
        ) from None
    return RemotePolicy(configure(RemoteConfig, options, "policy remote"))


POLICIES: dict[str, Callable[[Mapping[str, Any]], Policy]] = {
    "wave": _wave,
    "reach": _reach,
    "scripted": _scripted,
    "vipa": _vipa,
    "remote": _remote,
}
"""Factories; each imports its policy when it is called, so that a light policy never loads a heavy one's libraries."""


def configure(cls: type[T], options: Mapping[str, Any], where: str) -> T:
    """Build the configuration dataclass ``cls`` from options; mappings fill nested dataclasses, lists become tuples.

    Raises:
        PolicyError: an unknown option, or one of the wrong type or out of range; the message names it.
    """
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in options:
        if key not in known:
            raise PolicyError(f"{where}: unknown option {key}; known: {', '.join(sorted(known))}")
    values = {key: _convert(hints[key], value, f"{where}: {key}") for key, value in options.items()}
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise PolicyError(f"{where}: {error}") from None


def _convert(hint: Any, value: Any, where: str) -> Any:
    arguments = typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return configure(typing.cast(type[Any], hint), typing.cast(Mapping[str, Any], value), where)
    if typing.get_origin(hint) is typing.Literal and value in arguments:
        return value
    if typing.get_origin(hint) is tuple and isinstance(value, list | tuple):
        items = typing.cast(list[Any], value)
        each = [arguments[0]] * len(items) if arguments[-1] is Ellipsis else list(arguments)
        if len(items) == len(each):
            return tuple(_convert(h, v, f"{where}[{i}]") for i, (h, v) in enumerate(zip(each, items, strict=True)))
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    expected = hint.__name__ if isinstance(hint, type) else str(hint).removeprefix("typing.")
    raise PolicyError(f"{where}: expected {expected}, found {value!r}")
