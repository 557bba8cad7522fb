"""Examines an installation, the machine and the devices of a laboratory: each finding with its cure."""

from vipa.doctor import devices, machine, software, workstation
from vipa.doctor.check import Check, failed
from vipa.errors import ConfigurationError
from vipa.lab import load_lab


def examine(lab_name: str) -> list[Check]:
    """All checks for a laboratory, a shipped one or the path of a YAML file; nothing is changed or moved."""
    checks = software.examine()
    try:
        lab = load_lab(lab_name)
    except ConfigurationError as error:
        return [*checks, failed("laboratory", str(error), "correct the YAML file, or choose another one with --lab")]
    checks += machine.examine(needs_real_time=not lab.simulated)
    return [*checks, *devices.examine(lab, lab_name), *workstation.examine(lab.workstation)]
