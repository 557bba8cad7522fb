"""How a training runs, whatever is trained; and how options on a command line change a configuration."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from vipa_inference.policy import PolicyError
from vipa_inference.registry import configure
from vipa_training.engine.errors import TrainingError

T = TypeVar("T")


@dataclass(frozen=True)
class EngineConfig:
    """How a training runs."""

    batch: int = 128  # samples of a step, of all processes together
    accumulation: int = 1  # parts in which a process computes its share of a batch
    precision: Literal["fp32", "bf16"] = "fp32"  # of matrix products; weights and optimiser are fp32
    ema: float = 0.0  # decay of the moving average of the weights that is saved; 0: without
    seed: int = 0  # of order, noise and augmentation
    workers: int = 2  # processes that read data, of each training process; 0: itself
    device: Literal["auto", "cpu", "cuda"] = "auto"
    log_every: int = 10  # steps
    save_every: int = 500  # steps

    def __post_init__(self) -> None:
        for name in ("batch", "accumulation", "log_every", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is less than 1")
        for name in ("seed", "workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: {getattr(self, name)} is negative")
        if not 0.0 <= self.ema < 1.0:
            raise ValueError(f"ema: {self.ema} is outside 0-1")
        if self.batch % self.accumulation:
            raise ValueError(f"accumulation: {self.accumulation} does not divide the batch, {self.batch}")


def overridden(config: T, pairs: Sequence[str], where: str) -> T:
    """A configuration with other values.

    Args:
        config: a dataclass, whose fields may be dataclasses.
        pairs: see ``merged``.
        where: begins the message of an error.

    Raises:
        TrainingError: see ``merged``; or a key is unknown, or a value of the wrong type or out of range.
    """
    options = merged(dataclasses.asdict(cast(Any, config)), pairs, where)
    try:
        return configure(type(config), options, where)
    except PolicyError as error:
        raise TrainingError(str(error)) from None


def merged(options: dict[str, Any], pairs: Sequence[str], where: str) -> dict[str, Any]:
    """Options with other values, each as "KEY=VALUE"; the mappings given are changed.

    Args:
        options: may hold mappings.
        pairs: KEY is a name, or "name.name" within a mapping; VALUE is JSON where it can be read as such, else text.
            A mapping as a whole can only be left out: "name=null".
        where: begins the message of an error.

    Raises:
        TrainingError: no "=", a key that is there twice or leads nowhere, or a value for a mapping as a whole.
    """
    seen: set[str] = set()
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator or not key:
            raise TrainingError(f"{where}: option {pair!r}: expected KEY=VALUE")
        if key in seen:
            raise TrainingError(f"{where}: option {key}: given twice")
        seen.add(key)
        *folders, name = key.split(".")
        place = options
        for folder in folders:
            if not isinstance(place.get(folder), dict):
                known = ", ".join(sorted(one for one, value in place.items() if isinstance(value, dict)))
                raise TrainingError(
                    f"{where}: option {key}: {folder} has no options; those that have: {known or 'none'}"
                )
            place = place[folder]
        value = _value(text)
        if isinstance(place.get(name), dict) and value is not None:
            raise TrainingError(
                f"{where}: option {key}: name one of {', '.join(f'{key}.{one}' for one in place[name])}"
            )
        place[name] = value
    return options


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=str)  # NaN and Infinity are no JSON
    except ValueError:
        return text
