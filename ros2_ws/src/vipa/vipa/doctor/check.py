"""One finding of the doctor."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """What was examined, what was found, and what to do about it.

    ``fail``: the stack cannot work; ``warn``: it works, but worse than it could.
    """

    name: str
    status: Status
    finding: str
    cure: str = ""

    def line(self) -> str:
        """For a person."""
        cure = f"  ->  {self.cure}" if self.cure else ""
        return f"{self.status:<4}  {self.name:<18}  {self.finding}{cure}"


def passed(name: str, finding: str) -> Check:
    """Nothing to do."""
    return Check(name, "ok", finding)


def warned(name: str, finding: str, cure: str) -> Check:
    """It works, but worse than it could."""
    return Check(name, "warn", finding, cure)


def failed(name: str, finding: str, cure: str) -> Check:
    """The stack cannot work so."""
    return Check(name, "fail", finding, cure)
