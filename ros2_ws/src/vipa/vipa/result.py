"""The machine-readable result of a command: one shape for all of them."""

import json
import math
import numbers
import operator
import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vipa.errors import ConfigurationError

Bound = tuple[str, float]
OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    ">=": operator.ge,
    ">": operator.gt,
}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "system": platform.platform(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "python": platform.python_version(),
    }


@dataclass(frozen=True)
class Result:
    """Outcome of a command.

    Attributes:
        command: what was run, "bench loop".
        ok: what the command itself found; bounds are judged by ``check`` in addition.
        figures: measured numbers, units in their names ("latency_p99_ms").
        bounds: what a figure must satisfy: ("<=", 60.0).
        details: anything else that can be written as JSON.
        machine: what it was measured on.
    """

    command: str
    ok: bool = True
    figures: Mapping[str, float] = field(default_factory=dict[str, float])
    bounds: Mapping[str, Bound] = field(default_factory=dict[str, Bound])
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    machine: Mapping[str, Any] = field(default_factory=machine)

    def __post_init__(self) -> None:
        for name, (sign, _) in self.bounds.items():
            if sign not in OPERATORS:
                raise ValueError(f"bounds.{name}: {sign!r} is not one of {', '.join(OPERATORS)}")

    def check(self) -> tuple[str, ...]:
        """One line per bound that is broken; a figure that is missing or not a number breaks its bound."""
        broken: list[str] = []
        for name, (sign, limit) in self.bounds.items():
            value = self.figures.get(name)
            if value is None:
                broken.append(f"{name}: not measured, must be {sign} {limit:g}")
            elif not OPERATORS[sign](value, limit):
                broken.append(f"{name}: {value:g}, must be {sign} {limit:g}")
        return tuple(broken)

    @property
    def passed(self) -> bool:
        """True where the command was successful and every bound holds; the exit status is 0 only then."""
        return self.ok and not self.check()

    def write(self, target: Path | str) -> None:
        """Write as JSON to a file, whose folder is made, or to standard output where ``target`` is "-".

        ``ok`` is written as ``passed``; a figure that is not finite is written as null.
        """
        content = asdict(self) | {"ok": self.passed}
        text = json.dumps(_finite(content), indent=2, allow_nan=False) + "\n"
        if str(target) == "-":
            sys.stdout.write(text)
            return
        path = Path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".part")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)

    @classmethod
    def read(cls, path: Path) -> "Result":
        """Read what ``write`` wrote, or what a node measured: only ``figures`` is required.

        Raises:
            ConfigurationError: the file is missing or holds no result.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            figures = {str(n): math.nan if v is None else float(v) for n, v in content["figures"].items()}
            bounds = {str(n): (str(sign), float(limit)) for n, (sign, limit) in content.get("bounds", {}).items()}
            command, is_ok = str(content.get("command", path.stem)), bool(content.get("ok", True))
            return cls(command, is_ok, figures, bounds, content.get("details", {}), content.get("machine") or machine())
        except FileNotFoundError:
            raise ConfigurationError(
                f"result {path}: no such file; the command that writes it did not finish"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(f"result {path}: not the result of a command: {error}") from None

    def report(self) -> str:
        """The figures as lines for a person, each with its bound and whether it holds."""
        width = max((len(name) for name in (*self.figures, *self.bounds)), default=0)
        lines: list[str] = []
        broken = {line.partition(":")[0] for line in self.check()}
        for name in dict.fromkeys((*self.figures, *self.bounds)):
            value = f"{self.figures[name]:.6g}" if name in self.figures else "not measured"
            bound = ""
            if name in self.bounds:
                sign, limit = self.bounds[name]
                bound = f"  {'FAIL' if name in broken else 'ok  '}  (must be {sign} {limit:g})"
            lines.append(f"{name:<{width}}  {value:>12}{bound}")
        return "\n".join(lines)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}  # type: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]  # type: ignore[reportUnknownVariableType]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, numbers.Integral):  # of NumPy
        return int(value)
    return str(value)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
