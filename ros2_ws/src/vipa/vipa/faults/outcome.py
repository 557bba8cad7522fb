"""What an injected fault led to."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vipa.result import Bound, Result


@dataclass(frozen=True)
class Outcome:
    """What was measured when one kind of fault was injected.

    Attributes:
        name: of the fault, "camera_dropout".
        injected: how often.
        figures: measured numbers, units in their names ("rest_max_ms").
        bounds: what a figure must satisfy: ("<=", 300.0).
        details: anything else that can be written as JSON, such as each single measurement.
    """

    name: str
    injected: int
    figures: Mapping[str, float]
    bounds: Mapping[str, Bound] = field(default_factory=dict[str, Bound])
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def broken(self) -> tuple[str, ...]:
        """One line per bound that does not hold; a fault that was never injected breaks every promise."""
        lines = Result(self.name, figures=self.figures, bounds=self.bounds).check()
        return lines if self.injected > 0 else ("never injected", *lines)

    @property
    def holds(self) -> bool:
        """Whether it was injected and every bound holds."""
        return not self.broken

    def line(self) -> str:
        """The outcome in one line, for a person."""
        figures = ", ".join(f"{name} {value:.4g}" for name, value in self.figures.items())
        return f"{'ok  ' if self.holds else 'FAIL'} {self.name} ({self.injected} times): {figures}" + "".join(
            f"; {line}" for line in self.broken
        )

    def as_mapping(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any]) -> "Outcome":
        """What ``as_mapping`` gave, by way of JSON."""
        bounds = {str(name): (str(sign), float(limit)) for name, (sign, limit) in content["bounds"].items()}
        figures = {name: float("nan") if value is None else float(value) for name, value in content["figures"].items()}
        return cls(str(content["name"]), int(content["injected"]), figures, bounds, content["details"])
