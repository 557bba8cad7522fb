"""Statistics of proprioception and actions, how numbers are normalised with them, and the hash that identifies them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vipa_inference.policy import PolicyError

MIN_SPREAD = 1e-4
"""m, rad or strokes: a dimension that varies less is constant, its variation is noise."""


@dataclass(frozen=True)
class Normaliser:
    """Numbers to values around zero, of a spread of about one, and back; a scale of 0 marks a constant dimension.

    A constant dimension tells the model nothing, so it becomes 0; whatever the model answers becomes the constant.
    """

    centre: NDArray[np.float64]  # (D,)
    scale: NDArray[np.float64]  # (D,)

    def normalise(self, values: ArrayLike) -> NDArray[np.float32]:
        """Normalised values (..., D) of values (..., D) in SI units."""
        inverse = np.divide(1.0, self.scale, out=np.zeros_like(self.scale), where=self.scale > 0.0)
        return ((np.asarray(values, dtype=np.float64) - self.centre) * inverse).astype(np.float32)

    def unnormalise(self, normalised: ArrayLike) -> NDArray[np.float64]:
        """Values (..., D) in SI units of normalised values (..., D)."""
        return self.centre + np.asarray(normalised, dtype=np.float64) * self.scale


@dataclass(frozen=True)
class VectorStatistics:
    """Statistics of a vector, per dimension, in SI units."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    q01: tuple[float, ...]  # quantiles at 1 %
    q99: tuple[float, ...]  # and at 99 %

    def __post_init__(self) -> None:
        lengths = {item.name: len(getattr(self, item.name)) for item in fields(self)}
        if len(set(lengths.values())) > 1 or not self.mean:
            raise ValueError(f"lengths differ or are 0: {lengths}")
        for item in fields(self):
            if not np.all(np.isfinite(getattr(self, item.name))):
                raise ValueError(f"{item.name}: a number is not finite")
        if min(self.std) < 0.0:
            raise ValueError("std: a standard deviation is negative")
        if any(low > high for low, high in zip(self.q01, self.q99, strict=True)):
            raise ValueError("q01: a quantile at 1 % is above that at 99 %")

    @property
    def dimension(self) -> int:
        """D, length of the vector."""
        return len(self.mean)

    @classmethod
    def fit(cls, values: ArrayLike) -> "VectorStatistics":
        """Statistics over all but the last axis of values (..., D).

        Raises:
            ValueError: there are no values, or one is not finite.
        """
        rows = np.asarray(values, dtype=np.float64)
        rows = rows.reshape(-1, rows.shape[-1]) if rows.ndim > 1 else np.zeros((0, 1))
        if not rows.size:
            raise ValueError(f"values of shape {np.shape(values)}, expected at least one row (..., D)")
        if not np.all(np.isfinite(rows)):
            raise ValueError("a value is not finite")
        q01, q99 = np.quantile(rows, [0.01, 0.99], axis=0)
        return cls(*(tuple(column.tolist()) for column in (rows.mean(axis=0), rows.std(axis=0), q01, q99)))

    def normaliser(self, kind: Literal["mean_std", "quantile"]) -> Normaliser:
        """To mean 0 and standard deviation 1, or the quantiles to -1 and 1.

        A dimension whose quantiles coincide though it varies (it moves in less than 1 % of the rows) is scaled by mean
        and standard deviation in both kinds.
        """
        mean, std, q01, q99 = (np.array(getattr(self, item.name)) for item in fields(self))
        varies = std >= MIN_SPREAD
        centre, scale = mean, np.where(varies, std, 0.0)
        if kind == "quantile":
            half = (q99 - q01) / 2.0
            spread = varies & (half >= MIN_SPREAD)
            centre, scale = np.where(spread, (q01 + q99) / 2.0, centre), np.where(spread, half, scale)
        return Normaliser(centre, scale)


@dataclass(frozen=True)
class Statistics:
    """Statistics of what goes into the action head and comes out of it; the layout is that of ``processing``."""

    proprioception: VectorStatistics
    action: VectorStatistics  # over all steps of all chunks

    @property
    def hash(self) -> str:
        """SHA-256, in hexadecimal digits."""
        return statistics_hash(self.to_mapping())

    @classmethod
    def fit(cls, proprioception: ArrayLike, actions: ArrayLike) -> "Statistics":
        """Statistics of proprioception (..., P) and actions (..., A), both in SI units.

        Raises:
            PolicyError: there are no values, or one is not finite.
        """
        found: dict[str, VectorStatistics] = {}
        for name, values in (("proprioception", proprioception), ("action", actions)):
            try:
                found[name] = VectorStatistics.fit(values)
            except ValueError as error:
                raise PolicyError(f"statistics of {name}: {error}. Check the recordings") from None
        return cls(**found)

    def to_mapping(self) -> dict[str, dict[str, list[float]]]:
        """As JSON; ``from_mapping`` reads exactly the same numbers."""
        return {
            part.name: {
                item.name: list(getattr(getattr(self, part.name), item.name)) for item in fields(VectorStatistics)
            }
            for part in fields(self)
        }

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], where: str = "statistics") -> "Statistics":
        """From JSON.

        Raises:
            PolicyError: a key is missing or unknown, or a value is no list of numbers or out of range; the message
                begins with ``where``.
        """
        parts = _exactly(mapping, [part.name for part in fields(cls)], where)
        read: dict[str, VectorStatistics] = {}
        for name, part in parts.items():
            items = _exactly(part, [item.name for item in fields(VectorStatistics)], f"{where}: {name}")
            numbers = {key: _numbers(value, f"{where}: {name}: {key}") for key, value in items.items()}
            try:
                read[name] = VectorStatistics(**numbers)
            except ValueError as error:
                raise PolicyError(f"{where}: {name}: {error}") from None
        return cls(**read)


def statistics_hash(statistics: Mapping[str, Any]) -> str:
    """SHA-256 of statistics, in hexadecimal digits; the order of keys does not matter.

    Raises:
        PolicyError: the statistics are no JSON or hold a number that is not finite.
    """
    try:
        text = json.dumps(statistics, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise PolicyError(f"statistics: cannot be written as JSON: {error}") from None
    return hashlib.sha256(text.encode()).hexdigest()


def _exactly(value: Any, keys: list[str], where: str) -> dict[str, Any]:
    """A mapping with these keys, no more and no fewer."""
    found = dict(cast(Mapping[str, Any], value)) if isinstance(value, Mapping) else None
    if found is None or set(found) != set(keys):
        present = type(value).__name__ if found is None else ", ".join(map(str, found)) or "nothing"
        raise PolicyError(f"{where}: expected {', '.join(keys)}; found {present}")
    return {key: found[key] for key in keys}


def _numbers(value: Any, where: str) -> tuple[float, ...]:
    items = cast(list[Any], value) if isinstance(value, list) else []
    if not items or any(isinstance(item, bool) or not isinstance(item, int | float) for item in items):
        raise PolicyError(f"{where}: expected a list of numbers, found {str(cast(object, value))[:60]}")
    return tuple(float(item) for item in items)
