"""The camera feed over real TCP: plain sockets against the server, genuine librealsense behind the device."""

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vipa.errors import HardwareError
from vipa.hardware import realsense
from vipa.hardware.realsense import CameraIntrinsics
from vipa_sim.camera_feed import FeedDevice, FeedServer
from vipa_sim.camera_feed.protocol import ARRIVED, HEADER, MAGIC, MAX_LINE, CameraDescription, read_line
from vipa_sim.errors import SimulationError

pytestmark = pytest.mark.protocol

WIDTH, HEIGHT = 32, 24
GEOMETRY = CameraIntrinsics(WIDTH, HEIGHT, 30.0, 30.0, 15.5, 11.5)
EPOCH_NS = 1_795_000_000_123_456_789
PERIOD_NS = 33_333_333


def picture(value: int) -> tuple[Any, Any]:
    return np.full((HEIGHT, WIDTH, 3), value, np.uint8), np.full((HEIGHT, WIDTH), 1000 + value, np.uint16)


def expose(server: FeedServer, name: str, value: int) -> None:
    server.publish(name, EPOCH_NS + value * PERIOD_NS, *picture(value))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "nothing happened for 5 s"
        time.sleep(0.005)


@pytest.fixture
def server() -> Iterator[FeedServer]:
    server = FeedServer("127.0.0.1", 0)
    server.add_camera("front", "f0000001", GEOMETRY)
    server.add_camera("side", "f0000002", GEOMETRY, frame_rate=15)
    server.start()
    yield server
    server.stop()


class PlainClient:
    """The client's side of the protocol on a plain socket."""

    def __init__(self, server: FeedServer, serial: str = "f0000001", name: str = "front") -> None:
        self.answers = True
        clients = server.statistics(name).clients
        self.socket = socket.create_connection(server.address, timeout=5.0)
        self.socket.sendall(json.dumps({"serial": serial}).encode() + b"\n")
        self.description = CameraDescription.from_line(read_line(self.socket))
        wait_until(lambda: server.statistics(name).clients > clients)

    def frame(self) -> tuple[int, int, int]:
        """Exposure in ns, number, and the value that ``picture`` was made of."""
        magic, exposure_ns, number, color_bytes, depth_bytes = HEADER.unpack(self._exactly(HEADER.size))
        assert (magic, color_bytes, depth_bytes) == (MAGIC, HEIGHT * WIDTH * 3, HEIGHT * WIDTH * 2)
        color = np.frombuffer(self._exactly(color_bytes), np.uint8)
        depth = np.frombuffer(self._exactly(depth_bytes), "<u2")
        assert len(set(color.tolist())) == len(set(depth.tolist())) == 1
        assert depth[0] == 1000 + int(color[0])
        if self.answers:
            self.socket.sendall(ARRIVED)
        return exposure_ns, number, int(color[0])

    def ended(self) -> bool:
        with contextlib.suppress(ConnectionResetError):
            return self.socket.recv(1) == b""
        return True

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            assert more, "the server closed the connection"
            data += more
        return data


# --- the server


def test_a_client_gets_the_description_and_then_the_frames(server: FeedServer) -> None:
    client = PlainClient(server, "f0000002", "side")
    assert client.description == CameraDescription(
        "side", "f0000002", GEOMETRY, GEOMETRY, tuple(np.eye(4).ravel().tolist()), 0.00025, 15
    )
    for value in (3, 4):
        expose(server, "side", value)
        assert client.frame() == (EPOCH_NS + value * PERIOD_NS, value - 2, value)


def test_waiting_for_a_frame_ends_when_the_client_has_it(server: FeedServer) -> None:
    server.wait_until_arrived("front", 5.0)  # nobody listens
    client = PlainClient(server)
    client.answers = False
    expose(server, "front", 1)
    client.frame()
    started = time.monotonic()
    server.wait_until_arrived("front", 0.05)
    assert time.monotonic() - started >= 0.05, "the client has not said that the frame arrived"
    waiting = threading.Thread(target=server.wait_until_arrived, args=("front", 5.0))
    waiting.start()
    client.socket.sendall(ARRIVED)
    waiting.join(timeout=2.0)
    assert not waiting.is_alive()


