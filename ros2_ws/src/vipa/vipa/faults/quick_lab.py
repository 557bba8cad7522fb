"""A laboratory that is like another, but stops as soon as a quick policy misses three frames."""

from pathlib import Path

import yaml

from vipa.config import read_yaml
from vipa.lab import lab_path, load_lab

QUICK = {"inference_period": 0.0, "observation_age_limit": 0.12}
"""Of ``control``: a chunk for every frame, 30 a second, and a stop where the newest is from three frames ago."""


def write_quick_lab(lab: str, folder: Path) -> Path:
    """Write the YAML of a laboratory that is like another, but stops sooner; its path.

    Raises:
        ConfigurationError: there is no such laboratory, or it cannot be used.
    """
    content = read_yaml(lab_path(lab))
    content["control"] = {**content.get("control", {}), **QUICK}
    references = load_lab(lab).calibration.references
    if references:
        content["calibration"]["references"] = {name: str(file.resolve()) for name, file in references.items()}
    if (ranges := load_lab(lab).hand.calibration) is not None:
        content["hand"]["calibration"] = str(ranges.resolve())
    path = folder / "quick.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    load_lab(str(path))
    return path
