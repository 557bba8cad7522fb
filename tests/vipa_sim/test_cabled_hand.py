"""A simulated hand on a cable of its own, with the genuine driver at the other end."""

from pathlib import Path

import numpy as np
import pytest

from vipa.errors import HardwareError
from vipa.hardware.inspire_hand import InspireHand, InspireHandConfig
from vipa_sim.hand_firmware import HandFirmware
from vipa_sim.hand_server import CabledHandServer, HandServer, hand_server

pytestmark = pytest.mark.protocol


def configuration(folder: Path) -> InspireHandConfig:
    return InspireHandConfig(link="rtu", serial_port=str(folder / "hand"), reconnect_interval=0.3, time_out=0.5)


def test_the_driver_finds_it_at_its_path_and_again_after_the_cable_was_unplugged(tmp_path: Path) -> None:
    firmware = HandFirmware("RH56DFTP")
    with hand_server(configuration(tmp_path), firmware):
        hand = InspireHand(configuration(tmp_path))
        hand.connect()
        hand.command([0.4] * 6)
        firmware.disconnect()
        with pytest.raises(HardwareError, match="could not read the state"):
            hand.read()
        hand.reconnect()
        np.testing.assert_allclose(hand.read().targets, 0.4, atol=3e-3)
        hand.close()
    assert not (tmp_path / "hand").is_symlink()


def test_what_a_killed_laboratory_left_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "hand"
    path.symlink_to("/dev/pts/4711")
    with hand_server(configuration(tmp_path), HandFirmware("RH56DFTP")):
        hand = InspireHand(configuration(tmp_path))
        hand.connect()
        hand.close()
    path.write_text("mine")
    with pytest.raises(HardwareError, match="there is something else"):
        hand_server(configuration(tmp_path), HandFirmware("RH56DFTP")).start()
    assert path.read_text() == "mine"


def test_a_path_in_no_folder_is_one_clear_line(tmp_path: Path) -> None:
    lost = configuration(tmp_path / "gone")
    with pytest.raises(HardwareError, match="no link can be made there: No such file or directory"):
        hand_server(lost, HandFirmware("RH56DFTP")).start()


def test_the_kind_of_server_is_that_of_the_link(tmp_path: Path) -> None:
    firmware = HandFirmware("RH56DFTP")
    assert isinstance(hand_server(configuration(tmp_path), firmware), CabledHandServer)
    assert isinstance(hand_server(InspireHandConfig(address="127.0.0.1:6000"), firmware), HandServer)
