"""What the hands do: reach, grasp, carry, push and let go, with minimum-jerk movements between poses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from vipa_training.hand3d.geometry import inverse, pose_of
from vipa_training.hand3d.joints import Side
from vipa_training.hand3d.synthetic.hand import HandShape, grip, joints_of
from vipa_training.hand3d.synthetic.scene import REACH, Scene, Thing

Array = NDArray[np.float64]
SHORTEST, LONGEST = 3.0, 10.0  # s, of a clip
_ABOVE = 0.09  # m, over a thing before it is grasped and after it is let go
Pause = Callable[[float, float], float]
_TASKS = ("touch", "lift", "move", "beside", "push")


@dataclass(frozen=True)
class Posture:
    """A hand at one moment: its wrist (3,) m, its yaw, pitch and roll in rad, and how far it is closed."""

    wrist: Array
    angles: tuple[float, float, float]
    closed: float


@dataclass
class Script:
    """What one hand does: postures, the seconds to reach each, and between which it holds the thing."""

    postures: list[Posture] = field(default_factory=list[Posture])
    seconds: list[float] = field(default_factory=list[float])
    held: tuple[int, int] | None = None  # the thing moves with the hand from one posture to the other

    def add(self, posture: Posture, seconds: float) -> None:
        """Go there."""
        self.postures.append(posture)
        self.seconds.append(seconds)


@dataclass(frozen=True, eq=False)
class Course:
    """Everything that moves, at T moments.

    Attributes:
        times: (T,) s.
        hands: joints (T, 21, 3) m in the world.
        things: (T, things, 4, 4) to the world.
        text: what is done.
    """

    times: Array
    hands: dict[Side, Array]
    things: Array
    text: str


def make_course(scene: Scene, chance: np.random.Generator, fps: float) -> Course:
    """A course by chance: one hand carries out a task, the other is away or keeps near its side of the table."""
    number = int(chance.integers(len(scene.things)))
    thing = scene.things[number]
    side: Side = "right" if thing.place[0] + chance.normal(0.0, 0.12) > 0.0 else "left"
    others = [other for other in scene.things if other is not thing]
    script, text = _script(scene.hands[side], thing, others, chance)
    total = float(np.clip(sum(script.seconds), SHORTEST, LONGEST))
    script.seconds = [seconds * total / sum(script.seconds) for seconds in script.seconds]
    times = np.arange(int(total * fps + 1e-6) + 1) / fps
    rotations, wrists, closed = _played(script, times)
    hands: dict[Side, Array] = {side: joints_of(scene.hands[side], rotations, wrists, closed)}
    if chance.random() < 0.4:
        other: Side = "left" if side == "right" else "right"
        hands[other] = joints_of(scene.hands[other], *_idle(other, scene.things, times, chance))
    still = np.stack([_standing(item) for item in scene.things])
    things = np.broadcast_to(still, (len(times), *still.shape)).copy()
    if script.held is not None:
        things[:, number] = _carried(still[number], pose_of(rotations, wrists), script, script.held, times)
    return Course(times, hands, things, text)


def _script(shape: HandShape, thing: Thing, others: Sequence[Thing], chance: np.random.Generator) -> tuple[Script, str]:
    kinds = _TASKS if others else tuple(kind for kind in _TASKS if kind != "beside")
    kind = kinds[int(chance.integers(len(kinds)))]
    sign = 1.0 if shape.side == "right" else -1.0
    closed, middle = grip(shape, thing.width)
    place = np.array(thing.place)
    yaw = float(sign * chance.uniform(-0.1, 0.7))
    angles = yaw, float(chance.uniform(-1.0, -0.4)), float(sign * chance.uniform(-0.5, 0.1))
    top = place + _up(max(0.0, thing.half[2] - 0.035))  # tall things are grasped below their top

    def holding(point: Array, turn: float = 0.0, amount: float = closed) -> Posture:
        turned = angles[0] + turn, angles[1], angles[2]
        return Posture(point - _rotation(np.array(turned)) @ middle, turned, amount)

    def pause(low: float, high: float) -> float:
        return float(chance.uniform(low, high))

    start = np.array([sign * chance.uniform(0.05, 0.2), chance.uniform(-0.24, -0.16), chance.uniform(0.06, 0.18)])
    script = Script()
    script.add(Posture(start, (angles[0], chance.uniform(-0.4, 0.1), angles[2]), pause(0.0, 0.3)), 0.0)
    if kind == "touch":
        tip = holding(place + _up(thing.half[2] + 0.012), amount=0.35)
        _reach(script, tip, pause)
        script.add(tip, pause(0.3, 1.0))
        script.add(_raised(tip, _ABOVE), pause(0.6, 1.2))
        return script, f"touch the {thing.name}"
    if kind == "push":
        along = chance.uniform(0.06, 0.14) * _heading(place, others, chance)
        pushing = replace(holding(place + _up(0.02), amount=0.25), closed=0.25)
        behind = replace(pushing, wrist=pushing.wrist - along / np.linalg.norm(along) * (thing.half[1] + 0.02))
        _reach(script, behind, pause)
        first = len(script.postures) - 1
        script.add(replace(behind, wrist=behind.wrist + along), pause(0.8, 1.8))
        script.held = first, first + 1
        script.add(_raised(script.postures[-1], _ABOVE), pause(0.6, 1.2))
        return script, f"push the {thing.name}"
    _reach(script, replace(holding(top), closed=0.6 * closed), pause)
    script.add(holding(top), pause(0.3, 0.6))
    first = len(script.postures) - 1
    up = _up(float(chance.uniform(0.08, 0.18)))
    script.add(holding(top + up), pause(0.7, 1.4))
    if kind == "lift":
        script.add(holding(top + up, 0.2 * sign), pause(0.3, 1.2))
        script.held = first, len(script.postures) - 1
        return script, f"pick up the {thing.name}"
    if kind == "beside":
        other = others[int(chance.integers(len(others)))]
        away = 0.04 + max(other.half[:2]) + max(thing.half[:2])
        target = np.array(other.place) + away * _heading(np.array(other.place), others, chance)
        text = f"put the {thing.name} next to the {other.name}"
    else:
        target = place + chance.uniform(0.1, 0.22) * _heading(place, others, chance)
        text = f"pick up the {thing.name} and put it down elsewhere"
    target[2], turn = top[2], float(chance.uniform(-0.4, 0.4))
    script.add(holding(target + up, turn), pause(0.8, 1.8))
    script.add(holding(target, turn), pause(0.6, 1.2))
    script.held = first, len(script.postures) - 1
    script.add(holding(target, turn, 0.5 * closed), pause(0.3, 0.5))
    script.add(_raised(script.postures[-1], _ABOVE), pause(0.6, 1.2))
    return script, text


def _reach(script: Script, posture: Posture, pause: Pause) -> None:
    script.add(replace(_raised(posture, _ABOVE), closed=0.2), pause(0.8, 1.6))
    script.add(posture, pause(0.5, 1.0))


def _raised(posture: Posture, height: float) -> Posture:
    return replace(posture, wrist=posture.wrist + _up(height), closed=0.4 * posture.closed)


def _up(height: float) -> Array:
    return np.array([0.0, 0.0, height])


def _heading(place: Array, others: Sequence[Thing], chance: np.random.Generator) -> Array:
    """A direction (3,) along the table that leads to a free part of it."""
    best, most = np.array([1.0, 0.0, 0.0]), -1.0
    for _ in range(8):
        goal = np.append(chance.uniform(-1.0, 1.0, 2) * REACH, place[2])
        way = goal - place
        free = min((float(np.hypot(*(goal - other.place)[:2])) for other in others), default=1.0)
        if np.linalg.norm(way) > 0.02 and free > most:
            best, most = way / np.linalg.norm(way), free
    return best


def _rotation(angles: Array) -> Array:
    """Rotations (..., 3, 3) of yaw, pitch and roll (..., 3) rad: about z, then x, then y."""
    out: Array = np.eye(3)
    for number, (first, second) in enumerate(((0, 1), (1, 2), (2, 0))):
        cosine, sine = np.cos(angles[..., number]), np.sin(angles[..., number])
        turn = np.broadcast_to(np.eye(3), (*angles.shape[:-1], 3, 3)).copy()
        turn[..., first, first], turn[..., second, second] = cosine, cosine
        turn[..., second, first], turn[..., first, second] = sine, -sine
        out = out @ turn
    return out


def _played(script: Script, times: Array) -> tuple[Array, Array, Array]:
    """Rotations (T, 3, 3), wrists (T, 3) m and closings (T,) at some times, s."""
    ends = np.cumsum(script.seconds)
    keys = np.stack([[*item.wrist, *item.angles, item.closed] for item in script.postures])
    after = np.clip(np.searchsorted(ends, times, side="left"), 1, len(ends) - 1)
    share = np.clip((times - ends[after - 1]) / np.maximum(ends[after] - ends[after - 1], 1e-9), 0.0, 1.0)
    smooth = (share**3 * (10.0 - 15.0 * share + 6.0 * share**2))[:, None]
    found = keys[after - 1] * (1.0 - smooth) + keys[after] * smooth
    return _rotation(found[:, 3:6]), found[:, :3], found[:, 6]


def _carried(still: Array, hand: Array, script: Script, held: tuple[int, int], times: Array) -> Array:
    """Poses (T, 4, 4) of a thing that stands at one (4, 4) until the hand (T, 4, 4) takes it."""
    ends = np.cumsum(script.seconds)
    begin, end = (float(ends[number]) for number in held)
    rotations, wrists, _ = _played(script, np.array([begin, end]))
    edges = pose_of(rotations, wrists)
    in_hand = inverse(edges[0]) @ still
    poses = hand @ in_hand
    poses[times <= begin] = still
    poses[times >= end] = edges[1] @ in_hand
    return poses


def _standing(thing: Thing) -> Array:
    return pose_of(_rotation(np.array([thing.turn, 0.0, 0.0])), thing.place)


def _idle(side: Side, things: Sequence[Thing], times: Array, chance: np.random.Generator) -> tuple[Array, Array, Array]:
    """A hand that keeps to its side of the table and moves too little to be a motion, as ``_played`` gives it."""
    sign = 1.0 if side == "right" else -1.0
    rests = chance.uniform((0.1, -0.26, 0.04), (0.26, -0.14, 0.12), (8, 3)) * (sign, 1.0, 1.0)
    ahead = np.array([0.0, 0.08, 0.0])  # where its fingers are
    free = [min(float(np.hypot(*(rest + ahead - thing.place)[:2])) for thing in things) for rest in rests]
    rest = rests[int(np.argmax(free))]
    sizes, rates = chance.uniform(0.004, 0.018, 3), chance.uniform(0.3, 1.2, 3)
    wrists = rest + sizes * np.sin(times[:, None] * rates + chance.uniform(0.0, 6.28, 3))
    angles = np.array([sign * chance.uniform(0.0, 0.6), chance.uniform(-0.5, 0.0), sign * chance.uniform(-0.4, 0.1)])
    turns = angles + 0.1 * np.sin(times[:, None] * rates)
    closed = chance.uniform(0.1, 0.5) + 0.1 * np.sin(times * rates[0])
    return _rotation(turns), wrists, closed
