"""What is wrong gives one clear line and no motion."""

from typing import Any

import numpy as np
import pytest
from end_to_end.cell import Cell, stop

pytestmark = pytest.mark.end_to_end


def assert_fault_without_motion(cell: Cell, message: str) -> None:
    process = cell.start("bringup")
    log = cell.wait_for_log("supervisor", message)
    line = next(entry for entry in log.splitlines() if message in entry)
    assert "cell FAULT" in line
    laboratory = cell.laboratory()
    first = np.array(laboratory.request("status")["joint_positions"])
    for _ in range(10):
        laboratory.request("judge")
    assert np.abs(np.array(laboratory.request("status")["joint_positions"]) - first).max() < 1e-3
    assert "cell READY" not in cell.log("supervisor")
    stop(process)


def test_a_wrong_serial_number(cell: Cell) -> None:
    def change(lab: dict[str, Any]) -> None:
        lab["cameras"]["front"]["device"]["serial"] = "f0123"
        lab["cameras"]["side"]["device"]["serial"] = "f0123"

    cell.edit(change)
    process = cell.start("bringup")
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "f0123" in output
    assert "two have the serial number f0123" in output


def test_a_wrong_address_of_the_hand(cell: Cell) -> None:
    wrong = f"{cell.host}:6001"
    laboratory_yaml = cell.yaml.read_text()
    cell.edit(lambda lab: lab["hand"].update(address=wrong))
    assert cell.yaml.read_text() != laboratory_yaml
    cell.edit(lambda lab: lab["hand"].update(model="RH56DFTP", unit_id=7))
    assert_fault_without_motion(cell, "hand ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lab: lab["arm"].update(adress="1.2.3.4"), "unknown key arm.adress"),
        (lambda lab: lab["arm"].pop("address"), "missing key arm.address"),
        (lambda lab: lab["hand"].update(speed="fast"), "hand.speed: expected float, found 'fast'"),
    ],
)
def test_a_wrong_yaml_is_refused_before_anything_starts(cell: Cell, change: Any, message: str) -> None:
    cell.edit(change)
    status, output, _ = cell.run("bringup", "--smoke", "5", seconds=60)
    assert status != 0
    assert message in output
    assert "Traceback" not in output
    assert not (cell.logs / "latest").exists() or "started" not in output


def test_an_unknown_task(cell: Cell) -> None:
    status, output, _ = cell.run("bringup", "--task", "fly", "--smoke", "5", seconds=60)
    assert status != 0
    assert "no such task; known: " in output


def test_an_unknown_policy(cell: Cell) -> None:
    process = cell.start("bringup", "--policy", "dream")
    log = cell.wait_for_log("supervisor", "dream")
    assert "cell FAULT" in next(entry for entry in log.splitlines() if "dream" in entry)
    stop(process)
