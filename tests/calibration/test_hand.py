"""The ranges of a hand, found over genuine Modbus on a simulated one whose fingers stop where theirs do."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from calibration.hand import RangeSearch, find_ranges
from vipa import cli
from vipa.errors import ConfigurationError, HardwareError
from vipa.hardware.inspire_config import InspireHandConfig
from vipa.hardware.inspire_hand import InspireHand
from vipa.hardware.inspire_models import HAND_MODELS
from vipa.hardware.inspire_ranges import HandRanges, load_ranges
from vipa.hashed_yaml import save
from vipa.lab import LAB_FOLDER
from vipa_sim.hand_firmware import HandFirmware
from vipa_sim.hand_server import HandServer

CLOSED = np.array([0.04, 0.0, 0.02, 0.08, 0.1, 0.05])  # where the fingers' own stops are, of the model's range
OPEN = np.array([0.97, 0.99, 1.0, 0.95, 0.98, 0.9])
STIFFNESS = 200.0  # N per range
FASTER = 6.0  # simulated time

pytestmark = pytest.mark.protocol


class Fingers(threading.Thread):
    """Fingers with stops; the time of the firmware runs faster than the wall's."""

    def __init__(self, firmware: HandFirmware) -> None:
        super().__init__(daemon=True)
        self.firmware, self.closed, self.ended = firmware, CLOSED.copy(), threading.Event()

    def run(self) -> None:
        positions, forces, begin = np.clip(np.ones(6), self.closed, OPEN), np.zeros(6), time.monotonic()
        while not self.ended.is_set():
            setpoints = self.firmware.step(FASTER * (time.monotonic() - begin), positions, forces)
            positions = np.clip(setpoints, self.closed, OPEN)
            forces = np.maximum(STIFFNESS * (positions - setpoints), 0.0)
            time.sleep(0.002)


@pytest.fixture
def fingers() -> Iterator[Fingers]:
    made = Fingers(HandFirmware())
    made.start()
    yield made
    made.ended.set()
    made.join()


@pytest.fixture
def server(fingers: Fingers) -> Iterator[HandServer]:
    with HandServer(fingers.firmware, port=0) as made:
        yield made


def test_the_ranges_are_found_written_and_used(server: HandServer, tmp_path: Path) -> None:
    lab = yaml.safe_load((LAB_FOLDER / "example_real.yaml").read_text())
    lab["hand"]["address"] = server.address
    (tmp_path / "lab.yaml").write_text(yaml.safe_dump(lab))
    arguments = ["calibrate", "hand", "--lab", str(tmp_path / "lab.yaml"), "--out", str(tmp_path), "--speed", "1"]
    assert cli.main(arguments) == 1  # nobody said yes
    assert cli.main([*arguments, "--yes"]) == 0
    ranges = load_ranges(tmp_path / "hand.yaml", "RH56DFTP")
    np.testing.assert_allclose(ranges.closed, 1000 * CLOSED, atol=10)
    np.testing.assert_allclose(ranges.open, 1000 * OPEN, atol=10)
    hand = InspireHand(InspireHandConfig(address=server.address, calibration=tmp_path / "hand.yaml"))
    hand.connect()
    np.testing.assert_allclose(hand.read().positions, 1.0, atol=0.02)  # it was left open
    np.testing.assert_allclose(hand.command(np.full(6, 0.5)), 0.5, atol=1e-3)
    half = np.rint(0.5 * (np.array(ranges.closed) + np.array(ranges.open)))
    assert server.firmware.read_registers(HAND_MODELS["RH56DFTP"].registers.angle_set, 6) == half.tolist()
    hand.close()


def test_a_finger_in_whose_way_something_is_is_named(fingers: Fingers, server: HandServer) -> None:
    fingers.closed[2] = 0.5
    hand = InspireHand(InspireHandConfig(address=server.address))
    hand.connect()
    said: list[str] = []
    with pytest.raises(ValueError, match=r"middle: moves over 50 % of the model's range, 70 to 120 % are right"):
        find_ranges(hand, said.append, RangeSearch(speed=1.0, poll=0.01))
    assert said == [
        "opening all fingers",
        "closing and opening: little, ring, middle, index",
        "closing and opening: thumb_bend",
        "closing and opening: thumb_rotate",
    ]
    fingers.firmware.set_error("ring", 4)
    with pytest.raises(HardwareError, match="error bits of ring"):
        find_ranges(hand, said.append, RangeSearch(speed=1.0, poll=0.01))
    hand.close()


def test_files_that_do_not_fit_the_hand_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "hand.yaml"
    save(file, HandRanges("RH56DFTP", "2025-01-01", (0.0,) * 6, (1000.0,) * 6))
    with pytest.raises(ConfigurationError, match=r"is about a RH56DFTP, hand\.model is RH56DFX"):
        InspireHand(InspireHandConfig(model="RH56DFX", calibration=file))
    file.write_text(file.read_text().replace("1000.0", "900.0", 1))
    with pytest.raises(ConfigurationError, match="do not match the hash"):
        InspireHand(InspireHandConfig(calibration=file))
    file.write_text(file.read_text().replace("900.0", "500.0", 1))
    with pytest.raises(ConfigurationError, match="little: moves over 50 %"):
        InspireHand(InspireHandConfig(calibration=file))
