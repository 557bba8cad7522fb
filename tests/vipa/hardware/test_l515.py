"""The L515 driver over genuine librealsense: simulated cameras behind the feed, bare software devices, recordings."""

import contextlib
import gc
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipa.config import from_mapping
from vipa.errors import ConfigurationError, HardwareError
from vipa.hardware import realsense
from vipa.hardware.l515 import L515, CameraIntrinsics, Frame, L515Config
from vipa_sim.camera_feed import FeedDevice, FeedServer

rs = realsense.load()

SERIAL = "f0000001"
WIDTH, HEIGHT = 160, 120
PERIOD_NS = 33_333_333
EPOCH_NS = 1_795_000_000_123_456_789
GEOMETRY = CameraIntrinsics(WIDTH, HEIGHT, 120.0, 121.0, 79.5, 59.5)


def settings(**changes: Any) -> L515Config:
    """Short time-outs and small images; ``changes`` on top."""
    values: dict[str, Any] = {"serial": SERIAL, "color_size": (WIDTH, HEIGHT), "depth_size": (WIDTH, HEIGHT)}
    return L515Config(**{**values, "frame_time_out_s": 0.3, "start_time_out_s": 2.0, **changes})


class Rig:
    """A laboratory with one camera, its feed, and the librealsense context that shows it."""

    def __init__(self, **geometry: Any) -> None:
        self.geometry = {"color": GEOMETRY, **geometry}
        self.random = np.random.default_rng(7)
        self.published: dict[int, tuple[int, Any, Any]] = {}
        self.exposure_ns = EPOCH_NS
        self.server = FeedServer("127.0.0.1", 0)
        self._open()
        self.context: Any = rs.context()
        self.device = FeedDevice(self.server.address, SERIAL)
        self.device.add_to(self.context)
        self.wait_for_client()

    def _open(self) -> None:
        self.server.add_camera("front", SERIAL, **self.geometry)
        self.server.start()

    def wait_for_client(self) -> None:
        deadline = time.monotonic() + 5
        while not self.server.statistics("front").clients:
            assert time.monotonic() < deadline, "the device did not connect"
            time.sleep(0.005)

    def restart_laboratory(self) -> None:
        address = self.server.address
        self.server.stop()
        self.server = FeedServer(*address)
        self.published.clear()
        self._open()
        self.wait_for_client()

    def expose(self) -> int:
        """Publish a random frame; returns its number."""
        color = self.random.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        depth = self.random.integers(0, 65535, (HEIGHT, WIDTH), dtype=np.uint16)
        return self.publish(color, depth)

    def publish(self, color: Any, depth: Any) -> int:
        self.exposure_ns += PERIOD_NS
        self.server.publish("front", self.exposure_ns, color, depth)
        number = self.server.statistics("front").published
        self.published[number] = self.exposure_ns, color, depth
        return number

    def next_frame(self, camera: L515, expose: Callable[[], int] | None = None) -> Frame:
        """Expose until a frame comes; the first exposures after a start or a gap find no partner in the syncer."""
        for _ in range(20):
            (expose or self.expose)()
            with contextlib.suppress(HardwareError):  # a camera that was lost stays so until its first frame
                if (frame := camera.read(0.1)) is not None:
                    return frame
        raise AssertionError("no frame")

    def close(self) -> None:
        self.device.stop()
        self.server.stop()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()
    gc.collect()


@pytest.fixture
def camera(rig: Rig) -> Iterator[L515]:
    camera = L515("front", settings(), rig.context)
    camera.start()
    yield camera
    camera.stop()


