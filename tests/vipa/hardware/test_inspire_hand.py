"""The hand driver against the simulated hand, over genuine Modbus TCP and RTU."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.client import ModbusTcpClient

from vipa.config import from_mapping
from vipa.errors import ConfigurationError, HardwareError
from vipa.hardware.inspire_config import InspireHandConfig
from vipa.hardware.inspire_hand import InspireHand
from vipa.hardware.inspire_models import (
    FINGERS,
    HAND_MODELS,
    MAXIMUM_READ_WORDS,
    TACTILE_REGIONS,
    FingerScale,
    group_regions,
    pack_bytes,
    unpack_bytes,
)
from vipa_sim.hand_firmware import HandFirmware, RegisterError
from vipa_sim.hand_server import HandSerialServer, HandServer, SerialCable

TIME_OUT = 0.3


class RecordingFirmware(HandFirmware):
    """Keeps the register accesses that reach it, and refuses writes when told to."""

    def __init__(self, model_name: str = "RH56DFTP", **options) -> None:
        self.reads: list[tuple[int, int]] = []
        self.writes: list[tuple[int, list[int]]] = []
        self.refuse_code = 0
        super().__init__(model_name, **options)

    def read_registers(self, address: int, count: int) -> list[int]:
        self.reads.append((address, count))
        return super().read_registers(address, count)

    def write_registers(self, address: int, values: list[int]) -> None:
        self.writes.append((address, values))
        if self.refuse_code:
            raise RegisterError(self.refuse_code)
        super().write_registers(address, values)


class World:
    """Fingers that follow their set-points at once, except where an object stops them; force grows with the squeeze."""

    def __init__(self, firmware: HandFirmware, contact: float = -1.0, stiffness: float = 100.0) -> None:
        self.firmware, self.contact, self.stiffness = firmware, contact, stiffness
        self.time = 0.0
        self.positions, self.forces = np.ones(6), np.zeros(6)
        self.setpoints = firmware.step(0.0, self.positions, self.forces)

    def run(self, seconds: float, period: float = 0.005) -> np.ndarray:
        for _ in range(round(seconds / period)):
            self.time += period
            self.setpoints = self.firmware.step(self.time, self.positions, self.forces)
            self.positions = np.maximum(self.setpoints, self.contact)
            self.forces = self.stiffness * (self.positions - self.setpoints)
        return self.positions


@pytest.fixture
def firmware() -> RecordingFirmware:
    return RecordingFirmware()


@pytest.fixture
def server(firmware: RecordingFirmware) -> Iterator[HandServer]:
    with HandServer(firmware, port=0) as server:
        yield server


@pytest.fixture
def hand(server: HandServer) -> Iterator[InspireHand]:
    hand = InspireHand(config_for(server))
    hand.connect()
    yield hand
    hand.close()


def config_for(server: HandServer, **changes) -> InspireHandConfig:
    return InspireHandConfig(**{"address": server.address, "time_out": TIME_OUT, "reconnect_interval": 0.3, **changes})


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert message
    return message


def raw_read(server: HandServer, address: int, count: int, unit: int = 1) -> list[int]:
    """Look at the registers with a client of our own, by literal address."""
    with ModbusTcpClient(server.host, port=server.port, timeout=1.0) as client:
        return client.read_holding_registers(address, count=count, device_id=unit).registers


def read_until_lost(hand: InspireHand) -> None:
    for _ in range(50):  # the server closes from its own thread
        hand.read()


# --- data ---


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(HAND_MODELS)),
    values=st.lists(st.floats(-0.5, 1.5), min_size=6, max_size=6),
    reverse=st.sets(st.sampled_from(FINGERS)),
)
def test_every_model_scales_there_and_back_within_half_a_count(name, values, reverse):
    model = HAND_MODELS[name]
    scale = FingerScale.of(model, tuple(reverse))
    raw = scale.to_raw(np.array(values))
    span = np.abs(np.array(model.raw_open) - np.array(model.raw_closed))
    assert np.all(raw >= np.minimum(model.raw_open, model.raw_closed))
    assert np.all(raw <= np.maximum(model.raw_open, model.raw_closed))
    assert np.all(np.abs(scale.to_unit(raw) - np.clip(values, 0, 1)) <= 0.5 / span + 1e-12)
    assert np.array_equal(scale.to_raw(scale.to_unit(raw)), raw)


def test_models_hold_what_the_manuals_say():
    for name in ("RH56DFTP", "RH56DFX", "RH56E2"):
        scale = FingerScale.of(HAND_MODELS[name])
        assert scale.to_raw(np.zeros(6)).tolist() == [0] * 6
        assert scale.to_raw(np.ones(6)).tolist() == [1000] * 6
        registers = HAND_MODELS[name].registers
        assert (registers.hand_id, registers.clear_error, registers.angle_set) == (1000, 1004, 1486)
        assert (registers.position, registers.state_words) == (1534, 45)
    assert [HAND_MODELS[n].unit_id for n in ("RH56DFTP", "RH56DFX", "RH56E2", "RH56F1")] == [1, 1, 255, 1]
    f1 = FingerScale.of(HAND_MODELS["RH56F1"])
    assert f1.to_raw(np.zeros(6)).tolist() == [900, 900, 900, 900, 1100, 600]
    assert f1.to_raw(np.ones(6)).tolist() == [1740, 1740, 1740, 1740, 1350, 1800]


def test_tactile_regions_fill_the_documented_range():
    assert len(TACTILE_REGIONS) == 17
    assert sum(region.words for region in TACTILE_REGIONS) == 1062
    addresses = {region.name: region.address for region in TACTILE_REGIONS}
    assert [addresses[name] for name in ("little_tip", "ring_tip", "thumb_tip", "palm")] == [3000, 3370, 4480, 4900]
    assert TACTILE_REGIONS[-1].address + 2 * TACTILE_REGIONS[-1].words - 1 == 5123
    groups = group_regions(TACTILE_REGIONS)
    assert [region for group in groups for region in group] == list(TACTILE_REGIONS)
    assert all(sum(region.words for region in group) <= MAXIMUM_READ_WORDS for group in groups)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=6, max_size=6), st.sampled_from(["low", "high"]))
def test_packed_bytes_go_there_and_back(values, order):
    words = pack_bytes(values, order)
    assert unpack_bytes(words, order).tolist() == values
    swapped = unpack_bytes(words, "high" if order == "low" else "low").tolist()
    assert swapped == [values[i ^ 1] for i in range(6)]


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"model": "RH99"}, "model"),
        ({"model": "RH56F1", "link": "tcp"}, "link"),
        ({"address": "192.168.11.210"}, "address"),
        ({"address": "host:70000"}, "address"),
        ({"unit_id": 256}, "unit_id"),
        ({"reversed_fingers": ["pinky"]}, "reversed_fingers"),
        ({"baud_rate": 0}, "baud_rate"),
        ({"time_out": 0.0}, "time_out"),
        ({"poll_rate": -1.0}, "poll_rate"),
        ({"speed": 0.0}, "speed"),
        ({"speed": float("nan")}, "speed"),
        ({"force_limit": 40.0}, "force_limit"),
        ({"reconnect_interval": 0.1}, "reconnect_interval"),
    ],
)
def test_bad_configuration_names_the_key(values, key):
    with pytest.raises(ConfigurationError, match=f"hand: {key}: "):
        from_mapping(InspireHandConfig, values, "hand")


def test_poll_rate_follows_the_link_unless_set():
    assert InspireHandConfig().poll_rate_or_default == 50
    assert InspireHandConfig(link="rtu").poll_rate_or_default == 30
    assert InspireHandConfig(poll_rate=12.5).poll_rate_or_default == 12.5


# --- start-up ---


@pytest.mark.protocol
def test_connecting_sets_limits_and_moves_nothing(server, firmware, hand):
    assert raw_read(server, 1522, 6) == [500] * 6  # SPEED_SET
    assert raw_read(server, 1498, 6) == [510] * 6  # FORCE_SET, 5 N in grams-force
    assert raw_read(server, 1486, 6) == [0xFFFF] * 6  # ANGLE_SET
    assert {address for address, _ in firmware.writes} == {1522, 1498}
    assert World(firmware).run(0.5) == pytest.approx(np.ones(6))
    reading = hand.read()
    assert np.isnan(reading.targets).all()
    assert reading.status.tolist() == [255] * 6


@pytest.mark.protocol
def test_connecting_learns_the_targets_the_hand_holds(server, firmware):
    firmware.write_registers(1486, [0, 250, 0xFFFF, 1000, 500, 500])
    hand = InspireHand(config_for(server))
    hand.connect()
    np.testing.assert_allclose(hand.read().targets, [0, 0.25, np.nan, 1, 0.5, 0.5])
    hand.close()


@pytest.mark.protocol
def test_nobody_at_the_address_is_one_clear_line():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    hand = InspireHand(InspireHandConfig(address=f"127.0.0.1:{port}", time_out=TIME_OUT))
    with pytest.raises(HardwareError) as error:
        hand.connect()
    assert f"hand 127.0.0.1:{port}: no connection" in one_line(error)
    assert "hand.address" in one_line(error)
    assert not hand.connected


@pytest.mark.protocol
def test_missing_serial_device_is_one_clear_line(tmp_path):
    hand = InspireHand(InspireHandConfig(link="rtu", serial_port=str(tmp_path / "ttyUSB7")))
    with pytest.raises(HardwareError) as error:
        hand.connect()
    assert "ttyUSB7: no connection" in one_line(error)
    assert "hand.serial_port" in one_line(error)


@pytest.mark.protocol
def test_wrong_unit_id_is_refused_with_a_cure(server):
    hand = InspireHand(config_for(server, unit_id=7))
    with pytest.raises(HardwareError, match=r"hand\.unit_id") as error:
        hand.connect()
    one_line(error)
    assert not hand.connected


@pytest.mark.protocol
def test_another_modbus_device_is_refused_and_not_written_to():
    class Meter(RecordingFirmware):
        """Some other device, whose registers all hold 230."""

        def read_registers(self, address: int, count: int) -> list[int]:
            return [2300] * count

    meter = Meter()
    with HandServer(meter, port=0) as server:
        hand = InspireHand(config_for(server))
        with pytest.raises(HardwareError, match="what answers is no RH56DFTP") as error:
            hand.connect()
        one_line(error)
    assert meter.writes == []
    assert not hand.connected


@pytest.mark.protocol
def test_calls_before_connecting_are_refused():
    hand = InspireHand(InspireHandConfig())
    for call in (hand.read, hand.hold, hand.clear_errors, hand.read_tactile, lambda: hand.command([0.5] * 6)):
        with pytest.raises(HardwareError, match="not connected yet"):
            call()


# --- state and commands ---


@pytest.mark.protocol
def test_the_whole_state_comes_in_one_read(firmware, hand):
    firmware.reads.clear()
    before = time.monotonic_ns()
    reading = hand.read()
    assert firmware.reads == [(1534, 45)]
    assert before <= reading.stamp_ns <= time.monotonic_ns()


@pytest.mark.protocol
def test_firmware_that_refuses_long_reads_is_read_group_by_group(firmware, server):
    firmware.maximum_read_words = 6
    hand = InspireHand(config_for(server))
    hand.connect()
    firmware.set_error("middle", 4)
    world = World(firmware, contact=0.4)
    hand.command([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    world.run(2.0)
    firmware.reads.clear()
    reading = hand.read()
    assert [address for address, _ in firmware.reads] == [1546, 1582, 1594, 1606, 1612, 1618]
    assert reading.errors.tolist() == [0, 0, 4, 0, 0, 0]
    assert reading.positions == pytest.approx(world.positions, abs=6e-4)
    hand.close()


@pytest.mark.protocol
def test_command_reaches_the_registers_and_moves_the_fingers(server, firmware, hand):
    world = World(firmware)
    sent = hand.command([0.0, 0.25, 0.5004, 0.75, 1.2, -0.3])
    assert sent.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0, 0.0]
    assert raw_read(server, 1486, 6) == [0, 250, 500, 750, 1000, 0]
    world.run(2.0)
    reading = hand.read()
    assert reading.positions == pytest.approx(sent, abs=1e-3)
    assert reading.targets.tolist() == sent.tolist()
    assert reading.status.tolist() == [2] * 6


@pytest.mark.protocol
def test_fingers_that_are_not_chosen_keep_their_targets(server, firmware, hand):
    hand.command([0.5] * 6)
    sent = hand.command([0.1, np.nan, np.nan, np.nan, np.nan, 0.9], fingers=[True, False, False, False, False, True])
    np.testing.assert_allclose(sent, [0.1, np.nan, np.nan, np.nan, np.nan, 0.9])
    assert firmware.writes[-1] == (1486, [100, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 900])
    assert raw_read(server, 1486, 6) == [100, 500, 500, 500, 500, 900]
    assert hand.read().targets.tolist() == [0.1, 0.5, 0.5, 0.5, 0.5, 0.9]


@pytest.mark.protocol
@pytest.mark.parametrize(
    "positions",
    [[0.5] * 5, [0.5] * 7, 0.5, [[0.5] * 6], [0.5, 0.5, np.nan, 0.5, 0.5, 0.5], [0.5] * 5 + [np.inf], ["shut"] * 6],
)
def test_bad_commands_are_refused_and_nothing_is_sent(firmware, hand, positions):
    firmware.writes.clear()
    with pytest.raises(ValueError):
        hand.command(positions)
    assert firmware.writes == []
    assert hand.connected


@pytest.mark.protocol
@pytest.mark.parametrize("link", ["tcp", "rtu"])
@pytest.mark.parametrize("name", sorted(HAND_MODELS))
def test_every_model_over_every_link_it_has(name, link):
    if link not in HAND_MODELS[name].links:
        with pytest.raises(ValueError, match="link"):
            InspireHandConfig(model=name, link=link)
        return
    firmware = RecordingFirmware(name)
    with SerialCable() as cable:
        if link == "tcp":
            server = HandServer(firmware, port=0)
        else:
            server = HandSerialServer(firmware, cable.ends[0])
        with server:
            address = server.address if isinstance(server, HandServer) else "unused:1"
            hand = InspireHand(InspireHandConfig(name, link, address, cable.ends[1], time_out=0.5, speed=1.0))
            hand.connect()
            world = World(firmware)
            sent = hand.command([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
            world.run(1.5)
            firmware.set_error("ring", 8)
            firmware.set_error("thumb_rotate", 16)
            world.run(0.01)
            reading = hand.read()
            hand.close()
    assert sent == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], abs=3e-3)
    assert reading.positions == pytest.approx(sent, abs=1e-3)
    assert reading.errors.tolist() == [0, 8, 0, 0, 0, 16]
    assert reading.status.tolist() == [2, 7, 2, 2, 2, 7]
    assert reading.temperatures == pytest.approx(np.full(6, 30.0), abs=1.0)


@pytest.mark.protocol
def test_byte_order_and_direction_can_be_overridden():
    firmware = RecordingFirmware(reversed_fingers=("thumb_rotate",))
    firmware.byte_order = "high"
    firmware.set_error("little", 2)
    with HandServer(firmware, port=0) as server:
        hand = InspireHand(config_for(server, byte_order="high", reversed_fingers=("thumb_rotate",)))
        hand.connect()
        world = World(firmware)
        hand.command([0.9] * 6)
        assert raw_read(server, 1486, 6) == [900] * 5 + [100]
        world.run(1.0)
        assert hand.read().errors.tolist() == [2, 0, 0, 0, 0, 0]
        assert world.positions[5] == pytest.approx(0.9)
        hand.close()


@pytest.mark.protocol
def test_finger_slightly_beyond_closed_reads_slightly_below_zero():
    class Overshooting(RecordingFirmware):
        def read_registers(self, address: int, count: int) -> list[int]:
            words = super().read_registers(address, count)
            return [*words[:6], 0xFFFD, *words[7:]] if address == 1534 else words

    with HandServer(Overshooting(), port=0) as server:
        hand = InspireHand(config_for(server))
        hand.connect()
        assert hand.read().positions[0] == pytest.approx(-0.003)
        hand.close()


@pytest.mark.protocol
def test_negative_forces_and_currents_have_their_units(firmware, hand):
    for k in range(200):
        firmware.step(k * 0.005, np.ones(6), np.array([-0.5, 0, 1, 2, 3, 4]))
    firmware.write_registers(1486, [1000] * 6)
    for k in range(200, 400):
        firmware.step(k * 0.005, np.ones(6), np.array([-0.5, 0, 1, 2, 3, 4]))
    reading = hand.read()
    assert reading.forces == pytest.approx([-0.5, 0, 1, 2, 3, 4], abs=0.006)
    assert np.all((reading.currents > 0) & (reading.currents < 0.5))
    assert reading.currents[5] > reading.currents[1]


# --- force, speed, hold ---


@pytest.mark.protocol
def test_force_limit_stops_closing(firmware, hand):
    hand.set_speed(0.05)
    hand.set_force_limit(3.0)
    world = World(firmware, contact=0.6)
    hand.command([0.0] * 6)
    world.run(30.0)
    reading = hand.read()
    assert reading.status.tolist() == [3] * 6
    assert reading.forces == pytest.approx(np.full(6, 3.0), abs=0.5)
    assert reading.positions == pytest.approx(np.full(6, 0.6), abs=1e-3)
    assert np.all(world.setpoints > 0.5)


@pytest.mark.protocol
@pytest.mark.parametrize("value", [0.0, -1.0, 1.5, float("nan"), 100.0])
def test_impossible_limits_are_refused_before_they_are_sent(firmware, hand, value):
    firmware.writes.clear()
    with pytest.raises(ValueError, match="speed"):
        hand.set_speed(value)
    if value != 1.5:  # newtons are fine
        with pytest.raises(ValueError, match="force_limit"):
            hand.set_force_limit(value)
    assert firmware.writes == []


@pytest.mark.protocol
def test_hold_stops_opening_and_keeps_the_squeeze(firmware, hand):
    world = World(firmware, contact=0.5)
    hand.command([0.0] * 6)
    world.run(3.0)
    hand.command([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    world.run(0.3)
    opening = world.positions.copy()
    assert np.all(opening[3:] < 0.95)
    targets = hand.hold()
    assert targets[:3].tolist() == [0.0] * 3
    assert targets[3:] == pytest.approx(opening[3:], abs=0.01)
    assert firmware.writes[-1][1][:3] == [0xFFFF] * 3
    world.run(2.0)
    assert world.positions[3:] == pytest.approx(targets[3:], abs=1e-3)
    assert hand.read().status[:3].tolist() == [3] * 3


@pytest.mark.protocol
def test_hold_does_not_creep(firmware, hand):
    world = World(firmware)
    hand.command([0.3] * 6)
    world.run(1.0)
    for _ in range(10):
        assert hand.hold() == pytest.approx(np.full(6, 0.3))
        world.run(0.1)
    assert firmware.writes[-1] == (1486, [300] * 6)
    assert world.positions == pytest.approx(np.full(6, 0.3))


@pytest.mark.protocol
def test_hold_without_targets_moves_nothing(firmware, hand):
    assert np.isnan(hand.hold()).all()
    assert np.isnan(firmware.targets).all()
    assert World(firmware).run(0.5) == pytest.approx(np.ones(6))


@pytest.mark.protocol
def test_hold_trusts_no_target_it_only_read():
    class Forgetful(RecordingFirmware):
        """Reports closed fingers as its targets though it never had a command."""

        def read_registers(self, address: int, count: int) -> list[int]:
            return [0] * 6 if address == 1486 else super().read_registers(address, count)

    firmware = Forgetful()
    with HandServer(firmware, port=0) as server:
        hand = InspireHand(config_for(server))
        hand.connect()
        firmware.writes.clear()
        hand.hold()
        assert firmware.writes == []
        hand.close()


@pytest.mark.protocol
def test_calls_fail_at_once_while_another_thread_waits_to_reconnect(firmware, server):
    hand = InspireHand(config_for(server, reconnect_interval=2.0))
    hand.connect()
    firmware.disconnect()
    with pytest.raises(HardwareError):
        read_until_lost(hand)
    waiting = threading.Thread(target=hand.reconnect)
    waiting.start()
    start = time.monotonic()
    with pytest.raises(HardwareError, match="Reconnect first"):
        hand.read()
    assert time.monotonic() - start < 1.0
    waiting.join()
    assert hand.connected
    hand.close()


@pytest.mark.protocol
def test_clear_errors(firmware, hand):
    firmware.set_error("index", 4 | 8)
    assert hand.read().errors.tolist() == [0, 0, 0, 12, 0, 0]
    hand.clear_errors()
    assert hand.read().errors.tolist() == [0] * 6


@pytest.mark.protocol
def test_tactile_regions_arrive_in_shape_and_order(firmware, hand):
    cells = np.arange(1062) - 50
    firmware.set_tactile(cells)
    regions = hand.read_tactile()
    assert list(regions) == [region.name for region in TACTILE_REGIONS]
    assert regions["little_tip"].tolist() == [[-50, -49, -48], [-47, -46, -45], [-44, -43, -42]]
    assert regions["little_nail"].shape == (12, 8)
    assert regions["palm"].shape == (8, 14)
    assert np.array_equal(np.concatenate([region.ravel() for region in regions.values()]), cells)


@pytest.mark.protocol
def test_model_without_tactile_cells_says_so():
    with HandServer(HandFirmware("RH56DFX"), port=0) as server:
        hand = InspireHand(config_for(server, model="RH56DFX"))
        hand.connect()
        with pytest.raises(HardwareError, match="RH56DFX has no tactile cells"):
            hand.read_tactile()
        assert hand.connected
        hand.close()


# --- faults on the wire ---


@pytest.mark.protocol
@pytest.mark.parametrize("offset", [-1, 1])
def test_shifted_transaction_ids_fail_without_the_cure_and_work_with_it(firmware, server, offset):
    firmware.transaction_id_offset = offset
    plain = InspireHand(config_for(server))
    with pytest.raises(HardwareError, match=r"hand\.transaction_id_quirk: true") as error:
        plain.connect()
    one_line(error)
    cured = InspireHand(config_for(server, transaction_id_quirk=True))
    cured.connect()
    cured.command([0.5] * 6)
    assert cured.read().targets.tolist() == [0.5] * 6
    cured.close()


@pytest.mark.protocol
def test_the_cure_accepts_sound_ids_and_refuses_foreign_ones(firmware, server):
    hand = InspireHand(config_for(server, transaction_id_quirk=True))
    hand.connect()
    hand.read()
    firmware.transaction_id_offset = 2
    with pytest.raises(HardwareError):
        hand.read()


@pytest.mark.protocol
def test_refused_request_is_reported_and_keeps_the_connection(firmware, hand):
    firmware.refuse_code = 3
    with pytest.raises(HardwareError, match=r"refused to write the finger targets.*out of range.*exception 3") as error:
        hand.command([0.5] * 6)
    one_line(error)
    assert np.isnan(hand.read().targets).all()
    firmware.refuse_code = 0
    hand.command([0.5] * 6)
    assert hand.connected


@pytest.mark.protocol
def test_silent_hand_fails_in_time_then_at_once_until_reconnected(firmware, hand):
    hand.command([0.2] * 6)
    firmware.silence(60.0)
    start = time.monotonic()
    with pytest.raises(HardwareError, match="could not read the state") as error:
        hand.read()
    one_line(error)
    assert TIME_OUT <= time.monotonic() - start < 10 * TIME_OUT
    assert not hand.connected
    start = time.monotonic()
    for call in (hand.read, hand.hold, lambda: hand.command([1.0] * 6)):
        with pytest.raises(HardwareError, match="Reconnect first"):
            call()
    assert time.monotonic() - start < TIME_OUT
    with pytest.raises(HardwareError):
        hand.reconnect()
    firmware.silence(0.0)
    firmware.writes.clear()
    hand.reconnect()
    assert 1486 not in {address for address, _ in firmware.writes}
    assert hand.read().targets == pytest.approx(np.full(6, 0.2))


@pytest.mark.protocol
def test_dropped_connection_is_an_error_and_reconnect_mends_it(firmware, hand):
    hand.set_force_limit(2.0)
    firmware.disconnect()
    with pytest.raises(HardwareError) as error:
        read_until_lost(hand)
    one_line(error)
    assert not hand.connected
    firmware.writes.clear()
    hand.reconnect()
    assert hand.read().status.tolist() == [255] * 6
    assert (1498, [204] * 6) in firmware.writes  # the force limit in force, not the configured one


@pytest.mark.protocol
def test_reconnect_keeps_its_distance(server, firmware):
    hand = InspireHand(config_for(server))
    hand.connect()
    start = time.monotonic()
    hand.reconnect()
    hand.reconnect()
    assert time.monotonic() - start >= 0.5
    hand.close()


@pytest.mark.protocol
def test_server_gone_for_good_is_a_clear_line_on_every_attempt(firmware):
    with HandServer(firmware, port=0) as server:
        hand = InspireHand(config_for(server))
        hand.connect()
    with pytest.raises(HardwareError):
        hand.read()
    with pytest.raises(HardwareError, match="no connection") as error:
        hand.reconnect()
    one_line(error)
    with HandServer(firmware, server.host, server.port):
        hand.reconnect()
        assert hand.connected
        hand.close()


@pytest.mark.protocol
@pytest.mark.parametrize("leave", ["close", "drop", "silence"])
def test_grip_outlives_the_driver(firmware, hand, leave):
    world = World(firmware, contact=0.5)
    hand.command([0.1] * 6)
    world.run(3.0)
    force = world.forces.copy()
    setpoints = world.setpoints.copy()
    assert np.all(force > 4.0)
    firmware.writes.clear()
    if leave == "close":
        hand.close()
    elif leave == "drop":
        firmware.disconnect()
    else:
        firmware.silence(60.0)
        with pytest.raises(HardwareError):
            hand.read()
    world.run(5.0)
    assert firmware.writes == []
    assert firmware.targets == pytest.approx(np.full(6, 0.1))
    assert world.setpoints == pytest.approx(setpoints)
    assert world.forces == pytest.approx(force)


@pytest.mark.protocol
def test_grip_outlives_a_killed_process(firmware, server):
    script = (
        "import os, signal, sys\n"
        "from vipa.hardware.inspire_hand import InspireHand, InspireHandConfig\n"
        "hand = InspireHand(InspireHandConfig(address=sys.argv[1]))\n"
        "hand.connect()\n"
        "hand.command([0.1] * 6)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", script, server.address], env=environment, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    world = World(firmware, contact=0.5)
    world.run(3.0)
    force = world.forces.copy()
    assert np.all(force > 4.0)
    successor = InspireHand(config_for(server))
    successor.connect()
    world.run(3.0)
    assert firmware.targets == pytest.approx(np.full(6, 0.1))
    assert world.forces == pytest.approx(force)
    assert successor.read().targets == pytest.approx(np.full(6, 0.1))
    successor.close()


@pytest.mark.protocol
def test_hand_that_lost_its_power_has_no_targets_after_reconnecting(firmware, hand):
    hand.command([0.1] * 6)
    firmware.restart()
    firmware.disconnect()
    with pytest.raises(HardwareError):
        read_until_lost(hand)
    hand.reconnect()
    assert np.isnan(hand.read().targets).all()
    assert np.isnan(hand.hold()).all()
    assert np.isnan(firmware.targets).all()


@pytest.mark.protocol
def test_bad_checksum_on_the_serial_line_is_an_error_and_reconnect_mends_it(firmware):
    with SerialCable() as cable, HandSerialServer(firmware, cable.ends[0]):
        hand = InspireHand(InspireHandConfig(link="rtu", serial_port=cable.ends[1], reconnect_interval=0.3))
        hand.connect()
        firmware.crc_errors = 1
        with pytest.raises(HardwareError, match="could not read the state") as error:
            hand.read()
        one_line(error)
        hand.reconnect()
        hand.command([0.4] * 6)
        assert hand.read().targets == pytest.approx(np.full(6, 0.4))
        hand.close()


@pytest.mark.protocol
def test_silence_on_the_serial_line_leaves_no_stale_answer(firmware):
    with SerialCable() as cable, HandSerialServer(firmware, cable.ends[0]):
        hand = InspireHand(InspireHandConfig(link="rtu", serial_port=cable.ends[1], reconnect_interval=0.3))
        hand.connect()
        firmware.silence(60.0)
        with pytest.raises(HardwareError):
            hand.command([0.9] * 6)
        firmware.silence(0.0)
        hand.reconnect()
        assert np.isnan(hand.read().targets).all()
        hand.close()


@pytest.mark.protocol
def test_unplugged_serial_line_is_an_error(firmware):
    cable = SerialCable()
    with HandSerialServer(firmware, cable.ends[0]):
        hand = InspireHand(InspireHandConfig(link="rtu", serial_port=cable.ends[1], time_out=TIME_OUT))
        hand.connect()
        cable.close()
        with pytest.raises(HardwareError) as error:
            hand.read()
        one_line(error)
        with pytest.raises(HardwareError, match="no connection"):
            hand.reconnect()


@pytest.mark.protocol
def test_threads_share_one_connection(firmware, hand):
    failures: list[BaseException] = []

    def use(call) -> None:
        try:
            for _ in range(100):
                call()
        except HardwareError as error:
            failures.append(error)

    threads = [threading.Thread(target=use, args=(c,)) for c in (hand.read, lambda: hand.command([0.5] * 6), hand.hold)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert hand.connected
