"""The simulated hand: registers, motion, force and stall stops, faults; addresses are literal on purpose."""

import socket
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.client import ModbusTcpClient

from vipa.errors import HardwareError
from vipa_sim.hand_firmware import HandFirmware, RegisterError
from vipa_sim.hand_server import HandSerialServer, HandServer

ANGLE_SET, FORCE_SET, SPEED_SET, POS_SET = 1486, 1498, 1522, 1474
ANGLE_ACT, FORCE_ACT, CURRENT, ERROR, STATUS, TEMPERATURE = 1546, 1582, 1594, 1606, 1612, 1618
SHUT, OPEN, FREE = [0] * 6, [1000] * 6, np.zeros(6)


class World:
    """Fingers that follow their set-points at once, between two walls; force grows with the squeeze."""

    def __init__(self, firmware: HandFirmware, wall: float = -1.0, ceiling: float = 2.0, stiffness: float = 100.0):
        self.firmware, self.wall, self.ceiling, self.stiffness = firmware, wall, ceiling, stiffness
        self.time = 0.0
        self.positions, self.forces = np.ones(6), np.zeros(6)
        self.setpoints = firmware.step(0.0, self.positions, self.forces)

    def run(self, seconds: float, period: float = 0.002) -> np.ndarray:
        for _ in range(round(seconds / period)):
            self.time += period
            self.setpoints = self.firmware.step(self.time, self.positions, self.forces)
            self.positions = np.clip(self.setpoints, self.wall, self.ceiling)
            self.forces = self.stiffness * np.maximum(0.0, self.positions - self.setpoints)
        return self.positions


def status_of(firmware: HandFirmware) -> list[int]:
    words = firmware.read_registers(STATUS, 3)
    return [byte for word in words for byte in (word & 0xFF, word >> 8)]


def errors_of(firmware: HandFirmware) -> list[int]:
    words = firmware.read_registers(ERROR, 3)
    return [byte for word in words for byte in (word & 0xFF, word >> 8)]


def test_power_up_state():
    firmware = HandFirmware()
    World(firmware).run(0.5)
    assert firmware.read_registers(1000, 1) == [1]
    assert firmware.read_registers(ANGLE_SET, 6) == [0xFFFF] * 6
    assert firmware.read_registers(ANGLE_ACT, 6) == OPEN
    assert status_of(firmware) == [255] * 6
    assert np.isnan(firmware.targets).all()