class BareDevice:
    """A software device with two streams and nothing else: no options, hardware clock."""

    def __init__(self, context: Any, *, name: str = "Intel RealSense L515", usb: str = "3.2") -> None:
        self._device = rs.software_device()
        self._device.update_info(rs.camera_info.name, name)
        self._device.register_info(rs.camera_info.serial_number, SERIAL)
        self._device.register_info(rs.camera_info.usb_type_descriptor, usb)
        self._sensors: list[tuple[Any, Any, int]] = []
        for i, (stream, pixel_format, size) in enumerate((("depth", rs.format.z16, 2), ("color", rs.format.rgb8, 3))):
            video = rs.video_stream()
            video.type, video.index, video.uid = getattr(rs.stream, stream), 0, i + 1
            video.width, video.height, video.fps, video.bpp, video.fmt = WIDTH, HEIGHT, 30, size, pixel_format
            intrinsics = rs.intrinsics()
            intrinsics.width, intrinsics.height, intrinsics.fx, intrinsics.fy = WIDTH, HEIGHT, 100.0, 100.0
            intrinsics.model, intrinsics.coeffs = rs.distortion.none, [0.0] * 5
            video.intrinsics = intrinsics
            sensor = self._device.add_sensor(f"Stereo {stream}")
            self._sensors.append((sensor, sensor.add_video_stream(video, True), size))
        self._sensors[0][0].add_read_only_option(rs.option.depth_units, 0.00025)
        identity = rs.extrinsics()
        identity.rotation, identity.translation = [1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0], [0.0, 0, 0]
        self._sensors[0][1].register_extrinsics_to(self._sensors[1][1], identity)
        self._device.create_matcher(rs.matchers.dic_c)
        self._device.add_to(context)

    def push(self, number: int, domain: Any) -> None:
        for sensor, profile, size in self._sensors:
            frame = rs.software_video_frame()
            frame.bpp, frame.stride = size, size * WIDTH
            frame.timestamp, frame.domain, frame.frame_number = 1e6 + 33.3 * number, domain, number
            frame.profile = profile.as_video_stream_profile()
            frame.pixels = np.zeros(HEIGHT * WIDTH * size, np.uint8)
            sensor.on_video_frame(frame)


class Wire:
    """Passes everything on to a librealsense object, and shows the test what was set and whether it is plugged in."""

    def __init__(self, native: Any, log: list[tuple[str, float]]) -> None:
        self._native = native
        self.log = log
        self.plugged = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._native, name)

    def query_devices(self) -> list[Any]:
        return [Wire(d, self.log) for d in self._native.query_devices()] if self.plugged else []

    def query_sensors(self) -> list[Any]:
        return [Wire(s, self.log) for s in self._native.query_sensors()]

    def set_option(self, option: Any, value: float) -> None:
        self.log.append((option.name, value))
        self._native.set_option(option, value)


# --- configuration


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"serial": ""}, "serial"),
        ({"color_size": [0, 480]}, "color_size"),
        ({"depth_size": [640, -1]}, "depth_size"),
        ({"frame_rate": 0}, "frame_rate"),
        ({"frame_rate": 90}, "frame_rate"),
        ({"preset": "default"}, "preset"),
        ({"laser_power": 101.0}, "laser_power"),
        ({"laser_power": float("nan")}, "laser_power"),
        ({"frame_time_out_s": 0.0}, "frame_time_out_s"),
        ({"start_time_out_s": float("inf")}, "start_time_out_s"),
        ({"recovery_attempts": 0}, "recovery_attempts"),
        ({"temperature_limit": 150.0}, "temperature_limit"),
    ],
)
def test_a_setting_out_of_range_names_its_key(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"cameras\.front.*{key}"):
        from_mapping(L515Config, {"serial": SERIAL, **changes}, "cameras.front")


def test_a_preset_given_in_code_is_checked_too() -> None:
    with pytest.raises(ValueError, match="preset"):
        L515Config(serial=SERIAL, preset="default")  # type: ignore[arg-type]


def test_a_recording_needs_no_serial() -> None:
    assert L515Config(bag=Path("run.bag")).serial == ""


@given(st.integers(min_value=0, max_value=4_000_000_000_000_000_000))
def test_stamps_survive_librealsense_to_less_than_a_microsecond(stamp_ns: int) -> None:
    assert abs(realsense.milliseconds_to_ns(realsense.ns_to_milliseconds(stamp_ns)) - stamp_ns) < 1000


def test_the_camera_matrix_goes_both_ways() -> None:
    assert CameraIntrinsics.from_matrix(GEOMETRY.matrix, WIDTH, HEIGHT) == GEOMETRY


# --- frames


@pytest.mark.protocol
def test_frames_arrive_bit_exact_with_their_stamp(rig: Rig, camera: L515) -> None:
    rig.next_frame(camera)
    for _ in range(5):
        number = rig.expose()
        frame = camera.read(1.0)
        assert frame is not None
        exposure_ns, color, depth = rig.published[number]
        assert frame.frame_number == number
        assert abs(frame.exposure_ns - exposure_ns) < 1000
        assert (frame.color.dtype, frame.depth.dtype) == (np.uint8, np.uint16)
        np.testing.assert_array_equal(frame.color, color)
        np.testing.assert_array_equal(frame.depth, depth)
        assert frame.depth_scale == 0.00025


