"""The wire layouts, against offsets written down by hand from the published interface description."""

import struct

import numpy as np

from vipa_sim.fci.protocol import (
    PAYLOAD_SIZE,
    REALTIME_COMMAND,
    STATE_DTYPE,
    Command,
    Error,
    StateBuffer,
    encode_response,
)


def test_state_fields_lie_where_libfranka_reads_them():
    offsets = {name: STATE_DTYPE.fields[name][1] for name in STATE_DTYPE.names}
    assert offsets["O_T_EE"] == 8
    assert offsets["m_ee"] == 8 + 6 * 64
    assert offsets["elbow"] == 392 + 2 * 52
    assert offsets["q"] == 496 + 16 + 3 * 28
    assert offsets["motion_generator_mode"] == 8 + 4 * 320
    assert offsets["errors"] == 1290
    assert offsets["robot_mode"] == 1290 + 82
    assert STATE_DTYPE.itemsize == 1377


def test_state_buffer_writes_through_to_the_datagram():
    buffer = StateBuffer()
    buffer.field["message_id"][0] = 0x0102030405060708
    buffer.field["q"][:] = np.arange(7)
    buffer.field["errors"][Error.CARTESIAN_REFLEX] = 1
    assert bytes(buffer.datagram[:8]) == bytes(range(8, 0, -1))
    assert struct.unpack_from("<7f", buffer.datagram, 596) == tuple(range(7))
    assert buffer.datagram[1290 + 7] == 1
    assert len(buffer.datagram) == 1377


def test_realtime_command_is_packed_without_gaps():
    values = [float(i) for i in range(38)]
    data = struct.pack("<Q", 77) + struct.pack("<38d", *values) + b"\x01\x00" + struct.pack("<7d", *range(7)) + b"\x01"
    assert len(data) == REALTIME_COMMAND.size == 371
    command = REALTIME_COMMAND.unpack(data)
    assert command[0] == 77
    assert list(command[1:39]) == values
    assert command[39:41] == (1, 0)
    assert command[41:] == (*range(7), 1)


def test_response_repeats_the_request_and_counts_its_header():
    answer = encode_response(Command.GET_ROBOT_MODEL, 9, 0, b"<robot/>")
    assert answer == struct.pack("<III", 11, 9, 21) + b"\x00<robot/>"


def test_every_command_has_a_size_and_every_error_libfrankas_name():
    assert set(PAYLOAD_SIZE) == set(Command)
    names = [error.name.lower() for error in sorted(Error)]
    assert names[6:8] == ["joint_reflex", "cartesian_reflex"]
    assert names[25] == "communication_constraints_violation"
    assert names[32] == "controller_torque_discontinuity"
    assert len(names) == 41
