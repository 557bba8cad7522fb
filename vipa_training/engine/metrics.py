"""Figures of a training: a line of JSON every few steps, and a page that draws them."""

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from vipa_training.engine.errors import TrainingError

FILE, PAGE = "metrics.jsonl", "metrics.html"
WIDTH, HEIGHT = 860, 200
Record = dict[str, float]
_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Training</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; background: #fff; max-width: 60rem; margin: 2rem auto }
svg { width: 100%; font-size: 12px; margin: .8rem 0 } polyline { fill: none; stroke: #2980b9; stroke-width: 1.2 }
rect { fill: none; stroke: #d9dee4 }
</style>
</head>
<body>
"""


class Metrics:
    """The figures of a training, one record each few steps.

    Args:
        folder: of the training.
        steps_done: records of later steps, which a training that was cut off wrote, are removed.

    Raises:
        TrainingError: the file cannot be read or written.
    """

    def __init__(self, folder: Path, steps_done: int) -> None:
        self._path, self._page = folder / FILE, folder / PAGE
        try:
            self.records = [record for record in read_metrics(folder) if record["step"] <= steps_done]
            partial = self._path.with_name(f"{FILE}.partial")
            partial.write_text("".join(json.dumps(record) + "\n" for record in self.records), encoding="utf-8")
            partial.replace(self._path)
        except OSError as error:
            raise self._unwritable(error) from None

    def add(self, record: Record) -> None:
        """Write a record.

        Raises:
            TrainingError: the file cannot be written.
        """
        self.records.append(record)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise self._unwritable(error) from None

    def draw(self, title: str) -> None:
        """Write the page.

        Raises:
            TrainingError: it cannot be written.
        """
        try:
            self._page.write_text(metrics_page(title, self.records), encoding="utf-8")
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> TrainingError:
        return TrainingError(f"{self._path}: cannot be written: {error.strerror or error}")


def read_metrics(folder: Path) -> list[Record]:
    """The records of a training, but for a last one that was cut off.

    Raises:
        OSError: the file cannot be read.
    """
    records: list[Record] = []
    path = folder / FILE
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            records.append({str(key): float(value) for key, value in json.loads(line).items()})
        except (ValueError, AttributeError, TypeError):
            break
    return records


def metrics_page(title: str, records: Sequence[Mapping[str, float]]) -> str:
    """A page with a curve of each figure over the steps; it needs nothing else."""
    parts = [_HEAD, f"<h1>{escape(title)}</h1>\n"]
    for name in dict.fromkeys(name for record in records for name in record if name != "step"):
        points = [(r["step"], r[name]) for r in records if name in r and math.isfinite(r[name])]
        if points:
            parts.append(_curve(name, points, logarithmic=name == "loss"))
    return "".join([*parts, "</body>\n</html>\n"])


def _curve(name: str, points: Sequence[tuple[float, float]], logarithmic: bool) -> str:
    logarithmic = logarithmic and min(value for _, value in points) > 0.0
    steps = [step for step, _ in points]
    values = [math.log(value) if logarithmic else value for _, value in points]
    low, span = min(values), max(max(values) - min(values), 1e-12)
    first, length = min(steps), max(max(steps) - min(steps), 1.0)
    line = " ".join(
        f"{WIDTH * (step - first) / length:.1f},{HEIGHT * (1.0 - (value - low) / span):.1f}"
        for step, value in zip(steps, values, strict=True)
    )
    shown = [value for _, value in points]
    scale = ", logarithmic" if logarithmic else ""
    text = f"{name}{scale}: {min(shown):.4g} to {max(shown):.4g}, last {shown[-1]:.4g} at step {steps[-1]:.0f}"
    return (
        f'<svg viewBox="-2 -20 {WIDTH + 4} {HEIGHT + 24}" role="img" aria-label="{escape(name)}">\n'
        f'<text x="0" y="-6">{escape(text)}</text>\n<rect width="{WIDTH}" height="{HEIGHT}"/>\n'
        f'<polyline points="{line}"/>\n</svg>\n'
    )
