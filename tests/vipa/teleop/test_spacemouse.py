"""A SpaceMouse from the reports of the device, decoded by pyspacemouse."""

from collections import deque

import numpy as np
import pytest

pyspacemouse = pytest.importorskip("pyspacemouse", reason="needs the package pyspacemouse: pip install '.[teleop]'")
from easyhid import HIDException  # noqa: E402

from vipa.errors import HardwareError  # noqa: E402
from vipa.teleop.axes import AxesConfig  # noqa: E402
from vipa.teleop.sources import make_source  # noqa: E402
from vipa.teleop.sources.spacemouse import SpaceMouseConfig, SpaceMouseSource  # noqa: E402

MS = 1_000_000
HAND = np.full(6, 0.5)
SPEED = AxesConfig(linear=0.2, angular=0.5, expo=0.0, dead_zone=0.05)


class Reports:
    """The HID device under pyspacemouse, which gives one report per read."""

    def __init__(self) -> None:
        self.waiting: deque[bytearray] = deque()
        self.lost = False

    def read(self, size: int) -> bytearray:
        if self.lost:
            raise HIDException("Failed to read from HID device: -1")
        return self.waiting.popleft() if self.waiting else bytearray()

    def axes(self, channel: int, *values: int) -> None:
        """Shifts on channel 1, turns on 2, as the device has them: x right, y to the user, z down."""
        self.waiting.append(bytearray([channel]) + b"".join(v.to_bytes(2, "little", signed=True) for v in values))

    def buttons(self, mask: int) -> None:
        self.waiting.append(bytearray([3, mask]) + bytearray(11))

    def close(self) -> None:
        self.lost = True


def make(**config: object) -> tuple[Reports, SpaceMouseSource]:
    reports = Reports()
    info = pyspacemouse.get_device_specs()["SpaceMouseCompact"]
    info = pyspacemouse.apply_axis_convention(info, pyspacemouse.AxisConvention.ROS)
    device = pyspacemouse.SpaceMouseDevice(info, reports)
    return reports, SpaceMouseSource(device, SpaceMouseConfig(axes=SPEED, **config))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("channel", "values", "expected"),
    [
        (1, (0, -350, 0), [0.2, 0, 0, 0, 0, 0]),  # pushed away from the user: forward
        (1, (350, 0, 0), [0, -0.2, 0, 0, 0, 0]),  # to the right
        (1, (0, 0, -350), [0, 0, 0.2, 0, 0, 0]),  # pulled up
        (2, (0, 0, -350), [0, 0, 0, 0, 0, 0.5]),  # turned counter-clockwise, seen from above
    ],
)
def test_the_cap_moves_along_and_about_the_axes_of_ros(
    channel: int, values: tuple[int, ...], expected: list[float]
) -> None:
    reports, source = make()
    reports.axes(channel, *values)
    command = source.read(MS, HAND)
    assert command is not None
    assert command.clutch
    assert command.twist is not None
    assert command.twist.round(6).tolist() == expected


def test_all_waiting_reports_count_and_the_cap_that_springs_back_opens_the_clutch() -> None:
    reports, source = make()
    for k in range(8):
        reports.axes(1, 0, -40 * k, 0)
        reports.axes(2, 0, 0, 30 * k)
    command = source.read(MS, HAND)
    assert command is not None
    assert command.clutch
    assert command.twist is not None
    assert command.twist[0] > 0.15
    assert not reports.waiting
    reports.axes(1, 0, 5, 0)
    reports.axes(2, 0, 0, 0)
    command = source.read(2 * MS, HAND)
    assert command is not None
    assert not command.clutch


def test_buttons_move_the_hand_and_one_can_be_the_clutch() -> None:
    reports, source = make()
    source.read(0, HAND)
    reports.buttons(1)
    command = source.read(100 * MS, HAND)
    assert command is not None
    assert command.clutch
    assert command.hand == pytest.approx(np.full(6, 0.42))
    reports, source = make(clutch_button=0, close_button=1, open_button=2)
    reports.axes(1, 0, -350, 0)
    command = source.read(MS, HAND)
    assert command is not None
    assert not command.clutch
    reports.buttons(1)
    command = source.read(2 * MS, HAND)
    assert command is not None
    assert command.clutch


def test_a_device_that_is_unplugged_is_lost() -> None:
    reports, source = make()
    reports.lost = True
    with pytest.raises(HardwareError, match="teleop spacemouse: lost"):
        source.read(MS, HAND)


def test_without_a_device_or_its_library_one_line_says_what_to_do() -> None:
    with pytest.raises(HardwareError, match=r"teleop spacemouse: .*libhidapi-hidraw0"):
        make_source("spacemouse", {})
