"""The server against a client that speaks raw FCI: orders of messages, leftovers, bad input, faults."""

import socket
import struct
import time
from collections.abc import Callable

import numpy as np
import pytest

from vipa_sim.errors import SimulationError
from vipa_sim.fci import FciServer, KinematicPlant
from vipa_sim.fci.plant import HOME
from vipa_sim.fci.protocol import (
    COMMAND_PORT,
    Command,
    Controller,
    Error,
    Generator,
    MoveStatus,
    RecoveryStatus,
    RobotMode,
    SetterStatus,
)

from .conftest import RawClient, ServerFactory, wait_for

pytestmark = pytest.mark.protocol
ClientFactory = Callable[..., RawClient]


@pytest.fixture
def client(server: FciServer, make_client: ClientFactory) -> RawClient:
    return make_client(server.host)


def stream(client: RawClient, velocities: np.ndarray) -> None:
    """Follow states with joint velocities (T, 7)."""
    for dq in velocities:
        client.command(client.state()["message_id"], dq=dq.tolist())


def ramp(steps: int, top: float, joint: int = 0) -> np.ndarray:
    """(steps, 7) rad/s: one joint speeds up smoothly from rest."""
    velocities = np.zeros((steps, 7))
    velocities[:, joint] = top * (1 - np.cos(np.pi * np.linspace(0.0, 1.0, steps))) / 2
    return velocities


def begin(client: RawClient) -> None:
    """Start a motion by joint velocities and bring joint 1 to 0.3 rad/s."""
    assert client.move(generator=Generator.JOINT_VELOCITY - 1) == MoveStatus.MOTION_STARTED
    client.state_where(lambda s: s["robot_mode"] == RobotMode.MOVE)
    stream(client, ramp(150, 0.3))


def test_connecting_names_the_version_and_starts_the_states(client: RawClient):
    assert client.connect_answer == SetterStatus.SUCCESS
    first, second = client.state(), client.state()
    assert second["message_id"] > first["message_id"]
    assert first["robot_mode"] == RobotMode.IDLE
    assert first["motion_generator_mode"] == Generator.IDLE
    assert first["controller_mode"] == Controller.OTHER
    np.testing.assert_allclose(first["q"], HOME, atol=1e-6)


def test_another_version_is_answered_and_gets_no_states(server: FciServer, make_client: ClientFactory):
    client = make_client(server.host, version=5)
    assert client.connect_answer == SetterStatus.NOT_POSSIBLE
    client.udp.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.udp.recv(2048)


def test_the_robot_model_is_a_urdf(server: FciServer, client: RawClient):
    client.send(Command.GET_ROBOT_MODEL)
    command, _, status, urdf = client.answer()
    assert (command, status) == (Command.GET_ROBOT_MODEL, 0)
    assert urdf == KinematicPlant(time_ns=0).urdf
    assert b"<robot" in urdf


