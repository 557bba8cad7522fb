"""The expert of Wipe-Board: grips the cloth from above and sweeps it in strips over whatever ink is left."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vipa_sim.experts.base import Expert, Grasp, Move, pose_at
from vipa_sim.scenes.wipe_board import BOARD_HALF_SIZE, CLOTH_HALF_SIZE

Array = NDArray[np.float64]

GRASP = Grasp(
    tilt=-0.12,
    offset=(0.0, -0.007, 0.024),
    closed=(0.32, 0.32, 0.32, 0.32, 0.09, 0.15),
    opened=(0.94, 0.94, 0.94, 0.94, 1.0, 0.15),
)
HOVER = 0.10  # m
CARRYING_HEIGHT = 0.16  # m of the end effector
PRESS = 0.006  # m that the cloth is sent into the board
STRIP = 0.030  # m between two strips
OVERRUN = 0.015  # m that a strip goes beyond the ink
WIPING_SPEED = 0.22  # m/s
HELD = 0.09  # m from the cloth to the end effector, at most


class WipeBoardExpert(Expert):
    """Picks up the cloth, wipes, looks what is left, and wipes again."""

    name = "wipe_board"

    def script(self) -> Iterator[Move]:
        """Grip the cloth until it is held; wipe until no ink is left; let go nowhere."""
        while not self.situation.done[2]:
            if not self._holds():
                yield from self._pick_up()
            else:
                yield from self._wipe()
        yield self.lift(CARRYING_HEIGHT)

    def _holds(self) -> bool:
        cloth, hand = self.situation.poses["cloth"][:3, 3], self.here()[0][:3, 3]
        lifted = cloth[2] > CLOTH_HALF_SIZE[2] * self.situation.scale + 0.02
        return lifted and float(np.linalg.norm(cloth - hand)) < HELD

    def _pick_up(self) -> Iterator[Move]:
        if self.here()[0][2, 3] < CARRYING_HEIGHT:
            yield self.lift(CARRYING_HEIGHT, np.array(GRASP.opened))
        yield from self.reach_for(self.situation.poses["cloth"][:3, 3], 0.0, GRASP, HOVER)
        yield self.lift(CARRYING_HEIGHT)

    def _wipe(self) -> Iterator[Move]:
        situation = self.situation
        ink = situation.facts["ink"].reshape(-1, 2)
        pose, hand = self.here()
        cloth = situation.poses["cloth"]
        to_hand = pose[:3, 3] - cloth[:3, 3]
        half = np.array(CLOTH_HALF_SIZE) * situation.scale
        height = 2 * BOARD_HALF_SIZE[2] + float(np.abs(cloth[2, :3]) @ half) - PRESS
        first, last = ink.min(axis=0), ink.max(axis=0)
        strips = np.arange(first[0], last[0] + STRIP, STRIP)
        forward = True
        for x in strips:
            near = ink[np.abs(ink[:, 0] - x) <= STRIP]
            if not len(near):
                continue
            ends = [near[:, 1].min() - OVERRUN, near[:, 1].max() + OVERRUN]
            start, end = ends if forward else ends[::-1]
            forward = not forward
            if pose[2, 3] > height + to_hand[2] + 0.02:
                yield Move(pose_at([*(np.array([x, start]) + to_hand[:2]), CARRYING_HEIGHT], pose[:3, :3]), hand)
            for y in (start, end):
                place = np.array([x, y, height]) + to_hand
                pose = pose_at(place, pose[:3, :3])
                yield Move(pose, hand, WIPING_SPEED if y == end else self.config.careful)
        yield self.lift(CARRYING_HEIGHT)