@pytest.mark.protocol
def test_a_frame_outlives_its_successors(rig: Rig, camera: L515) -> None:
    first = rig.next_frame(camera)
    kept = first.color.copy()
    for _ in range(20):
        rig.next_frame(camera)
    np.testing.assert_array_equal(first.color, kept)


@pytest.mark.protocol
def test_a_slow_reader_gets_the_newest_frame_and_no_older_one(rig: Rig, camera: L515) -> None:
    before = rig.next_frame(camera).frame_number
    for _ in range(8):
        newest = rig.expose()
        time.sleep(0.02)
    time.sleep(0.1)
    frame = camera.read(1.0)
    assert frame is not None
    assert frame.frame_number == newest
    assert camera.read(0.05) is None
    assert camera.diagnostics()["dropped_frames"] == newest - before - 1


@pytest.mark.protocol
def test_a_repeated_frame_is_not_new(rig: Rig, camera: L515) -> None:
    rig.next_frame(camera)
    rig.server.duplicate("front")
    number = rig.expose()
    frame = camera.read(1.0)
    assert frame is not None
    assert frame.frame_number == number
    assert camera.read(0.1) is None


@pytest.mark.protocol
def test_a_frozen_camera_is_a_silent_one(rig: Rig, camera: L515) -> None:
    rig.next_frame(camera)
    rig.server.freeze("front")
    for _ in range(3):
        rig.expose()
        assert camera.read(0.03) is None
    rig.expose()
    with pytest.raises(HardwareError, match=r"^camera front: no frame from L515 f0000001 for 0\.3 s"):
        camera.read(1.0)
    rig.server.restore("front")
    assert rig.next_frame(camera).frame_number == rig.server.statistics("front").published


@pytest.mark.protocol
def test_frames_without_a_date_are_left_out() -> None:
    context = rs.context()
    device = BareDevice(context)
    camera = L515("front", settings(), context)
    camera.start()
    for number in range(5):
        device.push(number, rs.timestamp_domain.hardware_clock)
    assert camera.read(0.1) is None
    for number in range(5, 10):
        device.push(number, rs.timestamp_domain.global_time)
    frame = camera.read(1.0)
    assert frame is not None
    assert frame.frame_number == 9
    camera.stop()


# --- finding and starting


@pytest.mark.protocol
def test_a_wrong_serial_names_what_is_there(rig: Rig) -> None:
    with pytest.raises(HardwareError) as error:
        L515("front", settings(serial="f0123"), rig.context).start()
    assert str(error.value) == (
        "camera front: no L515 with serial f0123; found: f0000001. Check the USB 3 cable or set cameras.front.serial"
    )


@pytest.mark.protocol
def test_no_camera_at_all() -> None:
    with pytest.raises(HardwareError, match=r"^camera side: no L515 with serial f0000001; found: none\. Check"):
        L515("side", settings(), rs.context()).start()


@pytest.mark.protocol
def test_another_product_under_that_serial() -> None:
    context = rs.context()
    device = BareDevice(context, name="Intel RealSense D435")
    with pytest.raises(HardwareError, match="f0000001 is a Intel RealSense D435, not an L515"):
        L515("front", settings(), context).start()
    del device


@pytest.mark.protocol
def test_a_stream_the_camera_does_not_have(rig: Rig) -> None:
    camera = L515("front", settings(color_size=(1280, 720)), rig.context)
    with pytest.raises(
        HardwareError, match=r"no color stream of 1280x720 at 30 Hz; it offers: 160x120 at 30 Hz\. Set color_size"
    ):
        camera.start()


@pytest.mark.protocol
def test_two_readers_of_one_camera(rig: Rig, camera: L515) -> None:
    with pytest.raises(HardwareError, match=r"camera second: cannot be started: .*Close other programs"):
        L515("second", settings(), rig.context).start()
    rig.next_frame(camera)


@pytest.mark.protocol
def test_options_are_set_in_the_order_that_the_camera_needs(rig: Rig) -> None:
    context = Wire(rig.context, [])
    camera = L515("front", settings(preset="max_range", laser_power=40.0), context)
    camera.start()
    assert context.log == [
        ("visual_preset", 4),
        ("laser_power", 40.0),
        ("global_time_enabled", 1),
        ("global_time_enabled", 1),
    ]
    depth, color = rig.context.query_devices()[0].query_sensors()
    assert depth.get_option(rs.option.visual_preset) == 4
    assert depth.get_option(rs.option.laser_power) == 40
    assert depth.get_option(rs.option.global_time_enabled) == color.get_option(rs.option.global_time_enabled) == 1
    camera.stop()


