"""Jumps of the clock while the arm moves: the controller must hold or stop, and act on nothing from before."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from vipa.control.controller import ControlOutput
from vipa.faults.outcome import Outcome
from vipa.faults.rig import CYCLE_NS, NS, Rig
from vipa.faults.suite import InjectionOptions
from vipa_inference.policy import ActionChunk

JUMPS_S = (0.5, 2.0, 60.0, 86400.0, -0.2, -2.0, -60.0, -86400.0)
_MOVING_CYCLES = (40, 120)  # before the jump
_STALE_CYCLES = 30  # after it, in which what is from before may still arrive
_SILENT_CYCLES = 90  # then, in which no chunk arrives
_RESUMED_CYCLES = 200  # within which the arm must move again on fresh data
_SOUND_EVERY = 10  # cycles
_MOVES = 1e-3  # rad


class ClockJump:
    """One jump, and what the controller did.

    Args:
        seed: of the motion.
        jump_s: how far ROS time leaps.
        cycles: in which the arm moves before.
        fresh_state: whether the arm's readings have the new time at once; else they are from before, too.
    """

    def __init__(self, seed: int, jump_s: float, cycles: int, fresh_state: bool) -> None:
        rig = self.rig = Rig(seed)
        chunk = self._move(cycles)
        self.speed = float(np.abs(rig.arm.dq).max())  # rad/s, at the jump
        rig.jump(round(jump_s * NS))
        at_jump = rig.arm.q.copy()
        self.stale_accepted, self.stale_windows = 0, 0
        for cycle in range(_STALE_CYCLES):
            rig.begin_cycle(0 if fresh_state else round(jump_s * NS) + cycle * CYCLE_NS)
            self.stale_accepted += rig.offer(self._again(chunk, cycle))
            output = rig.tick()
            self.stale_windows += output is not None and _moves(output)
        for _ in range(_SILENT_CYCLES):
            rig.begin_cycle()
            output = rig.tick()
            self.stale_windows += output is not None and _moves(output)
        self.moved = float(np.abs(rig.arm.q - at_jump).max())  # rad
        self.is_at_rest = float(np.abs(rig.arm.dq).max()) < 1e-3
        before = rig.arm.q.copy()
        self._move(_RESUMED_CYCLES)
        self.resumed = float(np.abs(rig.arm.q - before).max()) > _MOVES

    def _move(self, cycles: int) -> ActionChunk:
        """The arm moves on sound chunks; the newest of them."""
        chunk = self.rig.sound_chunk()
        for cycle in range(cycles):
            self.rig.begin_cycle()
            if cycle % _SOUND_EVERY == 0:
                chunk = self.rig.sound_chunk()
                self.rig.offer(chunk)
            self.rig.tick()
        return chunk

    def _again(self, chunk: ActionChunk, cycle: int) -> ActionChunk:
        """What a policy might still say that saw the world before the jump."""
        self.rig.next_id += 1
        return replace(chunk, chunk_id=self.rig.next_id, observation_ns=chunk.observation_ns + cycle + 1)


def _moves(output: ControlOutput) -> bool:
    """Whether a window leaves that is no stop."""
    return output.window is not None and not output.stopping and bool(np.abs(output.window.velocities).max() > 1e-3)


def inject(options: InjectionOptions) -> Iterator[Outcome]:
    """Let the clock jump, forward and back, with readings that are from before and with fresh ones."""
    chance = options.random("clock")
    jumps = [
        ClockJump(chance.randrange(2**32), jump_s, chance.randrange(*_MOVING_CYCLES), fresh_state)
        for _ in range(options.repeats)
        for jump_s in JUMPS_S
        for fresh_state in (False, True)
    ]
    yield Outcome(
        "clock_jumps",
        len(jumps),
        {
            "stale_chunks_accepted": sum(jump.stale_accepted for jump in jumps),
            "stale_windows_sent": sum(jump.stale_windows for jump in jumps),
            "still_moving": sum(not jump.is_at_rest for jump in jumps),
            "not_resumed": sum(not jump.resumed for jump in jumps),
            "commands_outside_limits": sum(jump.rig.arm.outside for jump in jumps),
            "crashes": sum(len(jump.rig.crashes) for jump in jumps),
            "commands_refused_by_driver": sum(jump.rig.arm.refused for jump in jumps),
            "moved_after_jump_max_rad": max(jump.moved for jump in jumps),
            "fastest_at_jump_rad_s": max(jump.speed for jump in jumps),
        },
        {
            "stale_chunks_accepted": ("==", 0.0),
            "stale_windows_sent": ("==", 0.0),
            "still_moving": ("==", 0.0),
            "not_resumed": ("==", 0.0),
            "commands_outside_limits": ("==", 0.0),
            "crashes": ("==", 0.0),
            "fastest_at_jump_rad_s": (">", 0.05),
        },
    )
