"""A gamepad from genuine events of evdev; where the machine has uinput, through the kernel."""

import errno
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest

evdev = pytest.importorskip("evdev", reason="needs the package evdev: pip install '.[teleop]'")
from evdev import AbsInfo, InputEvent, ecodes  # noqa: E402

from vipa.errors import HardwareError  # noqa: E402
from vipa.teleop.axes import AxesConfig  # noqa: E402
from vipa.teleop.sources import make_source  # noqa: E402
from vipa.teleop.sources.gamepad import GamepadConfig, GamepadSource, open_gamepad  # noqa: E402

MS = 1_000_000
HAND = np.full(6, 0.5)
AXES = AxesConfig(linear=0.2, angular=0.5, expo=0.0)
STICK = AbsInfo(value=0, min=-32768, max=32767, fuzz=16, flat=128, resolution=0)
TRIGGER = AbsInfo(value=0, min=0, max=255, fuzz=0, flat=0, resolution=0)
PAD = AbsInfo(value=0, min=-1, max=1, fuzz=0, flat=0, resolution=0)
RANGES = {
    **dict.fromkeys((ecodes.ABS_X, ecodes.ABS_Y, ecodes.ABS_RX, ecodes.ABS_RY), STICK),
    **dict.fromkeys((ecodes.ABS_Z, ecodes.ABS_RZ), TRIGGER),
    **dict.fromkeys((ecodes.ABS_HAT0X, ecodes.ABS_HAT0Y), PAD),
}
KEYS = [ecodes.BTN_SOUTH, ecodes.BTN_TL, ecodes.BTN_TR]


class Recorded:
    """Gives what a device would give, event by event."""

    def __init__(self) -> None:
        self.events: deque[Any] = deque()
        self.ranges = dict(RANGES)
        self.keys: list[int] = []
        self.lost = False

    def send(self, *events: tuple[int, int, int]) -> None:
        self.events += [InputEvent(0, 0, *event) for event in (*events, (ecodes.EV_SYN, ecodes.SYN_REPORT, 0))]

    def read(self) -> Any:
        if self.lost:
            raise OSError(errno.ENODEV, "No such device")
        if not self.events:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        while self.events:
            yield self.events.popleft()

    def absinfo(self, axis_num: int) -> Any:
        return self.ranges[axis_num]

    def active_keys(self) -> list[int]:
        return self.keys

    def capabilities(self) -> dict[int, Any]:
        return {ecodes.EV_KEY: KEYS, ecodes.EV_ABS: list(self.ranges.items())}

    def close(self) -> None:
        self.lost = True


def twist(source: GamepadSource, now_ns: int = MS) -> list[float]:
    command = source.read(now_ns, HAND)
    assert command is not None
    assert command.twist is not None
    return command.twist.round(6).tolist()


def test_sticks_and_pad_move_along_and_about_the_axes_and_a_held_stick_goes_on() -> None:
    device = Recorded()
    source = GamepadSource(device, AXES)
    assert twist(source) == [0.0] * 6
    device.send((ecodes.EV_KEY, ecodes.BTN_TL, 1), (ecodes.EV_ABS, ecodes.ABS_Y, -32768))
    assert twist(source) == [0.2, 0, 0, 0, 0, 0]
    assert twist(source, 900 * MS) == [0.2, 0, 0, 0, 0, 0]
    device.send((ecodes.EV_ABS, ecodes.ABS_Y, 0), (ecodes.EV_ABS, ecodes.ABS_X, 32767))
    assert twist(source) == [0, -0.2, 0, 0, 0, 0]
    device.send((ecodes.EV_ABS, ecodes.ABS_X, 900), (ecodes.EV_ABS, ecodes.ABS_RY, -32768))
    assert twist(source) == [0, 0, 0.2, 0, 0, 0], "900 lies in the dead zone"
    device.send((ecodes.EV_ABS, ecodes.ABS_RY, 0), (ecodes.EV_ABS, ecodes.ABS_RX, -32768))
    assert twist(source) == [0, 0, 0, 0, 0, 0.5]
    device.send((ecodes.EV_ABS, ecodes.ABS_RX, 0), (ecodes.EV_ABS, ecodes.ABS_HAT0X, 1))
    assert twist(source) == [0, 0, 0, -0.5, 0, 0]
    device.send(
        (ecodes.EV_ABS, ecodes.ABS_HAT0X, 0), (ecodes.EV_ABS, ecodes.ABS_HAT0Y, -1), (ecodes.EV_KEY, ecodes.BTN_TR, 1)
    )
    assert twist(source) == [0, 0, 0, 0, 0.125, 0]