def test_a_finished_motion_shows_idle_before_it_is_answered(client: RawClient):
    begin(client)
    stream(client, ramp(150, 0.3)[::-1])
    answered = False
    client.tcp.setblocking(False)
    while True:
        state = client.state()
        try:
            answered = bool(client.tcp.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            answered = False
        if state["robot_mode"] == RobotMode.IDLE:
            break
        assert not answered
        client.command(state["message_id"], finished=True)
    client.tcp.settimeout(2.0)
    command, _, status, _ = client.answer()
    assert (command, status) == (Command.MOVE, MoveStatus.SUCCESS)


def test_stopping_brakes_and_answers_twice(client: RawClient):
    begin(client)
    assert client.request(Command.STOP_MOVE) == SetterStatus.SUCCESS
    speeds = []
    while True:
        state = client.state()
        speeds.append(float(state["dq_d"][0]))
        if state["robot_mode"] == RobotMode.IDLE:
            break
    assert speeds[-1] == 0.0
    assert max(-np.diff(speeds)) <= 0.0101 * 5  # 10 rad/s², with states that may have been skipped
    command, _, status, _ = client.answer()
    assert (command, status) == (Command.MOVE, MoveStatus.PREEMPTED)
    assert client.request(Command.STOP_MOVE) == SetterStatus.SUCCESS
    begin(client)  # the arm is free for the next motion


def test_commands_of_the_previous_motion_do_not_count(server: FciServer, client: RawClient):
    begin(client)
    old = client.state()["message_id"]
    client.request(Command.STOP_MOVE)
    client.state_where(lambda s: s["robot_mode"] == RobotMode.IDLE)
    client.answer()
    before = server.statistics()["commands"]
    assert client.move(generator=Generator.JOINT_VELOCITY - 1) == MoveStatus.MOTION_STARTED
    client.state_where(lambda s: s["robot_mode"] == RobotMode.MOVE)
    for _ in range(5):
        client.command(old, dq=(1.0,) * 7)
        client.state()
    figures = server.statistics()
    assert figures["commands"] == before
    assert figures["mode"] == "move"
    assert figures["lost"] == 0  # a motion that has not begun loses nothing


def test_a_command_that_is_no_number_moves_nothing(client: RawClient):
    begin(client)
    client.command(client.state()["message_id"], dq=(float("nan"),) * 7)
    command, _, status, _ = client.answer()
    assert (command, status) == (Command.MOVE, MoveStatus.INPUT_ERROR_ABORTED)
    state = client.state_where(lambda s: not s["dq_d"].any())
    assert np.isfinite(state["q"]).all()
    assert state["robot_mode"] == RobotMode.REFLEX


@pytest.mark.parametrize("strict", [True, False])
def test_a_planted_jump_aborts_where_limits_are_checked(
    make_server: ServerFactory, make_client: ClientFactory, strict: bool
):
    server = make_server(strict=strict)
    client = make_client(server.host)
    begin(client)
    client.command(client.state()["message_id"], dq=(0.4, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    if not strict:
        client.command(client.state()["message_id"], dq=(0.4, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
        assert client.state()["robot_mode"] == RobotMode.MOVE
        return
    command, _, status, _ = client.answer()
    assert (command, status) == (Command.MOVE, MoveStatus.REFLEX_ABORTED)
    state = client.state()
    assert state["errors"][Error.JOINT_MOTION_GENERATOR_VELOCITY_DISCONTINUITY]
    assert state["errors"].sum() == 1
    assert state["reflex_reason"].sum() == 1
    assert client.move() == MoveStatus.NOT_POSSIBLE
    assert client.request(Command.AUTOMATIC_ERROR_RECOVERY) == RecoveryStatus.SUCCESS
    state = client.state()
    assert state["robot_mode"] == RobotMode.IDLE
    assert not state["errors"].any()
    assert state["reflex_reason"].sum() == 1  # the last motion's reason stays
    assert server.statistics()["limit_violations"] == 1


def test_recovery_waits_until_the_arm_stands(client: RawClient):
    begin(client)
    client.command(client.state()["message_id"], dq=(0.9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    client.answer()
    assert client.request(Command.AUTOMATIC_ERROR_RECOVERY) == RecoveryStatus.SUCCESS
    assert not client.state()["dq_d"].any()


def test_recovery_is_refused_in_user_stop(server: FciServer, client: RawClient):
    server.user_stop()
    client.state_where(lambda s: s["robot_mode"] == RobotMode.USER_STOPPED)
    assert client.request(Command.AUTOMATIC_ERROR_RECOVERY) == RecoveryStatus.EMERGENCY_ABORTED
    assert client.move() == MoveStatus.NOT_POSSIBLE
    server.release_user_stop()
    client.state_where(lambda s: s["robot_mode"] == RobotMode.IDLE)


@pytest.mark.parametrize(
    ("controller", "generator", "asynchronous"), [(3, 0, False), (0, 5, False), (0, 4, False), (0, 0, True)]
)
def test_unknown_motions_are_refused(client: RawClient, controller: int, generator: int, asynchronous: bool):
    assert client.move(controller, generator, asynchronous) == MoveStatus.INVALID_ARGUMENT
    assert client.state()["robot_mode"] == RobotMode.IDLE


@pytest.mark.parametrize(
    ("command", "payload"),
    [
        (Command.SET_EE_TO_K, struct.pack("<16d", *(2.0,) * 16)),
        (Command.SET_NE_TO_EE, struct.pack("<16d", *(float("nan"),) * 16)),
        (Command.SET_LOAD, struct.pack("<13d", -1.0, *(0.0,) * 12)),
        (Command.SET_COLLISION_BEHAVIOR, struct.pack("<52d", *(float("nan"),) * 52)),
        (Command.SET_JOINT_IMPEDANCE, struct.pack("<7d", *(1e6,) * 7)),
        (Command.SET_CARTESIAN_IMPEDANCE, struct.pack("<6d", *(-1.0,) * 6)),
        (Command.SET_GUIDING_MODE, bytes((2,) * 7)),
    ],
)
def test_settings_that_make_no_sense_are_refused(client: RawClient, command: Command, payload: bytes):
    assert client.request(command, payload) == SetterStatus.INVALID_ARGUMENT
    assert client.request(Command.SET_GUIDING_MODE, bytes(7)) == SetterStatus.SUCCESS


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: robot\r\n\r\n",
        b"\xff" * 64,
        struct.pack("<III", Command.MOVE, 1, 12),  # a Move without its payload
        struct.pack("<III", Command.CONNECT, 1, 2**31),
        struct.pack("<III", Command.STOP_MOVE, 1, 12),  # before Connect
    ],
)
def test_garbage_closes_only_its_connection(
    server: FciServer, make_client: ClientFactory, caplog: pytest.LogCaptureFixture, garbage: bytes
):
    with socket.create_connection((server.host, COMMAND_PORT), timeout=2.0) as connection:
        connection.sendall(garbage)
        assert connection.recv(100) == b""
    lines = [record for record in caplog.records if "not a request" in record.getMessage()]
    assert len(lines) == 1
    assert make_client(server.host).state()["robot_mode"] == RobotMode.IDLE


def test_a_connection_that_says_nothing_does_not_block_others(server: FciServer, make_client: ClientFactory):
    with socket.create_connection((server.host, COMMAND_PORT), timeout=3.0) as connection:
        assert connection.recv(100) == b""
    assert make_client(server.host).state()["robot_mode"] == RobotMode.IDLE


def test_stray_datagrams_are_ignored(client: RawClient):
    client.state()
    for datagram in (b"", b"x", bytes(371), bytes(2000)):
        client.udp.sendto(datagram, client.peer)
    assert client.state()["robot_mode"] == RobotMode.IDLE
    begin(client)
    client.udp.sendto(bytes(371), client.peer)
    stream(client, np.tile([0.3, 0, 0, 0, 0, 0, 0], (20, 1)))
    assert client.state()["robot_mode"] == RobotMode.MOVE


def test_a_request_in_pieces_is_put_together(client: RawClient):
    message = struct.pack("<III", Command.SET_GUIDING_MODE, 99, 19) + bytes(7)
    for byte in message:
        client.tcp.sendall(bytes((byte,)))
    assert client.answer() == (Command.SET_GUIDING_MODE, 99, SetterStatus.SUCCESS, b"")


def test_the_clock_waits_for_a_late_command_and_loses_none(server: FciServer, client: RawClient):
    begin(client)
    before = client.state()
    time.sleep(0.1)  # late by a hundred cycles
    client.command(before["message_id"], dq=(0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    after = client.state()
    assert after["message_id"] - before["message_id"] <= 1
    client.command(after["message_id"], dq=(0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    stream(client, np.tile([0.3, 0, 0, 0, 0, 0, 0], (50, 1)))
    client.request(Command.STOP_MOVE)
    assert server.statistics()["lost"] == 0


def test_a_silent_client_is_given_up_after_one_wait(make_server: ServerFactory, make_client: ClientFactory):
    server = make_server(elastic_s=0.05)
    client = make_client(server.host)
    begin(client)
    command, _, status, _ = client.answer()  # nothing is sent any more: 50 ms of patience, then 20 cycles
    assert (command, status) == (Command.MOVE, MoveStatus.REFLEX_ABORTED)
    state = client.state()
    assert state["errors"][Error.COMMUNICATION_CONSTRAINTS_VIOLATION]
    assert server.statistics()["lost"] == 20


def test_the_success_rate_counts_lost_commands(server: FciServer, client: RawClient):
    begin(client)
    server.drop_packets(10)
    while server.statistics()["lost"] < 10:
        client.command(client.state()["message_id"], dq=(0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    state = client.state()
    assert state["control_command_success_rate"] == pytest.approx(0.9, abs=0.011)


def test_two_servers_cannot_share_an_address(server: FciServer):
    with pytest.raises(SimulationError, match=rf"{server.host}:1337.*in use"):
        FciServer(KinematicPlant(time_ns=0), server.host)


def test_an_address_that_is_not_this_computers_is_named():
    with pytest.raises(SimulationError, match=r"203\.0\.113\.7:1337"):
        FciServer(KinematicPlant(time_ns=0), "203.0.113.7")


def test_stopping_frees_the_address_at_once(make_server: ServerFactory):
    server = make_server()
    server.stop()
    again = FciServer(KinematicPlant(time_ns=0), server.host)
    again.stop()
    with FciServer(KinematicPlant(time_ns=0), server.host):
        pass


def test_without_a_client_the_world_goes_on_in_real_time(make_server: ServerFactory):
    steps = []
    plant = KinematicPlant(time_ns=0)
    server = make_server(plant, after_step=lambda: steps.append(plant.time_ns))
    began = time.monotonic()
    wait_for(lambda: len(steps) > 200)
    assert time.monotonic() - began >= 0.14  # at most the 50 ms of a backlog are made up
    server.stop()
    assert steps == list(range(1_000_000, (len(steps) + 1) * 1_000_000, 1_000_000))


def test_an_arm_that_was_put_elsewhere_holds_there(make_server: ServerFactory):
    plant = KinematicPlant(time_ns=0)
    make_server(plant)
    wait_for(lambda: plant.time_ns > 10_000_000)
    plant.positions[0] += 0.5
    after = plant.time_ns + 100_000_000
    wait_for(lambda: plant.time_ns > after)
    assert plant.positions[0] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("force", [(1.0,), (1.0, 2.0, float("nan")), "up"])
def test_a_push_needs_three_or_six_numbers(server: FciServer, force: object):
    with pytest.raises(ValueError):
        server.push(force, 0.1)  # type: ignore[arg-type]


def test_statistics_begin_anew(server: FciServer, client: RawClient):
    begin(client)
    wait_for(lambda: server.statistics()["commands"] == 150)
    client.request(Command.STOP_MOVE)
    client.state_where(lambda s: s["robot_mode"] == RobotMode.IDLE)
    server.reset_statistics()
    wait_for(lambda: server.statistics()["commands"] == 0)
    wait_for(lambda: server.statistics()["cycles"] > 100)
    figures = server.statistics()
    assert 0.3 < figures["real_time_factor"] < 1.6
    assert 0.0 < figures["period_ms_p50"] <= figures["period_ms_p99"] <= figures["period_ms_max"]
    assert figures["connected"]
