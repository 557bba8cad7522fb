"""The keyboard over a genuine terminal."""

import os
import pty
import termios
from collections.abc import Iterator

import numpy as np
import pytest

from vipa.errors import ConfigurationError, HardwareError
from vipa.teleop.sources import make_source
from vipa.teleop.sources.keyboard import KeyboardConfig, KeyboardSource

MS = 1_000_000
HAND = np.ones(6)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The operator's end, and the program's."""
    operator, program = pty.openpty()
    yield operator, program
    for descriptor in (operator, program):
        os.close(descriptor)


def test_keys_push_for_a_moment_and_their_repetition_goes_on(terminal: tuple[int, int]) -> None:
    operator, program = terminal
    source = KeyboardSource(KeyboardConfig(), program)
    idle = source.read(0, HAND)
    assert idle is not None
    assert not idle.clutch
    os.write(operator, b"wa")
    command = source.read(10 * MS, HAND)
    assert command is not None
    assert command.clutch
    assert command.twist is not None
    assert command.twist.tolist() == [0.1, 0.1, 0, 0, 0, 0]
    held = source.read(120 * MS, HAND)
    assert held is not None
    assert held.clutch
    over = source.read(140 * MS, HAND)
    assert over is not None
    assert not over.clutch
    os.write(operator, b"o")
    turn = source.read(150 * MS, HAND)
    assert turn is not None
    assert turn.twist is not None
    assert turn.twist.tolist() == [0, 0, 0, 0, 0, -0.4]
    os.write(operator, b" ")
    stopped = source.read(160 * MS, HAND)
    assert stopped is not None
    assert not stopped.clutch
    source.close()


def test_c_closes_the_hand(terminal: tuple[int, int]) -> None:
    operator, program = terminal
    source = KeyboardSource(KeyboardConfig(), program)
    source.read(0, HAND)
    for k in range(1, 21):
        os.write(operator, b"C")
        command = source.read(k * 20 * MS, HAND)
    assert command is not None
    assert command.hand == pytest.approx(np.full(6, 1.0 - 0.8 * 0.4), abs=0.01)
    source.close()


def test_the_terminal_is_set_as_it_was(terminal: tuple[int, int]) -> None:
    _, program = terminal
    before = termios.tcgetattr(program)
    source = KeyboardSource(KeyboardConfig(), program)
    assert not termios.tcgetattr(program)[3] & (termios.ECHO | termios.ICANON)
    assert termios.tcgetattr(program)[3] & termios.ISIG, "Ctrl-C still ends the program"
    source.close()
    assert termios.tcgetattr(program) == before


def test_a_terminal_that_is_gone_is_lost() -> None:
    operator, program = pty.openpty()
    source = KeyboardSource(KeyboardConfig(), program)
    os.close(operator)
    with pytest.raises(HardwareError, match="the terminal is gone"):
        source.read(0, HAND)
    source.close()
    os.close(program)


def test_without_a_terminal_one_line_says_so() -> None:
    readable, writable = os.pipe()
    with pytest.raises(ConfigurationError, match="standard input is no terminal"):
        KeyboardSource(KeyboardConfig(), readable)
    for descriptor in (readable, writable):
        os.close(descriptor)


def test_options_are_read_strictly() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown key teleop keyboard\.speed"):
        make_source("keyboard", {"speed": 1})
    with pytest.raises(ConfigurationError, match=r"teleop keyboard: key_hold: 3\.0"):
        make_source("keyboard", {"key_hold": 3})
    with pytest.raises(ConfigurationError, match="unknown source 'joystick'; known: keyboard, gamepad"):
        make_source("joystick", {})