@pytest.mark.protocol
def test_the_preset_keeps_its_laser_power(rig: Rig) -> None:
    context = Wire(rig.context, [])
    camera = L515("front", settings(), context)
    camera.start()
    assert "laser_power" not in dict(context.log)
    camera.stop()


@pytest.mark.protocol
def test_what_a_camera_lacks_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    context = rs.context()
    device = BareDevice(context, usb="2.1")
    camera = L515("front", settings(), context)
    with caplog.at_level(logging.WARNING):
        camera.start()
    assert "its Stereo depth has no option visual_preset" in caplog.text
    assert "on USB 2.1" in caplog.text
    assert np.isnan(float(camera.diagnostics()["temperature"]))
    camera.stop()
    del device


def test_a_camera_that_was_not_started_says_so() -> None:
    camera = L515("front", settings())
    camera.stop()
    for call in (lambda: camera.read(0.0), camera.color_info, camera.depth_info, camera.depth_to_color):
        with pytest.raises(HardwareError, match="camera front: not started"):
            call()
    assert camera.diagnostics() == {}
    assert not camera.finished


# --- loss and return


@pytest.mark.protocol
def test_time_out_then_loss_then_return(rig: Rig, camera: L515) -> None:
    rig.next_frame(camera)
    start = time.monotonic()
    assert camera.read(0.05) is None
    assert 0.04 < time.monotonic() - start < 0.25
    with pytest.raises(HardwareError, match="no frame from L515"):
        camera.read(5.0)
    assert time.monotonic() - start < 2.0
    rig.next_frame(camera)


@pytest.mark.protocol
def test_a_camera_that_never_sends_is_lost_too(rig: Rig) -> None:
    camera = L515("front", settings(start_time_out_s=0.1), rig.context)
    camera.start()
    with pytest.raises(HardwareError, match=r"no frame from L515 f0000001 for 0\.1 s"):
        camera.read(5.0)
    camera.stop()


@pytest.mark.protocol
def test_a_drop_out_is_seen_in_the_numbers(rig: Rig, camera: L515) -> None:
    before = rig.next_frame(camera).frame_number
    rig.server.drop("front", 0.2)
    for _ in range(6):
        rig.expose()
        assert camera.read(0.02) is None
    after = rig.next_frame(camera).frame_number
    assert after > before + 6
    assert camera.diagnostics()["dropped_frames"] == after - before - 1


@pytest.mark.protocol
def test_start_works_again_after_a_loss(rig: Rig, camera: L515) -> None:
    rig.next_frame(camera)
    rig.server.disconnect("front")
    with pytest.raises(HardwareError):
        camera.read(5.0)
    rig.server.restore("front")
    rig.wait_for_client()
    camera.start()
    rig.next_frame(camera)


@pytest.mark.protocol
def test_a_restarted_laboratory_goes_on_with_the_same_reader(rig: Rig, camera: L515) -> None:
    for _ in range(5):
        rig.next_frame(camera)
    rig.restart_laboratory()
    rig.exposure_ns = EPOCH_NS  # its clock starts anew as well
    frame = rig.next_frame(camera)
    np.testing.assert_array_equal(frame.color, rig.published[frame.frame_number][1])


@pytest.mark.protocol
def test_a_camera_that_has_left_the_bus(rig: Rig) -> None:
    context = Wire(rig.context, [])
    camera = L515("front", settings(start_time_out_s=0.1), context)
    camera.start()
    context.plugged = False
    with pytest.raises(HardwareError, match=r"no L515 with serial f0000001; found: none"):
        camera.read(1.0)
    camera.stop()


