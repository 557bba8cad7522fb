"""Laboratories that are like another, but for some limits of their controller or the wire of their hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from vipa.config import read_yaml
from vipa.lab import lab_path, load_lab

Changes = Mapping[str, Mapping[str, Any]]

QUICK: Changes = {
    "control": {"inference_period": 0.0, "observation_age_limit": 0.12, "gate": {"velocity_fraction": 0.35}}
}
"""A chunk for every frame, 30 a second, a stop where the newest is from three frames ago, and an arm that is slow
enough: the faster it moves, the longer is the way to rest."""
SLOW: Changes = {"control": {"gate": {"chunk_age_limit_s": 0.6}, "observation_age_limit": 1.2}}
"""Chunks are still taken where the way to the policy and back takes 0.3 s."""
SERIAL: Changes = {"hand": {"link": "rtu", "serial_port": "hand"}}
"""The hand is on a serial line."""


def write_variant(lab: str, changes: Changes, folder: Path) -> Path:
    """Write the YAML of a laboratory that is like another, but for some keys; its path.

    A serial port of the changes is a name in the folder.

    Raises:
        ConfigurationError: there is no such laboratory, or it cannot be used.
    """
    content = _merged(read_yaml(lab_path(lab)), changes)
    usual = load_lab(lab)
    if references := usual.calibration.references:
        content["calibration"]["references"] = {name: str(file.resolve()) for name, file in references.items()}
    if (ranges := usual.hand.calibration) is not None:
        content["hand"]["calibration"] = str(ranges.resolve())
    if "serial_port" in changes.get("hand", {}):
        content["hand"]["serial_port"] = str((folder / changes["hand"]["serial_port"]).resolve())
    path = folder / "lab.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    load_lab(str(path))
    return path


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    inner = {
        name: _merged(values.get(name, {}), change) for name, change in changes.items() if isinstance(change, dict)
    }
    return {**values, **changes, **inner}
