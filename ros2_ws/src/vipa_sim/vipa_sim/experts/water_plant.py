"""The expert of Water-Plant: takes the can by its grip, aims the spout at the plant, and presses the trigger."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vipa_inference.rotations import matrix_from_rotation_vector
from vipa_sim.experts.base import Expert, Grasp, Move, pose_at, yaw_of
from vipa_sim.scenes.water_plant import PIVOT_HEIGHT, PLANT_HEIGHT, SPOUT

Array = NDArray[np.float64]

GRASP = Grasp(
    tilt=0.0,
    offset=(0.012, -0.004, -0.026),
    closed=(0.43, 0.43, 0.43, 1.0, 0.46, 0.1),
    opened=(0.88, 0.88, 0.88, 1.0, 1.0, 0.1),
)
HOVER = 0.12  # m
PRESSING = 0.2  # the index finger's target, 0 closed - 1 open
DISTANCE = 0.12  # m from the spout's end to the middle of the plant
ABOVE = 0.02  # m: the spout's end above the middle of the leaves
HELD = 0.08  # m from the can's origin to the end effector, at most


class WaterPlantExpert(Expert):
    """Picks the can up, aims, and presses until the plant is watered; a can that fell is picked up again."""

    name = "water_plant"

    def script(self) -> Iterator[Move]:
        """Hold the can; aim; press."""
        while not self.situation.done[2]:
            if not self._holds():
                yield from self._pick_up()
                continue
            yield from self._aim()
            if self._holds() and not self.situation.done[2]:
                yield from self._press()

    def _holds(self) -> bool:
        can, hand = self.situation.poses["can"], self.here()[0][:3, 3]
        lifted = can[2, 3] > PIVOT_HEIGHT * self.situation.scale + 0.02
        return lifted and float(np.linalg.norm(can[:3, 3] - hand)) < HELD

    def _pick_up(self) -> Iterator[Move]:
        can = self.situation.poses["can"]
        pose, _ = self.here()
        top = can[2, 3] + HOVER
        if pose[2, 3] < top and float(np.linalg.norm((can - pose)[:2, 3])) < 0.15:
            yield self.lift(top, np.array(GRASP.opened))
        yield from self.reach_for(can[:3, 3], yaw_of(can), GRASP, HOVER)
        yield self.lift(self.here()[0][2, 3] + 0.08, speed=0.2)

    def _aim(self) -> Iterator[Move]:
        """Turn the can so that its spout points at the plant, and carry it there."""
        situation = self.situation
        can, plant = situation.poses["can"], situation.poses["plant"][:3, 3]
        pose, hand = self.here()
        start, end = (np.array(point) * situation.scale for point in SPOUT)
        place, origin, rotation = can[:2, 3], can[:3, 3], can[:3, :3]
        for _ in range(2):  # the spout's line runs beside the can's origin: aim from where the can will be
            bearing = float(np.arctan2(*(plant[:2] - place)[::-1]))
            rotation = matrix_from_rotation_vector([0.0, 0.0, bearing - yaw_of(can)]) @ can[:3, :3]
            tip = plant - DISTANCE * np.array([np.cos(bearing), np.sin(bearing), 0.0])
            tip[2] = PLANT_HEIGHT + ABOVE
            origin = tip - rotation @ end
            place = origin[:2] + (rotation @ np.array([0.0, start[1], 0.0]))[:2]
        goal = pose_at(origin, rotation) @ np.linalg.inv(can) @ pose
        high = goal.copy()
        high[2, 3] = max(goal[2, 3], pose[2, 3])
        yield Move(high, hand, 0.2)
        yield Move(goal, hand, self.config.careful, settle=0.4)

    def _press(self) -> Iterator[Move]:
        """Press the trigger; let go of it where pressing and aiming once more did not help."""
        pose, hand = self.here()
        was_pressed = hand[3] < 1.0
        hand = hand.copy()
        hand[3] = 1.0 if was_pressed else PRESSING
        yield Move(pose, hand, settle=0.2 if was_pressed else 0.6)