def test_waiting_for_a_frame_ends_when_the_client_goes(server: FeedServer) -> None:
    client = PlainClient(server)
    client.answers = False
    expose(server, "front", 1)
    client.frame()
    waiting = threading.Thread(target=server.wait_until_arrived, args=("front", 5.0))
    waiting.start()
    client.socket.close()
    waiting.join(timeout=2.0)
    assert not waiting.is_alive()


def test_clients_come_and_go_and_cameras_stay_apart(server: FeedServer) -> None:
    first, second, other = PlainClient(server), PlainClient(server), PlainClient(server, "f0000002", "side")
    expose(server, "front", 1)
    expose(server, "side", 2)
    assert (first.frame()[2], second.frame()[2], other.frame()[2]) == (1, 1, 2)
    first.socket.close()
    for value in range(3, 200):  # the server notices when it sends
        expose(server, "front", value)
        assert second.frame()[2] == value
        if server.statistics("front").clients == 1:
            break
    assert server.statistics("front").clients == 1
    third = PlainClient(server)
    expose(server, "front", 201)
    assert (second.frame()[2], third.frame()[2]) == (201, 201)


@pytest.mark.parametrize(
    "hello",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xfe\x00\n",
        b"[]\n",
        b"1\n",
        b"{}\n",
        b'"serial"\n',
        b"[" * 30_000 + b"\n",
        b"x" * MAX_LINE,
    ],
)
def test_a_garbage_hello_is_refused_in_one_line(server: FeedServer, hello: bytes) -> None:
    with socket.create_connection(server.address, timeout=5.0) as garbage:
        garbage.sendall(hello)
        answer = json.loads(read_line(garbage))
        assert list(answer) == ["error"]
        assert "\n" not in answer["error"]
    client = PlainClient(server)
    expose(server, "front", 1)
    assert client.frame()[2] == 1


def test_a_hello_that_never_ends_and_one_that_breaks_off(server: FeedServer) -> None:
    with socket.create_connection(server.address, timeout=5.0) as silent:
        with socket.create_connection(server.address) as short:
            short.sendall(b'{"ser')
        client = PlainClient(server)
        expose(server, "front", 1)
        assert client.frame()[2] == 1
        assert silent.recv(100) == b""  # cut off after its time-out


def test_an_unknown_serial_is_told_what_there_is(server: FeedServer) -> None:
    with pytest.raises(SimulationError, match="no camera with serial f0123; here: f0000001, f0000002"):
        PlainClient(server, "f0123")


def test_a_slow_client_loses_frames_and_holds_up_nobody() -> None:
    width, height = 640, 480
    server = FeedServer("127.0.0.1", 0)
    server.add_camera("front", "f0000001", CameraIntrinsics(width, height, 460.0, 460.0, 319.5, 239.5))
    server.start()
    slow = PlainClient(server)
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for i in range(40):
        server.publish(
            "front", EPOCH_NS + i, np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint16)
        )
        time.sleep(0.002)
    found = server.statistics("front")
    assert found.published == 40
    assert 20 < found.dropped <= 39
    server.stop()  # does not wait for the slow client either
    assert server.statistics("front").dropped >= found.dropped


