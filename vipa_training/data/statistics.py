"""Statistics of a dataset in LeRobot's form, and those of the model in VIPA's.

Pictures are counted by their values: the histogram of a thinned-out sample says all there is to know.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vipa_training.data.video import Image

Array = NDArray[np.float64]
Stats = dict[str, dict[str, Array]]
QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
SAMPLED_ROWS = 10  # every tenth picture is counted, from the first on
SAMPLED_PIXELS = 4  # and of it every fourth pixel of every fourth row


def vector_statistics(values: ArrayLike) -> dict[str, Array]:
    """Statistics of values (N, D) or (N,), each (D,) or (1,), and ``count`` (1,).

    Raises:
        ValueError: there are none.
    """
    rows = np.asarray(values, dtype=np.float64)
    rows = rows.reshape(len(rows), -1)
    if not rows.size:
        raise ValueError("no values")
    found = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    quantiles = np.quantile(rows, list(QUANTILES.values()), axis=0)
    return {**found, "count": np.array([len(rows)]), **dict(zip(QUANTILES, quantiles, strict=True))}


class PictureStatistics:
    """Counts the values of pictures."""

    def __init__(self) -> None:
        self._pictures = self._seen = 0
        self._histograms = np.zeros((3, 256), dtype=np.int64)

    def add(self, image: Image) -> None:
        """Count a picture (height, width, 3) if it is its turn."""
        if self._seen % SAMPLED_ROWS == 0:
            sample = image[::SAMPLED_PIXELS, ::SAMPLED_PIXELS].reshape(-1, 3)
            for channel in range(3):
                self._histograms[channel] += np.bincount(sample[:, channel], minlength=256)
            self._pictures += 1
        self._seen += 1

    def statistics(self) -> dict[str, Array]:
        """Statistics of the values / 255, each (3, 1, 1); ``count`` (1,) is the number of pictures counted.

        Raises:
            ValueError: no picture was counted.
        """
        if not self._pictures:
            raise ValueError("no pictures")
        values, weights = np.arange(256) / 255.0, self._histograms / self._histograms.sum(1, keepdims=True)
        mean = weights @ values
        std = np.sqrt(np.maximum(weights @ values**2 - mean**2, 0.0))
        present = [values[counts > 0] for counts in self._histograms]
        cumulated = np.cumsum(weights, axis=1)
        found = {"min": [v[0] for v in present], "max": [v[-1] for v in present], "mean": mean, "std": std}
        for name, share in QUANTILES.items():
            found[name] = [values[np.searchsorted(row, share - 1e-12)] for row in cumulated]
        shaped = {name: np.asarray(value, dtype=np.float64).reshape(3, 1, 1) for name, value in found.items()}
        return {**shaped, "count": np.array([self._pictures])}


def pooled(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Statistics of several sets together; quantiles, which cannot be pooled exactly, are averaged as LeRobot does.

    Raises:
        ValueError: there are none.
    """
    if not parts:
        raise ValueError("no statistics")
    counts = np.array([float(part["count"][0]) for part in parts])
    shares = (counts / counts.sum()).reshape(-1, *[1] * np.ndim(parts[0]["mean"]))
    mean = sum(share * part["mean"] for share, part in zip(shares, parts, strict=True))
    second = sum(share * (part["std"] ** 2 + part["mean"] ** 2) for share, part in zip(shares, parts, strict=True))
    found: dict[str, Any] = {
        "min": np.minimum.reduce([part["min"] for part in parts]),
        "max": np.maximum.reduce([part["max"] for part in parts]),
        "mean": mean,
        "std": np.sqrt(np.maximum(np.asarray(second - np.square(mean)), 0.0)),
        "count": np.array([round(counts.sum())]),
    }
    for name in QUANTILES:
        found[name] = sum(share * part[name] for share, part in zip(shares, parts, strict=True))
    return found


def as_lists(statistics: Mapping[str, Mapping[str, Array]]) -> dict[str, dict[str, Any]]:
    """As JSON."""
    return {key: {name: value.tolist() for name, value in part.items()} for key, part in statistics.items()}


def as_arrays(content: Mapping[str, Any]) -> Stats:
    """The inverse of ``as_lists``.

    Raises:
        ValueError: it is no mapping of mappings of numbers.
    """
    try:
        return {
            key: {name: np.asarray(value, dtype=np.float64) for name, value in cast(Mapping[str, Any], part).items()}
            for key, part in content.items()
        }
    except (AttributeError, TypeError) as error:
        raise ValueError(f"no statistics: {error}") from None