@pytest.mark.protocol
def test_recovery_gives_up_after_its_attempts(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    camera = L515("front", settings(start_time_out_s=0.1, recovery_attempts=2), rig.context)
    camera.start()
    with caplog.at_level(logging.WARNING), pytest.raises(HardwareError, match="not recovered in 2 attempts; replug it"):
        camera.recover()
    assert "attempt 1 failed: camera front: no frame" in caplog.text
    assert "attempt 2 failed: camera front: cannot be reset" in caplog.text  # a software device has no reset
    with pytest.raises(HardwareError, match="not started"):
        camera.read(0.0)


@pytest.mark.protocol
def test_recovery_ends_with_the_first_frame(rig: Rig, camera: L515) -> None:
    with ThreadPoolExecutor() as pool:
        recovery = pool.submit(camera.recover)
        while not recovery.done():
            rig.expose()
            time.sleep(0.02)
        recovery.result()
    rig.next_frame(camera)


@pytest.mark.protocol
def test_a_recovery_that_nobody_needs_any_more_ends_at_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """A node that is told to end must not wait for a camera that stays silent."""
    camera = L515("front", settings(start_time_out_s=60.0, recovery_attempts=3), rig.context)
    camera.start()
    with caplog.at_level(logging.WARNING), ThreadPoolExecutor() as pool:
        recovery = pool.submit(camera.recover)
        while "recovery attempt 1" not in caplog.text:
            time.sleep(0.01)
        camera.interrupt()
        assert recovery.result(timeout=20.0) is None
    assert "attempt 2" not in caplog.text
    with pytest.raises(HardwareError, match="not started"):
        camera.read(0.0)


# --- geometry


@pytest.mark.protocol
def test_geometry_as_the_camera_tells_it() -> None:
    turn = np.eye(4)
    turn[:3, :3] = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    turn[:3, 3] = [0.014, -0.002, 0.003]
    color = CameraIntrinsics(WIDTH, HEIGHT, 110.0, 111.0, 80.0, 61.0, "plumb_bob", (0.125, -0.5, 0.25, 0.0625, 0.375))
    rig = Rig(color=color, depth=GEOMETRY, depth_to_color=turn)
    camera = L515("front", settings(), rig.context)
    camera.start()
    assert camera.color_info() == color
    assert camera.depth_info() == GEOMETRY
    np.testing.assert_allclose(camera.depth_to_color(), turn, atol=1e-7)
    camera.stop()
    rig.close()


@pytest.mark.protocol
def test_alignment_is_free_where_both_images_are_one(rig: Rig, camera: L515) -> None:
    frame = rig.next_frame(camera)
    assert camera.align(frame) is frame.depth


def projected(depth: Any, baseline: float) -> Any:
    """Depth seen by a second camera ``baseline`` m to the left: every pixel's square, nearest surface first."""
    seen = np.zeros_like(depth)
    for v, u in zip(*np.nonzero(depth), strict=True):
        shift = GEOMETRY.fx * baseline / (depth[v, u] * 0.00025)
        left, right = int(np.floor(u - 0.5 + shift + 0.5)), int(np.floor(u + 0.5 + shift + 0.5))
        for target in range(max(left, 0), min(right, WIDTH - 1) + 1):
            if seen[v, target] == 0 or depth[v, u] < seen[v, target]:
                seen[v, target] = depth[v, u]
    return seen


@pytest.mark.protocol
def test_alignment_over_a_baseline() -> None:
    baseline = 0.014
    depth_to_color = np.eye(4)
    depth_to_color[0, 3] = baseline
    rig = Rig(depth=GEOMETRY, depth_to_color=depth_to_color)
    camera = L515("front", settings(), rig.context)
    camera.start()
    depth = np.full((HEIGHT, WIDTH), 4100, np.uint16)  # a wall at 1.025 m
    depth[30:90, 60:100] = 2300  # a box at 0.575 m
    depth[:, :20] = 0  # nothing measured
    color = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame = rig.next_frame(camera, lambda: rig.publish(color.copy(), depth.copy()))
    aligned = camera.align(frame)
    expected = projected(depth, baseline)
    assert aligned.shape == (HEIGHT, WIDTH)
    inner = (slice(1, -1), slice(1, -1))  # librealsense leaves out squares that reach over the border
    assert np.mean(aligned[inner] == expected[inner]) > 0.99
    moved = np.flatnonzero(aligned[60] == 2300)
    assert abs(int(moved[0]) - 60 - GEOMETRY.fx * baseline / 0.575) <= 1
    assert np.mean(aligned == depth) < 0.99
    np.testing.assert_array_equal(frame.depth, depth)
    camera.stop()
    rig.close()


# --- diagnostics


@pytest.mark.protocol
def test_diagnostics_tell_rate_device_and_heat(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    camera = L515("front", settings(temperature_limit=40.0), rig.context)
    camera.start()
    assert camera.diagnostics()["frame_rate"] == 0.0
    for _ in range(4):
        rig.next_frame(camera)
    with caplog.at_level(logging.WARNING):
        found = camera.diagnostics()
    assert float(found["frame_rate"]) > 1.0
    time.sleep(0.4)
    assert float(camera.diagnostics()["frame_rate"]) < min(float(found["frame_rate"]), 10.0)  # silence lowers the rate
    assert (found["serial"], found["firmware"], found["usb_type"]) == (SERIAL, "01.05.08.01", "3.2")
    assert found["temperature"] == 42.0
    assert "laser driver at 42 °C, above 40 °C" in caplog.text
    camera.stop()


# --- recordings


def record(rig: Rig, path: Path, streams: tuple[str, ...] = ("depth", "color")) -> None:
    recorder = rs.recorder(str(path), rig.context.query_devices()[0])
    syncer = rs.syncer()
    sensors: list[Any] = []
    for sensor in recorder.query_sensors():
        profiles = [p for p in sensor.get_stream_profiles() if p.stream_name().lower() in streams]
        if profiles:
            sensor.open(profiles)
            sensor.start(syncer)
            sensors.append(sensor)
    for _ in range(12):
        rig.expose()
        time.sleep(0.03)
    for sensor in sensors:
        sensor.stop()
        sensor.close()
    del recorder, syncer, sensors, sensor
    gc.collect()  # completes the file


@pytest.mark.protocol
def test_a_recording_plays_to_its_end_and_again(rig: Rig, tmp_path: Path) -> None:
    record(rig, tmp_path / "run.bag")
    camera = L515("front", L515Config(bag=tmp_path / "run.bag"))
    for _ in range(2):
        camera.start()
        assert not camera.finished
        frames: list[Frame] = []
        while not camera.finished:
            if (frame := camera.read(1.0)) is not None:
                frames.append(frame)
        assert len(frames) >= 6
        assert frames[-1].frame_number == max(rig.published)
        for frame in frames[-3:]:
            exposure_ns, color, depth = rig.published[frame.frame_number]
            assert abs(frame.exposure_ns - exposure_ns) < 1000
            np.testing.assert_array_equal(frame.color, color)
            np.testing.assert_array_equal(frame.depth, depth)
            assert frame.depth_scale == 0.00025
        numbers = [f.frame_number for f in frames]
        assert numbers == sorted(set(numbers))
        assert camera.read(0.1) is None
        assert camera.color_info() == GEOMETRY
        assert camera.align(frames[-1]) is frames[-1].depth
        del frames, frame
    with pytest.raises(HardwareError, match="a recording cannot be recovered"):
        camera.recover()
    camera.stop()


@pytest.mark.protocol
def test_recordings_that_cannot_be_played(rig: Rig, tmp_path: Path) -> None:
    record(rig, tmp_path / "depth.bag", ("depth",))
    (tmp_path / "garbage.bag").write_bytes(b"not a bag" * 100)
    for name, text in (
        ("depth.bag", "depth.bag holds Depth z16; record depth as z16 and colour as rgb8"),
        ("garbage.bag", "cannot play its recording: .*Record .*garbage.bag again"),
        ("missing.bag", r"no recording .*missing.bag\. Correct cameras\.front\.bag"),
    ):
        with pytest.raises(HardwareError, match=f"^camera front: .*{text}"):
            L515("front", L515Config(bag=tmp_path / name)).start()


# --- the process


@pytest.mark.protocol
def test_a_process_ends_cleanly_while_its_camera_streams(rig: Rig) -> None:
    script = f"""
from vipa.hardware import realsense
from vipa.hardware.l515 import L515, L515Config
from vipa_sim.camera_feed import FeedDevice
context = realsense.load().context()
FeedDevice({rig.server.address!r}, "{SERIAL}").add_to(context)
camera = L515("front", L515Config("{SERIAL}", ({WIDTH}, {HEIGHT}), ({WIDTH}, {HEIGHT}), start_time_out_s=20.0), context)
camera.start()
print("ready", flush=True)
frame = camera.read(20.0)
print("frame", frame.color.shape, flush=True)
"""
    environment = {"PYTHONPATH": ":".join(p for p in sys.path if p), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        while process.poll() is None:
            rig.expose()
            time.sleep(0.02)
        assert (process.stdout.read(), process.stderr.read(), process.returncode) == ("frame (120, 160, 3)\n", "", 0)


def test_the_configuration_needs_no_librealsense() -> None:
    script = "import sys, vipa.hardware.l515; sys.exit('pyrealsense2' in sys.modules)"
    environment = {"PYTHONPATH": ":".join(p for p in sys.path if p)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