def test_published_arrays_belong_to_the_feed(server: FeedServer) -> None:
    color, depth = picture(1)
    server.publish("front", EPOCH_NS, color, depth)
    with pytest.raises(ValueError, match="read-only"):
        color[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        depth[0] = 0


def test_images_in_any_memory_order(server: FeedServer) -> None:
    client = PlainClient(server)
    color, depth = picture(9)
    server.publish("front", EPOCH_NS, np.asfortranarray(color)[::-1], depth[::-1, ::-1])
    assert client.frame() == (EPOCH_NS, 1, 9)


@pytest.mark.parametrize(
    ("color", "depth", "text"),
    [
        (np.zeros((24, 32), np.uint8), np.zeros((24, 32), np.uint16), "color"),
        (np.zeros((24, 32, 3), np.float32), np.zeros((24, 32), np.uint16), "color is float32"),
        (np.zeros((24, 32, 3), np.uint8), np.zeros((32, 24), np.uint16), "depth"),
        (np.zeros((24, 32, 3), np.uint8), np.zeros((24, 32), np.int16), "depth is int16"),
    ],
)
def test_a_wrong_image_is_refused(server: FeedServer, color: Any, depth: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"camera front: {text}"):
        server.publish("front", EPOCH_NS, color, depth)
    assert server.statistics("front").published == 0


def test_wrong_names_serials_and_transforms(server: FeedServer) -> None:
    for name, serial in (("front", "f9"), ("new", "f0000001")):
        with pytest.raises(ValueError, match="its name or serial number is taken"):
            server.add_camera(name, serial, GEOMETRY)
    with pytest.raises(ValueError, match="not \\(4, 4\\)"):
        server.add_camera("new", "f9", GEOMETRY, depth_to_color=np.eye(3))
    for fault in (server.freeze, server.duplicate, server.disconnect, server.restore, server.statistics):
        with pytest.raises(SimulationError, match="no camera top; the laboratory has: front, side"):
            fault("top")
    with pytest.raises(SimulationError, match="no camera top"):
        expose(server, "top", 1)


def test_an_address_in_use(server: FeedServer) -> None:
    with pytest.raises(SimulationError, match=f"camera feed 127.0.0.1:{server.address[1]}: Address already in use"):
        FeedServer(*server.address)


def test_a_server_that_was_never_started_stops() -> None:
    FeedServer("127.0.0.1", 0).stop()


# --- faults


def test_freeze_repeats_stamp_number_and_picture(server: FeedServer) -> None:
    client = PlainClient(server)
    expose(server, "front", 1)
    frozen = client.frame()
    server.freeze("front")
    for value in (2, 3):
        expose(server, "front", value)
        assert client.frame() == frozen
    server.restore("front")
    expose(server, "front", 4)
    assert client.frame() == (EPOCH_NS + 4 * PERIOD_NS, 4, 4)


def test_duplicate_sends_one_frame_twice(server: FeedServer) -> None:
    client = PlainClient(server)
    server.duplicate("front")
    expose(server, "front", 1)
    assert client.frame() == client.frame() == (EPOCH_NS + PERIOD_NS, 1, 1)
    expose(server, "front", 2)
    assert client.frame()[1] == 2


def test_drop_lasts_as_long_as_it_says(server: FeedServer) -> None:
    client = PlainClient(server)
    expose(server, "front", 1)
    assert client.frame()[1] == 1
    server.drop("front", 0.1)
    for value in (2, 3, 4, 5):  # 2, 3 and 4 fall into the 0.1 s
        expose(server, "front", value)
    assert client.frame() == (EPOCH_NS + 5 * PERIOD_NS, 5, 5)


def test_disconnect_cuts_and_refuses_until_restored(server: FeedServer) -> None:
    client, other = PlainClient(server), PlainClient(server, "f0000002", "side")
    server.disconnect("front")
    assert client.ended()
    with pytest.raises(SimulationError, match="camera front is unplugged"):
        PlainClient(server)
    expose(server, "side", 1)
    assert other.frame()[2] == 1
    server.restore("front")
    back = PlainClient(server)
    expose(server, "front", 2)
    assert back.frame()[2] == 2


# --- the description

numbers = st.floats(-1e4, 1e4)
intrinsics = st.builds(
    CameraIntrinsics,
    st.integers(1, 4096),
    st.integers(1, 4096),
    numbers,
    numbers,
    numbers,
    numbers,
    st.just("plumb_bob"),
    st.tuples(*[numbers] * 5),
)


@settings(max_examples=30)
@given(
    st.builds(
        CameraDescription,
        st.text(),
        st.text(),
        intrinsics,
        intrinsics,
        st.tuples(*[numbers] * 16),
        numbers,
        st.integers(1, 60),
    )
)
def test_a_description_survives_the_wire(description: CameraDescription) -> None:
    line = description.to_line()
    assert line.count(b"\n") == 1
    assert CameraDescription.from_line(line) == description


# --- the device


class Sensors:
    """Genuine librealsense reading of one device, frame by frame, without the driver."""

    def __init__(self, context: Any, serial: str) -> None:
        rs = realsense.load()
        self.device = next(d for d in context.query_devices() if d.get_info(rs.camera_info.serial_number) == serial)
        self._queue = rs.frame_queue(50)
        self._sensors = self.device.query_sensors()
        for sensor in self._sensors:
            sensor.open(sensor.get_stream_profiles())
            sensor.start(self._queue)

    def frames(self, count: int) -> list[tuple[str, int, int, int]]:
        """Stream, stamp in ns, number and first value of the next frames."""
        found: list[tuple[str, int, int, int]] = []
        for _ in range(count):
            frame = self._queue.wait_for_frame(3000)
            first = int(np.asanyarray(frame.get_data()).ravel()[0])
            stamp = realsense.milliseconds_to_ns(frame.get_timestamp())
            found.append((frame.get_profile().stream_name(), stamp, frame.get_frame_number(), first))
        return found

    def close(self) -> None:
        for sensor in self._sensors:
            sensor.stop()
            sensor.close()


@contextlib.contextmanager
def device(server: FeedServer, serial: str = "f0000001", name: str = "front") -> Iterator[tuple[FeedDevice, Any]]:
    context = realsense.load().context()
    feed_device = FeedDevice(server.address, serial)
    feed_device.add_to(context)
    wait_until(lambda: server.statistics(name).clients > 0)
    try:
        yield feed_device, context
    finally:
        feed_device.stop()


def test_the_device_looks_like_an_l515(server: FeedServer) -> None:
    rs = realsense.load()
    with device(server) as (_, context):
        (found,) = context.query_devices()
        for key, value in (
            ("name", "Intel RealSense L515"),
            ("serial_number", "f0000001"),
            ("firmware_version", "01.05.08.01"),
            ("product_id", "0B64"),
            ("product_line", "L500"),
            ("usb_type_descriptor", "3.2"),
        ):
            assert found.get_info(getattr(rs.camera_info, key)) == value
        depth, color = found.query_sensors()
        assert [s.get_info(rs.camera_info.name) for s in (depth, color)] == ["L500 Depth Sensor", "RGB Camera"]
        assert depth.get_option(rs.option.depth_units) == pytest.approx(0.00025)
        assert depth.get_option(rs.option.ldd_temperature) == 42.0
        assert depth.get_option(rs.option.global_time_enabled) == 0  # as on the device, until somebody sets it
        for option in (rs.option.laser_power, rs.option.visual_preset, rs.option.inter_cam_sync_mode):
            assert depth.supports(option)


def test_both_sensors_get_every_frame_with_stamp_and_number(server: FeedServer) -> None:
    with device(server) as (_, context):
        sensors = Sensors(context, "f0000001")
        for value in (1, 2, 3):
            expose(server, "front", value)
            depth, color = sensors.frames(2)
            assert (depth[0], depth[2], depth[3]) == ("Depth", value, 1000 + value)
            assert (color[0], color[2], color[3]) == ("Color", value, value)
            assert depth[1] == color[1]
            assert abs(color[1] - EPOCH_NS - value * PERIOD_NS) < 1000
        sensors.close()


def test_depth_frames_carry_their_unit(server: FeedServer) -> None:
    rs = realsense.load()
    with device(server) as (_, context):
        depth_sensor = context.query_devices()[0].first_depth_sensor()
        queue = rs.frame_queue(5)
        depth_sensor.open(depth_sensor.get_stream_profiles())
        depth_sensor.start(queue)
        expose(server, "front", 200)
        frame = queue.wait_for_frame(3000).as_depth_frame()
        assert frame.get_units() == pytest.approx(0.00025)
        assert frame.get_distance(3, 3) == pytest.approx(1200 * 0.00025)
        depth_sensor.stop()
        depth_sensor.close()


def test_frames_that_nobody_reads_do_no_harm(server: FeedServer) -> None:
    with device(server) as (_, context):
        for value in range(60):
            expose(server, "front", value)
            time.sleep(0.001)
        sensors = Sensors(context, "f0000001")
        expose(server, "front", 99)
        assert any(value == 99 for *_, value in sensors.frames(2))
        sensors.close()


def test_two_devices_in_one_context(server: FeedServer) -> None:
    context = realsense.load().context()
    serials = {"front": "f0000001", "side": "f0000002"}
    devices = [FeedDevice(server.address, s) for s in serials.values()]
    for feed_device in devices:
        feed_device.add_to(context)
    wait_until(lambda: all(server.statistics(n).clients for n in serials))
    sensors = {name: Sensors(context, serial) for name, serial in serials.items()}
    for value, name in ((10, "front"), (20, "side")):
        expose(server, name, value)
        assert [v for *_, v in sensors[name].frames(2)] == [1000 + value, value]
    for name in serials:
        sensors[name].close()
    for feed_device in devices:
        feed_device.stop()


def test_the_laboratory_goes_and_comes_back(server: FeedServer, caplog: pytest.LogCaptureFixture) -> None:
    with device(server) as (_, context):
        sensors = Sensors(context, "f0000001")
        expose(server, "front", 1)
        sensors.frames(2)
        address = server.address
        server.stop()
        wait_until(lambda: "the feed broke off" in caplog.text)
        again = FeedServer(*address)
        again.add_camera("front", "f0000001", GEOMETRY)
        again.start()
        wait_until(lambda: again.statistics("front").clients > 0)
        expose(again, "front", 2)
        assert [v for *_, v in sensors.frames(2)] == [1002, 2]
        sensors.close()
        again.stop()


def test_a_laboratory_with_another_geometry_is_not_taken(server: FeedServer, caplog: pytest.LogCaptureFixture) -> None:
    with device(server):
        address = server.address
        server.stop()
        again = FeedServer(*address)
        again.add_camera("front", "f0000001", CameraIntrinsics(64, 48, 30.0, 30.0, 31.5, 23.5))
        again.start()
        wait_until(lambda: "another geometry" in caplog.text)
        again.stop()


def test_no_laboratory_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with pytest.raises(
        HardwareError, match=r"^simulated camera f1 at 127\.0\.0\.1:\d+: .*refused\. Start the laboratory"
    ):
        FeedDevice(address, "f1", connect_time_out_s=0.2).add_to(None)


def test_a_camera_that_the_laboratory_does_not_have(server: FeedServer) -> None:
    with pytest.raises(
        HardwareError, match=r"simulated camera f0123 at .*here: f0000001, f0000002\. Start the laboratory, or"
    ):
        FeedDevice(server.address, "f0123", connect_time_out_s=0.0).add_to(None)


def answering(listener: socket.socket, answers: list[bytes]) -> threading.Thread:
    """A server that gives each client the next answer, whatever it says."""

    def serve() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                read_line(connection)
                connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400\r\n", b"[1]\n", b"{}\n", b'{"color": 1}\n', b"\xff\n"])
def test_something_else_answers(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = answering(listener, [answer])
        with pytest.raises(HardwareError, match="what answers is no camera feed"):
            FeedDevice(listener.getsockname(), "f1", connect_time_out_s=0.0).add_to(None)
        thread.join(timeout=5)


def test_a_stream_gone_wrong_is_left_and_taken_up_anew(caplog: pytest.LogCaptureFixture) -> None:
    identity = tuple(np.eye(4).ravel().tolist())
    line = CameraDescription("front", "f1", GEOMETRY, GEOMETRY, identity, 0.00025, 30).to_line()
    body = b"\x05" * (WIDTH * HEIGHT * 5)
    good = HEADER.pack(MAGIC, EPOCH_NS, 7, WIDTH * HEIGHT * 3, WIDTH * HEIGHT * 2) + body
    wrong = HEADER.pack(MAGIC, EPOCH_NS, 6, WIDTH * HEIGHT * 3, 1) + body
    context = realsense.load().context()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        feed_device = FeedDevice(listener.getsockname(), "f1")
        start = answering(listener, [line])
        with caplog.at_level(logging.WARNING):
            feed_device.add_to(context)
            sensors = Sensors(context, "f1")
            start.join(timeout=5)
            later = answering(listener, [line + wrong, line + good[:100], line + good])
            assert [(n, v) for _, _, n, v in sensors.frames(2)] == [(7, 0x0505), (7, 5)]
        assert "the stream holds no frames of this camera" in caplog.text
        later.join(timeout=5)
        sensors.close()
        feed_device.stop()
