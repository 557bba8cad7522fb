"""The scene for calibrating cameras: boards on the hand and on the table, an empty table, nothing to be done."""

from typing import TYPE_CHECKING

import numpy as np

from vipa_sim.engine import Spec
from vipa_sim.scenes.base import Scene
from vipa_sim.scenes.boards import add_hand_board

if TYPE_CHECKING:
    from vipa_sim.world import World


class Calibration(Scene):
    """No task: nothing is judged."""

    name = "calibration"
    time_limit_s = 600.0
    variants = ("seen",)
    is_task = False
    has_reference_boards = True

    def add_objects(self, spec: Spec) -> None:
        """The board on the hand."""
        add_hand_board(spec)

    def place_objects(self, world: "World", rng: np.random.Generator, variant: str) -> None:
        """Nothing moves."""

    def update(self, world: "World") -> None:
        """Nothing is judged."""
