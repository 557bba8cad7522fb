"""Dead zone, expo, and buttons of the hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vipa.teleop.axes import AxesConfig, AxesMapper, shape

MS = 1_000_000
ZERO = np.zeros(6)
HAND = np.full(6, 0.6)


@given(st.floats(-1.5, 1.5), st.floats(-1.5, 1.5), st.floats(0.0, 0.5), st.floats(0.0, 1.0))
@settings(max_examples=50, deadline=None)
def test_the_shape_is_odd_increasing_and_still_in_the_dead_zone(a: float, b: float, dead: float, expo: float) -> None:
    low, high = shape(np.sort([a, b]), dead, expo)
    assert -1.0 <= low <= high <= 1.0
    assert shape(np.array([-a]), dead, expo) == -shape(np.array([a]), dead, expo)
    if abs(a) <= dead:
        assert shape(np.array([a]), dead, expo) == 0.0
    assert shape(np.array([1.0]), dead, expo) == 1.0


def test_a_full_deflection_is_the_configured_speed() -> None:
    mapper = AxesMapper(AxesConfig(linear=0.2, angular=0.5, frame="tool"))
    command = mapper.command(np.array([1.0, 0, -1.0, 0, 1.0, 0]), True, 0.0, MS, HAND)
    assert command.twist is not None
    assert command.twist.tolist() == [0.2, 0, -0.2, 0, 0.5, 0]
    assert command.frame == "tool"
    assert np.isnan(command.hand).all()
    slow = mapper.command(np.array([1.0, 0, 0, 0, 0, 0]), True, 0.0, MS, HAND, slow=True)
    assert slow.twist is not None
    assert slow.twist[0] == pytest.approx(0.05)


def test_the_hand_closes_from_where_it_is_and_stays_there_until_the_clutch_opens() -> None:
    mapper = AxesMapper(AxesConfig(hand_rate=1.0))
    mapper.command(ZERO, True, 0.0, 0, HAND)
    for k in range(1, 21):
        command = mapper.command(ZERO, True, 1.0, 10 * k * MS, HAND)
    assert command.hand == pytest.approx(np.full(6, 0.4))
    held = mapper.command(ZERO, True, 0.0, 300 * MS, HAND)
    assert held.hand == pytest.approx(np.full(6, 0.4))
    opened = mapper.command(ZERO, True, -1.0, 5000 * MS, HAND)
    assert opened.hand == pytest.approx(np.full(6, 0.5)), "a pause moves it by no more than 0.1 s"
    assert np.isnan(mapper.command(ZERO, False, 1.0, 5010 * MS, HAND).hand).all()


@pytest.mark.parametrize("changes", [{"linear": 0.0}, {"dead_zone": 1.0}, {"expo": 1.1}, {"frame": "world"}])
def test_settings_that_make_no_sense_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        AxesConfig(**changes)  # type: ignore[arg-type]
