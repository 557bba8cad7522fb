"""Plots as inline SVG: rates with intervals, evidence over pairs, bars, times. Lengths are pixels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from vipa.trials.report import Rate
from vipa.trials.sequential import SequentialTest

_WIDTH, _LEFT, _RIGHT, _ROW = 640, 230, 30, 26
_LONGEST_NAME = 32  # characters that fit to the left of a plot
_INK, _GRID, _MARK, _PAPER = "#1f2933", "#d9dee4", "#1769aa", "#c2571a"
_COLOURS = ("#1769aa", "#c2571a")


@dataclass(frozen=True)
class RateRow:
    """One line of a plot of rates."""

    name: str
    rate: Rate
    is_reference: bool = False  # from the paper


def rates_plot(rows: Sequence[RateRow]) -> str:
    """Rates from 0 to 100 % with their intervals, one below the other."""
    height = _ROW * len(rows) + 34
    parts = _percent_axis(height)
    for index, row in enumerate(rows):
        y, colour = _ROW * index + 18, _PAPER if row.is_reference else _MARK
        x, low, high = (_x(value) for value in (row.rate.value, row.rate.low, row.rate.high))
        parts += [
            _name(y + 4, row.name),
            _line(low, y, high, y, colour, 2),
            _line(low, y - 4, low, y + 4, colour, 2),
            _line(high, y - 4, high, y + 4, colour, 2),
            _dot(x, y, colour, f"{row.name}: {row.rate}"),
        ]
    return _svg(height, parts, "success rates with 95 % intervals")


def bars_plot(counts: Mapping[str, int], title: str) -> str:
    """Counts by name as bars."""
    largest = max(counts.values(), default=0) or 1
    parts: list[str] = []
    for index, (name, count) in enumerate(counts.items()):
        y = _ROW * index + 6
        width = (_WIDTH - _LEFT - _RIGHT - 30) * count / largest
        parts += [
            _name(y + 14, name),
            f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_ROW - 8}" fill="{_MARK}"/>',
            _text(_LEFT + width + 6, y + 14, str(count)),
        ]
    return _svg(_ROW * len(counts) + 12, parts, title)


def times_plot(times: Mapping[str, Sequence[float]]) -> str:
    """Times to success, s: one dot a trial, one line a policy."""
    longest = _nice(max((max(values) for values in times.values() if values), default=1.0))
    height = _ROW * len(times) + 34
    parts: list[str] = []
    for step in range(5):
        x = _x(step / 4)
        parts += [_line(x, 6, x, height - 22, _GRID), _text(x, height - 6, f"{longest * step / 4:g} s", "middle")]
    for index, (name, values) in enumerate(times.items()):
        y = _ROW * index + 18
        parts.append(_name(y + 4, name))
        parts += [_dot(_x(value / longest), y, _MARK, f"{name}: {value:.1f} s") for value in values]
    return _svg(height, parts, "times to success")


def evidence_plot(test: SequentialTest, greater: str, less: str) -> str:
    """Evidence for either direction over observations, on a logarithmic axis, and the bound at which it decides."""
    height, top, bottom = 256, 50, 226
    bound = test.config.bound
    low = min((min(pair) for pair in test.path), default=0.0)
    high = max([bound * 1.15, *(max(pair) for pair in test.path)])
    count = max(test.config.planned, test.observations, 1)

    def at(index: int, value: float) -> tuple[float, float]:
        return _x(index / count), bottom - (bottom - top) * (value - low) / (high - low)

    def level(value: float, name: str, colour: str) -> list[str]:
        _, y = at(0, value)
        return [_line(_x(0), y, _x(1), y, colour), _name(y + 4, name)]

    parts = level(bound, f"decides at {math.exp(bound):.0f}", _INK) + level(0.0, "no evidence: 1", _GRID)
    for direction, (name, colour) in enumerate(zip((greater, less), _COLOURS, strict=True)):
        points = [at(0, 0.0), *(at(i, pair[direction]) for i, pair in enumerate(test.path, 1))]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(_LEFT, 16 + 18 * direction, name, colour=colour))
    for observations in dict.fromkeys((0, count // 2, count)):
        parts.append(_text(_x(observations / count), height - 8, str(observations), "middle"))
    return _svg(height, parts, f"evidence: {greater}; {less}")


def _percent_axis(height: int) -> list[str]:
    parts: list[str] = []
    for percent in range(0, 101, 20):
        x = _x(percent / 100)
        parts += [_line(x, 6, x, height - 22, _GRID), _text(x, height - 6, f"{percent} %", "middle")]
    return parts


def _x(share: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * share


def _nice(value: float) -> float:
    """The next larger of 1, 2, 4, 10 times a power of ten."""
    scale = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next((step * scale for step in (1, 2, 4, 10) if step * scale >= value), 10 * scale)


def _svg(height: int, parts: Sequence[str], title: str) -> str:
    head = f'<svg viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" role="img">'
    return f"{head}<title>{escape(title)}</title>{''.join(parts)}</svg>"


def _name(y: float, name: str) -> str:
    """To the left of the plot; the end of a long name is cut off."""
    shown = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
    return _text(_LEFT - 10, y, shown, "end")


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = _INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: int = 1) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def _dot(x: float, y: float, colour: str, title: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{escape(title)}</title></circle>'
