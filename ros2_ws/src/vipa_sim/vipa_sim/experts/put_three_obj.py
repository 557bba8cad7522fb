"""The expert of Put-Three-Obj: hooks the drawer open, carries each fruit into it, and pushes it shut."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vipa_sim.experts.base import OPEN, Expert, Grasp, Move, hand_rotation, pose_at, yaw_of
from vipa_sim.scenes.put_three_obj import BAR_DISTANCE, DRAWER_HALF_SIZE, DRAWER_TRAVEL, FRUITS, RADII

Array = NDArray[np.float64]

SIDEWAYS = 1.3
"""rad: the hand's turn about the vertical while it is tilted: in the plane of the arm, the wrist would become singular.
So it turns upright, and tilts when it has turned."""
LARGEST_TURN = 0.6
"""rad to either side of that."""
UPRIGHT = 0.98
"""Cosine of the tilt below which the hand counts as upright."""
GRASPS = {
    "apple": Grasp(-0.5, (0.0, -0.01, 0.01), (0.4, 0.4, 0.4, 0.4, 0.2, 0.1), (0.9, 0.9, 0.9, 0.9, 1.0, 0.1)),
    "banana": Grasp(-0.75, (0.0, 0.01, 0.008), (0.35, 0.35, 0.35, 0.35, 0.3, 0.1), (0.85, 0.85, 0.85, 0.85, 1.0, 0.1)),
    "plum": Grasp(-0.6, (0.0, -0.01, 0.003), (0.31, 0.31, 0.31, 0.31, 0.31, 0.09), (0.88, 0.88, 0.88, 0.88, 1.0, 0.09)),
}
SLOTS = {"apple": (-0.035, -0.055), "banana": (-0.035, 0.0), "plum": (-0.035, 0.055)}
"""m from the middle of the drawer, across which each fruit is let go."""
HOOK_BEHIND = 0.024  # m from the bar to the fingers' middle
HOOK_TIP = 0.045  # m of the fingertips above the table while they hook
PUSH_TIP = 0.082  # m of the fingertips above the table while they push: the palm must clear the cabinet
FINGERS = np.array([0.067, -0.020])
"""m from the end effector to the middle of the straight fingers, in the base frame with the hand straight down."""
REACH = 0.062  # m that straight fingers reach below the end effector
FORWARDS = np.array([1.0, 0.0, 0.0])
PUSH = 0.017  # m that the fingers go further than the drawer's travel: 1 cm stays open, or the hand meets the cabinet
STRAIGHT = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
BENT = np.array([0.9, 0.9, 0.9, 0.9, 1.0, 1.0])
HOVER = 0.12  # m
CARRYING_HEIGHT = 0.28  # m of the end effector
RELEASE_HEIGHT = 0.15  # m of the fruit
SETTLING = 0.5  # s until a fruit that has been dropped into the drawer lies still
SLOW = 0.12  # m/s, while it moves the drawer
LIFTING = 0.2  # m/s, tilted
HELD = 0.10  # m from the fruit to the end effector, at most


class PutThreeObjExpert(Expert):
    """Does what is not done yet in the task's order; a fruit that was not lifted or fell is taken again."""

    name = "put_three_obj"

    def script(self) -> Iterator[Move]:
        """Open, fill, close."""
        if self.here()[0][2, 3] < CARRYING_HEIGHT:
            yield self.lift(CARRYING_HEIGHT)
        if self.here()[0][2, 2] > -UPRIGHT:
            yield Move(pose_at(self.here()[0][:3, 3], hand_rotation(SIDEWAYS)), OPEN)
        while not self.situation.done[0] or (not all(self.situation.done[1:4]) and self._travel() < 0.12):
            yield from self._open()
        for number, fruit in enumerate(FRUITS, start=1):
            while not self.situation.done[number]:
                yield from self._place(fruit, GRASPS[fruit])
        while not self.situation.done[4]:
            yield from self._close()

    def _travel(self) -> float:
        return self.situation.joints["drawer"]

    def _behind_bar(self, tip: float) -> Array:
        """(3,) m: the end effector with the fingers between bar and drawer, their tips at a height ``tip``."""
        x, y, _ = self.situation.poses["drawer"][:3, 3]
        bar = np.array([x - BAR_DISTANCE + HOOK_BEHIND, y])
        return np.array([*(bar - FINGERS), tip + REACH])

    def _open(self) -> Iterator[Move]:
        down, place = hand_rotation(0.0), self._behind_bar(HOOK_TIP)
        left = DRAWER_TRAVEL - self._travel()
        yield Move(pose_at([*place[:2], CARRYING_HEIGHT], down), STRAIGHT)
        yield Move(pose_at(place, down), STRAIGHT, self.config.careful)
        yield Move(pose_at(place, down), BENT)
        pulled = place - left * FORWARDS
        yield Move(pose_at(pulled, down), BENT, SLOW, settle=0.2)
        yield Move(pose_at(pulled + 0.015 * FORWARDS, down), STRAIGHT)
        yield self.lift(CARRYING_HEIGHT)
        yield Move(pose_at(self.here()[0][:3, 3], hand_rotation(SIDEWAYS)), OPEN)

    def _place(self, fruit: str, grasp: Grasp) -> Iterator[Move]:
        pose = self.situation.poses[fruit]
        if self._lies_in_drawer(fruit):
            yield Move(*self.here(), settle=SETTLING)
            return
        yaw = SIDEWAYS
        if fruit == "banana":  # across it, from the side on which the arm is free
            turned = (yaw_of(pose) - SIDEWAYS + np.pi / 2) % np.pi - np.pi / 2
            yaw += float(np.clip(turned, -LARGEST_TURN, LARGEST_TURN))
        yield from self.reach_for(pose[:3, 3], yaw, grasp, HOVER)
        yield self.lift(CARRYING_HEIGHT, speed=LIFTING)
        if not self._holds(fruit):
            yield self.lift(CARRYING_HEIGHT, np.array(grasp.opened))
            return
        hand_pose, hand = self.here()
        to_hand = hand_pose[:3, 3] - self.situation.poses[fruit][:3, 3]
        slot = self.situation.poses["drawer"][:2, 3] + SLOTS[fruit]
        over = pose_at([*(slot + to_hand[:2]), CARRYING_HEIGHT], hand_pose[:3, :3])
        yield Move(over, hand)
        if not self._holds(fruit):
            return
        yield self.lift(RELEASE_HEIGHT + to_hand[2], speed=self.config.careful)
        yield Move(self.here()[0], np.array(grasp.opened), settle=0.2)
        yield self.lift(CARRYING_HEIGHT, speed=LIFTING)

    def _holds(self, fruit: str) -> bool:
        place, hand = self.situation.poses[fruit][:3, 3], self.here()[0][:3, 3]
        lifted = place[2] > RADII[fruit] * self.situation.scale + 0.04
        return lifted and float(np.linalg.norm(place - hand)) < HELD

    def _lies_in_drawer(self, fruit: str) -> bool:
        place = (self.situation.poses[fruit] - self.situation.poses["drawer"])[:3, 3]
        return bool((np.abs(place[:2]) < DRAWER_HALF_SIZE[:2]).all() and place[2] < 2 * DRAWER_HALF_SIZE[2])

    def _close(self) -> Iterator[Move]:
        down, place = hand_rotation(0.0), self._behind_bar(PUSH_TIP)
        if yaw_of(self.here()[0]) > SIDEWAYS / 2:
            yield Move(pose_at([*place[:2], CARRYING_HEIGHT], hand_rotation(SIDEWAYS)), STRAIGHT)
        yield Move(pose_at([*place[:2], CARRYING_HEIGHT], down), STRAIGHT)
        yield Move(pose_at(place, down), STRAIGHT, self.config.careful)
        pushed = place + (self._travel() + PUSH) * FORWARDS
        yield Move(pose_at(pushed, down), STRAIGHT, SLOW, settle=0.2)
        yield Move(pose_at(pushed - 0.02 * FORWARDS, down), STRAIGHT)
        yield self.lift(CARRYING_HEIGHT)