def test_the_left_shoulder_is_the_clutch_and_the_triggers_move_the_hand() -> None:
    device = Recorded()
    source = GamepadSource(device, AXES)
    source.read(0, HAND)
    device.send((ecodes.EV_ABS, ecodes.ABS_RZ, 255))
    command = source.read(100 * MS, HAND)
    assert command is not None
    assert not command.clutch
    assert np.isnan(command.hand).all()
    device.send((ecodes.EV_KEY, ecodes.BTN_TL, 1))
    command = source.read(200 * MS, HAND)
    assert command is not None
    assert command.clutch
    assert command.hand == pytest.approx(np.full(6, 0.5 - 0.8 * 0.1))
    device.send((ecodes.EV_ABS, ecodes.ABS_RZ, 0), (ecodes.EV_ABS, ecodes.ABS_Z, 255))
    command = source.read(300 * MS, HAND)
    assert command is not None
    assert command.hand == pytest.approx(HAND)
    device.send((ecodes.EV_KEY, ecodes.BTN_TL, 0))
    command = source.read(310 * MS, HAND)
    assert command is not None
    assert not command.clutch


def test_after_lost_events_the_state_is_asked_anew() -> None:
    device = Recorded()
    source = GamepadSource(device, AXES)
    device.send((ecodes.EV_KEY, ecodes.BTN_TL, 1), (ecodes.EV_ABS, ecodes.ABS_Y, -32768))
    assert twist(source)[0] == 0.2
    device.ranges[ecodes.ABS_Y] = STICK._replace(value=32767)
    device.send((ecodes.EV_SYN, ecodes.SYN_DROPPED, 0), (ecodes.EV_ABS, ecodes.ABS_Y, -32768))
    command = source.read(MS, HAND)
    assert command is not None
    assert not command.clutch, "the button was let go in between"
    assert command.twist is not None
    assert command.twist[0] == pytest.approx(-0.2)


def test_a_gamepad_that_is_unplugged_is_lost() -> None:
    device = Recorded()
    source = GamepadSource(device, AXES)
    device.lost = True
    with pytest.raises(HardwareError, match="teleop gamepad: lost: No such device"):
        source.read(MS, HAND)


def test_without_a_gamepad_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evdev, "list_devices", list)
    with pytest.raises(HardwareError, match="none found; is it connected"):
        make_source("gamepad", {})
    with pytest.raises(HardwareError, match=r"/dev/input/event999: No such file or directory; .*group input"):
        make_source("gamepad", {"device": "/dev/input/event999"})


@pytest.mark.skipif(not Path("/dev/uinput").exists(), reason="this machine has no uinput")
def test_through_the_kernel() -> None:
    with evdev.UInput({ecodes.EV_KEY: KEYS, ecodes.EV_ABS: list(RANGES.items())}, name="gamepad of a test") as pad:
        time.sleep(0.5)
        source = open_gamepad(GamepadConfig(pad.device.path, AXES))
        pad.write(ecodes.EV_KEY, ecodes.BTN_TL, 1)
        pad.write(ecodes.EV_ABS, ecodes.ABS_Y, -32768)
        pad.syn()
        time.sleep(0.1)
        assert twist(source) == [0.2, 0, 0, 0, 0, 0]
        source.close()