def test_one_read_holds_the_whole_state():
    firmware = HandFirmware()
    World(firmware).run(0.1)
    firmware.set_error("ring", 16)
    words = firmware.read_registers(1534, 45)
    assert words[:12] == [0] * 6 + OPEN
    for address, count in ((FORCE_ACT, 6), (CURRENT, 6), (ERROR, 3), (STATUS, 3), (TEMPERATURE, 3)):
        offset = (address - 1534) // 2
        assert words[offset : offset + count] == firmware.read_registers(address, count)
    assert words[(ERROR - 1534) // 2] == 16 << 8


def test_motion_begins_after_the_latency():
    firmware = HandFirmware(latency_s=0.065)
    world = World(firmware)
    world.run(0.1)
    firmware.write_registers(ANGLE_SET, SHUT)
    world.run(0.064)
    assert np.all(world.positions == 1.0)
    world.run(0.02)
    assert np.all(world.positions < 1.0)


def test_latency_can_be_changed_at_run_time():
    firmware = HandFirmware()
    world = World(firmware)
    firmware.latency = 0.5
    firmware.write_registers(ANGLE_SET, SHUT)
    assert np.all(world.run(0.49) == 1.0)
    assert np.all(world.run(0.1) < 1.0)


@pytest.mark.parametrize("counts", [1000, 500, 100])
def test_speed_register_scales_the_motion(counts):
    firmware = HandFirmware(latency_s=0.0)
    world = World(firmware)
    firmware.write_registers(SPEED_SET, [counts] * 6)
    firmware.write_registers(ANGLE_SET, SHUT)
    world.run(0.3)
    assert world.positions == pytest.approx(np.full(6, 1.0 - 0.5 * counts / 1000), abs=0.01)


def test_a_stroke_reports_grasping_then_at_position_then_releasing():
    firmware = HandFirmware()
    world = World(firmware)
    firmware.write_registers(ANGLE_SET, SHUT)
    world.run(0.3)
    assert status_of(firmware) == [1] * 6
    assert min(firmware.read_registers(CURRENT, 6)) > 100
    world.run(1.0)
    assert status_of(firmware) == [2] * 6
    assert firmware.read_registers(ANGLE_ACT, 6) == SHUT
    assert firmware.read_registers(1534, 6) == [2000] * 6
    firmware.write_registers(ANGLE_SET, OPEN)
    world.run(0.3)
    assert status_of(firmware) == [0] * 6


def test_minus_one_leaves_a_finger_alone():
    firmware = HandFirmware()
    world = World(firmware)
    firmware.write_registers(ANGLE_SET, [500] * 6)
    firmware.write_registers(ANGLE_SET, [0xFFFF, 0, 0xFFFF, 0xFFFF, 0xFFFF, 1000])
    world.run(1.5)
    assert world.positions == pytest.approx([0.5, 0.0, 0.5, 0.5, 0.5, 1.0])
    assert firmware.read_registers(ANGLE_SET, 6) == [500, 0, 500, 500, 500, 1000]


def test_one_finger_can_be_addressed_alone():
    firmware = HandFirmware()
    world = World(firmware)
    firmware.write_registers(ANGLE_SET + 2 * 3, [250])
    world.run(1.5)
    assert world.positions == pytest.approx([1, 1, 1, 0.25, 1, 1])
    assert status_of(firmware) == [255, 255, 255, 2, 255, 255]


def test_stroke_register_commands_too():
    firmware = HandFirmware()
    world = World(firmware)
    firmware.write_registers(POS_SET, [2000, 0, 1000, 1000, 1000, 0xFFFF])
    world.run(1.5)
    assert world.positions == pytest.approx([0.0, 1.0, 0.5, 0.5, 0.5, 1.0])


@pytest.mark.parametrize(
    ("address", "values", "code"),
    [
        (ANGLE_SET, [500, 500, 500, 500, 500, 1001], 3),
        (FORCE_SET, [1001] * 6, 3),
        (SPEED_SET, [1001] * 6, 3),
        (POS_SET, [2001] * 6, 3),
        (ANGLE_ACT, [0] * 6, 2),
        (900, [0], 2),
        (5200, [0], 2),
    ],
)
def test_refused_writes_change_nothing(address, values, code):
    firmware = HandFirmware()
    before = firmware.read_registers(1474, 100)
    with pytest.raises(RegisterError) as error:
        firmware.write_registers(address, values)
    assert error.value.code == code
    assert firmware.read_registers(1474, 100) == before
    assert np.isnan(firmware.targets).all()


@pytest.mark.parametrize(("address", "count"), [(999, 1), (5122, 2), (6000, 1), (0, 125)])
def test_reads_outside_the_file_are_refused(address, count):
    with pytest.raises(RegisterError) as error:
        HandFirmware().read_registers(address, count)
    assert error.value.code == 2


@pytest.mark.parametrize(("model", "legal", "illegal"), [("RH56F1", 1740, 1741), ("RH56F1", 900, 899)])
def test_angle_limits_follow_the_model(model, legal, illegal):
    firmware = HandFirmware(model)
    firmware.write_registers(1040, [legal])
    with pytest.raises(RegisterError):
        firmware.write_registers(1040, [illegal])


@pytest.mark.parametrize("speed", [20, 1000])
@pytest.mark.parametrize("grams", [100, 300, 900])
def test_force_limit_stops_the_finger_and_holds_it_there(grams, speed):
    firmware = HandFirmware()
    world = World(firmware, wall=0.7, stiffness=150.0)
    firmware.write_registers(FORCE_SET, [grams] * 6)
    firmware.write_registers(SPEED_SET, [speed] * 6)
    firmware.write_registers(ANGLE_SET, SHUT)
    world.run(30.0 if speed == 20 else 3.0)
    assert status_of(firmware) == [3] * 6
    newtons = grams * 9.80665e-3
    assert np.all(world.forces >= 0.89 * newtons)
    assert np.all(world.forces <= newtons * 1.1 + (0.3 if speed == 20 else 8.0))  # a fast finger overshoots
    setpoints = world.setpoints.copy()
    world.run(2.0)
    assert np.array_equal(world.setpoints, setpoints)
    assert errors_of(firmware) == [0] * 6


def test_closing_goes_on_when_the_object_gives_way():
    firmware = HandFirmware()
    world = World(firmware, wall=0.7, stiffness=150.0)
    firmware.write_registers(ANGLE_SET, [200] * 6)
    world.run(2.0)
    assert status_of(firmware) == [3] * 6
    world.wall = 0.4
    world.run(2.0)
    assert world.positions == pytest.approx(np.full(6, 0.4))
    assert status_of(firmware) == [3] * 6
    world.wall = -1.0
    world.run(2.0)
    assert world.positions == pytest.approx(np.full(6, 0.2))
    assert status_of(firmware) == [2] * 6


def test_opening_is_never_stopped_by_force():
    firmware = HandFirmware()
    world = World(firmware, wall=0.7)
    firmware.write_registers(ANGLE_SET, SHUT)
    world.run(2.0)
    firmware.write_registers(ANGLE_SET, OPEN)
    world.run(2.0)
    assert world.positions == pytest.approx(np.ones(6))


def test_blocked_finger_stalls_and_stays_until_it_is_told_to_turn_back():
    firmware = HandFirmware()
    world = World(firmware, wall=0.6, stiffness=5.0)  # too soft to reach the force limit
    firmware.write_registers(ANGLE_SET, SHUT)
    world.run(3.0)
    assert errors_of(firmware) == [1] * 6
    assert status_of(firmware) == [6] * 6
    assert np.all(world.positions - world.setpoints <= 0.15 + 1e-9)
    setpoints = world.setpoints.copy()
    firmware.write_registers(ANGLE_SET, SHUT)
    world.run(1.0)
    assert np.array_equal(world.setpoints, setpoints)
    firmware.write_registers(ANGLE_SET, OPEN)
    world.run(2.0)
    assert errors_of(firmware) == [0] * 6
    assert world.positions == pytest.approx(np.ones(6))


def test_finger_blocked_while_opening_stalls_too():
    firmware = HandFirmware()
    world = World(firmware)
    firmware.write_registers(ANGLE_SET, SHUT)
    world.run(1.0)
    world.ceiling = 0.5
    firmware.write_registers(ANGLE_SET, OPEN)
    world.run(3.0)
    assert errors_of(firmware) == [1] * 6
    assert np.all(world.setpoints <= 0.65 + 1e-9)


@pytest.mark.parametrize("bits", [2, 4, 8, 16, 6])
def test_error_bits_stop_a_finger_until_they_are_cleared(bits):
    firmware = HandFirmware()
    world = World(firmware)
    firmware.set_error("index", bits)
    firmware.write_registers(ANGLE_SET, SHUT)
    world.run(2.0)
    assert world.positions == pytest.approx([0, 0, 0, 1, 0, 0])
    assert errors_of(firmware) == [0, 0, 0, bits, 0, 0]
    assert status_of(firmware) == [2, 2, 2, 7, 2, 2]
    firmware.write_registers(1004, [1])
    world.run(2.0)
    assert world.positions == pytest.approx(np.zeros(6))
    assert errors_of(firmware) == [0] * 6


def test_current_limit_stops_closing():
    firmware = HandFirmware()
    firmware.current_limit = 0.3
    world = World(firmware, wall=0.5)
    firmware.write_registers(FORCE_SET, [1000] * 6)
    firmware.write_registers(ANGLE_SET, SHUT)
    world.run(2.0)
    assert status_of(firmware) == [5] * 6
    assert np.all(world.forces < 9.0)


def test_motors_warm_up_under_load_and_a_hot_finger_stops():
    firmware = HandFirmware()
    firmware.write_registers(ANGLE_SET, [500] * 6)
    held = np.full(6, 0.5)
    load = np.array([0.0, 0, 0, 0, 0, 60.0])
    for k in range(600):
        firmware.step(0.05 * k, held, load)
        if any(errors_of(firmware)):
            break
    temperatures = firmware.read_registers(TEMPERATURE, 3)
    assert temperatures[0] & 0xFF < 35
    assert temperatures[2] >> 8 >= 70
    assert errors_of(firmware) == [0, 0, 0, 0, 0, 2]
    firmware.write_registers(1004, [1])
    firmware.step(0.05 * k + 0.05, held, load)
    assert errors_of(firmware)[5] & 2  # still hot


def test_save_and_restart_keep_speed_and_force_but_no_targets():
    firmware = HandFirmware()
    world = World(firmware)
    firmware.write_registers(SPEED_SET, [300] * 6)
    firmware.write_registers(FORCE_SET, [200] * 6)
    firmware.write_registers(1005, [1])
    firmware.write_registers(SPEED_SET, [900] * 6)
    firmware.write_registers(ANGLE_SET, SHUT)
    world.run(0.5)
    stopped = world.positions.copy()
    firmware.restart()
    world.run(1.0)
    assert firmware.saves == 1
    assert firmware.read_registers(SPEED_SET, 6) == [300] * 6
    assert firmware.read_registers(FORCE_SET, 6) == [200] * 6
    assert np.isnan(firmware.targets).all()
    assert world.positions == pytest.approx(stopped)


def test_world_reset_starts_from_the_measured_positions():
    firmware = HandFirmware()
    world = World(firmware)
    firmware.write_registers(ANGLE_SET, SHUT)
    world.run(2.0)
    setpoints = firmware.step(0.0, np.ones(6), FREE)
    assert setpoints == pytest.approx(np.ones(6))
    assert np.all(firmware.step(0.1, np.ones(6), FREE) < 1.0)


def test_tactile_cells_can_be_read_across_regions():
    firmware = HandFirmware()
    cells = np.arange(1062)
    firmware.set_tactile(cells)
    assert firmware.read_registers(3000, 105) == cells[:105].tolist()
    assert firmware.read_registers(3210, 80) == cells[105:185].tolist()
    assert firmware.read_registers(4900, 112) == cells[-112:].tolist()
    with pytest.raises(ValueError, match="1062"):
        firmware.set_tactile(np.zeros(1000))


@settings(max_examples=25, deadline=None)
@given(
    commands=st.lists(st.lists(st.integers(0, 1000), min_size=6, max_size=6), min_size=1, max_size=5),
    wall=st.floats(0.0, 1.0),
    grams=st.integers(50, 1000),
)
def test_setpoints_stay_in_range_and_near_the_fingers(commands, wall, grams):
    firmware = HandFirmware()
    world = World(firmware, wall=wall)
    firmware.write_registers(FORCE_SET, [grams] * 6)
    for command in commands:
        firmware.write_registers(ANGLE_SET, command)
        for _ in range(40):
            before = world.setpoints
            world.run(0.01, period=0.005)
            assert np.all((world.setpoints >= -1e-12) & (world.setpoints <= 1 + 1e-12))
            assert np.all(np.abs(world.setpoints - world.positions) <= 0.15 + 1e-9)
            assert np.all(np.abs(world.setpoints - before) <= 0.01 / 0.6 + 1e-9)


def test_stepping_and_register_access_from_two_threads():
    firmware = HandFirmware()
    failures: list[BaseException] = []
    done = threading.Event()

    def client() -> None:
        try:
            while not done.is_set():
                firmware.write_registers(ANGLE_SET, [300, 0xFFFF, 300, 300, 300, 300])
                assert len(firmware.read_registers(1534, 45)) == 45
        except (RegisterError, AssertionError, RuntimeError) as error:
            failures.append(error)

    thread = threading.Thread(target=client)
    thread.start()
    positions = np.ones(6)
    for k in range(3000):
        positions = firmware.step(0.001 * k, positions, FREE)
    done.set()
    thread.join()
    assert failures == []
    assert positions == pytest.approx([0.3, 1.0, 0.3, 0.3, 0.3, 0.3])


# --- servers ---


@pytest.mark.protocol
def test_registers_over_the_wire_by_literal_address():
    firmware = HandFirmware()
    with HandServer(firmware, port=0) as server, ModbusTcpClient(server.host, port=server.port, timeout=1) as client:
        assert client.read_holding_registers(1000, count=1, device_id=1).registers == [1]
        assert not client.write_registers(1486, [0, 0, 0, 0xFFFF, 500, 1000], device_id=1).isError()
        echo = client.write_register(1486 + 2 * 3, 750, device_id=1)
        assert echo.registers == [750]
        world = World(firmware)
        world.run(1.5)
        angles = client.read_holding_registers(1546, count=6, device_id=1).registers
        assert angles == [0, 0, 0, 750, 500, 1000]


@pytest.mark.protocol
def test_modbus_exceptions_over_the_wire():
    firmware = HandFirmware()
    with HandServer(firmware, port=0) as server, ModbusTcpClient(server.host, port=server.port, timeout=1) as client:
        assert client.write_registers(1486, [2000] * 6, device_id=1).exception_code == 3
        assert client.write_registers(1546, [0] * 6, device_id=1).exception_code == 2
        assert client.read_holding_registers(10, count=1, device_id=1).exception_code == 2
        assert client.read_input_registers(1546, count=6, device_id=1).exception_code == 1
        assert np.isnan(firmware.targets).all()


@pytest.mark.protocol
def test_address_in_use_is_one_clear_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = HandServer(HandFirmware(), port=taken.getsockname()[1])
        with pytest.raises(HardwareError, match=r"hand server 127\.0\.0\.1:\d+: cannot listen") as error:
            server.start()
    assert "\n" not in str(error.value)
    server.start()  # free now
    server.stop()
    server.stop()


@pytest.mark.protocol
def test_missing_serial_device_is_one_clear_line(tmp_path):
    with pytest.raises(HardwareError, match="cannot listen"):
        HandSerialServer(HandFirmware(), str(tmp_path / "ttyUSB7")).start()


@pytest.mark.protocol
def test_server_starts_again_on_the_same_port_with_the_same_hand():
    firmware = HandFirmware()
    with HandServer(firmware, port=0) as server:
        port = server.port
    firmware.write_registers(ANGLE_SET, [400] * 6)
    with HandServer(firmware, port=port), ModbusTcpClient("127.0.0.1", port=port, timeout=1) as client:
        assert client.read_holding_registers(1486, count=6, device_id=1).registers == [400] * 6
