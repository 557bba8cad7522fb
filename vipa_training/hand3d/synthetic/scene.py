"""What is on the table, who sits at it and where the camera is: all drawn by chance from a seed.

World: origin in the middle of the table's top, x right and y away from the person, z up.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vipa_training.hand3d.joints import SIDES, Side
from vipa_training.hand3d.synthetic.hand import HandShape

Array = NDArray[np.float64]
Colour = tuple[float, float, float]
SHAPES = ("box", "ball", "cup", "bottle")
COLOURS: dict[str, Colour] = {
    "red": (0.80, 0.10, 0.10),
    "green": (0.12, 0.60, 0.18),
    "blue": (0.12, 0.25, 0.80),
    "yellow": (0.90, 0.80, 0.10),
    "orange": (0.95, 0.45, 0.05),
    "purple": (0.50, 0.15, 0.65),
    "white": (0.92, 0.92, 0.92),
    "black": (0.08, 0.08, 0.08),
}
_SKIN: tuple[Colour, ...] = ((0.95, 0.76, 0.65), (0.85, 0.62, 0.48), (0.65, 0.43, 0.30), (0.40, 0.26, 0.18))
REACH = (0.20, 0.15)  # m from the middle of the table within which things stand
_APART = 0.11  # m between their middles


@dataclass(frozen=True)
class Thing:
    """An object on the table.

    Attributes:
        name: "red cup".
        shape: of ``SHAPES``.
        colour: RGB 0-1.
        half: (3,) m, half its extent; a ball's and a cylinder's first is its radius.
        place: (3,) m, its middle at first.
        turn: rad about z, at first.
    """

    name: str
    shape: str
    colour: Colour
    half: tuple[float, float, float]
    place: tuple[float, float, float]
    turn: float

    @property
    def width(self) -> float:
        """m, between the fingers that grasp it."""
        return 2.0 * min(self.half[:2])


@dataclass(frozen=True)
class View:
    """A camera on a sphere around a point.

    Attributes:
        azimuth: rad about z; 0 looks as the person does.
        elevation: rad above the table.
        distance: m to the point it looks at.
        aim: (3,) m, that point.
        roll: rad.
        fovy: rad, vertical field of view.
        drift: amplitudes of a slow movement of azimuth, elevation (rad) and distance (m); zeros stand still.
    """

    azimuth: float
    elevation: float
    distance: float
    aim: tuple[float, float, float]
    roll: float
    fovy: float
    drift: tuple[float, float, float]


@dataclass(frozen=True)
class Scene:
    """All that stays the same through a recording."""

    things: tuple[Thing, ...]
    hands: dict[Side, HandShape]
    table: Colour
    floor: Colour
    light: tuple[float, float, float]  # direction
    view: View


def make_scene(chance: np.random.Generator) -> Scene:
    """A scene by chance."""
    skin = _SKIN[int(chance.integers(len(_SKIN)))]
    size = float(chance.uniform(0.85, 1.1))
    hands: dict[Side, HandShape] = {
        side: HandShape(side, size, skin, _five(chance.uniform(0.85, 1.1, 5))) for side in SIDES
    }
    table = _three(0.25 + 0.65 * chance.random() + chance.uniform(-0.15, 0.15, 3))
    floor = _three(chance.uniform(0.15, 0.7) + chance.uniform(-0.1, 0.1, 3))
    light = float(chance.uniform(-0.6, 0.6)), float(chance.uniform(-0.6, 0.6)), -1.0
    return Scene(_things(chance), hands, table, floor, light, _view(chance))


def _things(chance: np.random.Generator) -> tuple[Thing, ...]:
    names = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    chosen = chance.permutation(len(names))[: int(chance.integers(2, 5))]
    things: list[Thing] = []
    for number in chosen:
        colour, shape = names[int(number)]
        for _ in range(100):
            x, y = chance.uniform(-1.0, 1.0, 2) * REACH
            if all(np.hypot(x - other.place[0], y - other.place[1]) > _APART for other in things):
                half = _half(shape, chance)
                place = float(x), float(y), half[2]
                turn = float(chance.uniform(-np.pi, np.pi))
                things.append(Thing(f"{colour} {shape}", shape, COLOURS[colour], half, place, turn))
                break
    return tuple(things)


def _half(shape: str, chance: np.random.Generator) -> tuple[float, float, float]:
    radius = float(chance.uniform(0.02, 0.033))
    match shape:
        case "ball":
            return radius, radius, radius
        case "box":
            return (
                float(chance.uniform(0.018, 0.03)),
                float(chance.uniform(0.02, 0.045)),
                float(chance.uniform(0.02, 0.05)),
            )
        case "cup":
            return radius + 0.006, radius + 0.006, float(chance.uniform(0.035, 0.05))
        case _:
            return radius, radius, float(chance.uniform(0.06, 0.085))


def _view(chance: np.random.Generator) -> View:
    opposite = np.pi if chance.random() < 0.25 else 0.0  # most cameras are worn by the person or stand behind
    moving = chance.random() < 0.4
    drift = chance.uniform((0.15, 0.08, 0.02), (0.45, 0.2, 0.08)) if moving else np.zeros(3)
    return View(
        azimuth=float(opposite + chance.uniform(-0.8, 0.8)),
        elevation=float(chance.uniform(0.55, 1.15)),
        distance=float(chance.uniform(0.5, 0.7)),
        aim=_three(chance.uniform((-0.05, -0.06, 0.02), (0.05, 0.04, 0.08))),
        roll=float(chance.uniform(-0.06, 0.06)),
        fovy=float(np.radians(chance.uniform(42.0, 55.0))),
        drift=_three(drift),
    )


def _three(values: Array) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _five(values: Array) -> tuple[float, float, float, float, float]:
    one, two, three, four, five = (float(value) for value in values)
    return one, two, three, four, five
