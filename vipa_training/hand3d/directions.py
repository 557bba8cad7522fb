"""Displacements as words and back: the pair (direction, distance) of the paper, Sec. 3.2.1.

Directions are those of the camera: right is +x, down +y, forward +z. A direction names every axis whose share of the
unit vector is larger than a threshold gamma.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Axes = tuple[int | None, int | None, int | None]
GAMMA = 0.3  # the paper names no figure; an axis within 17 degrees of being across the displacement goes unnamed
HALF_STEP = 0.005  # m, by which the distance of a text may be off: two decimals are written
_WORDS = (("left", "right"), ("up", "down"), ("backward", "forward"))
DIRECTIONS = tuple(word for pair in _WORDS for word in pair)
_SYNONYMS = (
    (r"right(?:ward|wards)?", r"left(?:ward|wards)?"),
    (r"down(?:ward|wards)?|below|lower|beneath|under(?:neath)?", r"up(?:ward|wards)?|above|higher"),
    (
        r"forwards?|ahead|(?:away|farther|further) from the (?:camera|viewer)",
        r"backwards?|back|(?:closer|nearer) to the (?:camera|viewer)|towards? the (?:camera|viewer)",
    ),
)
_HAND = re.compile(r"\b(?:left|right)(?:\s+and\s+(?:left|right))?[\s-]+(?:hand|wrist|palm|finger|thumb)\w*")
_NOT = re.compile(r"\b(?:not|neither|nor|no)\b(?:\s+(?:to|the|moving|at|all))*\s+[\w-]+")
_DISTANCE = re.compile(
    r"(?<![\w.])(\d+(?:\.\d+)?|\.\d+)\s*-?\s*"
    r"(millimet(?:er|re)s?|mm|centimet(?:er|re)s?|cm|met(?:er|re)s?|m|inch(?:es)?|feet|foot|ft)\b"
)
_UNITS = (("mi", 0.001), ("mm", 0.001), ("ce", 0.01), ("cm", 0.01), ("me", 1.0), ("m", 1.0))
_METRES = dict((*_UNITS, ("in", 0.0254), ("fe", 0.3048), ("fo", 0.3048), ("ft", 0.3048)))


@dataclass(frozen=True)
class Statement:
    """What a text says of a displacement.

    Attributes:
        axes: for x, y, z: 1 or -1 for a named direction, 0 for none, None for both at once, which is never right.
        distance: m; None: it says none.
    """

    axes: Axes
    distance: float | None

    def vector(self) -> Array:
        """The displacement (3,) m that the text describes best: all named axes have the same share."""
        signs = np.array([float(axis or 0) for axis in self.axes])
        length = float(np.linalg.norm(signs))
        return signs * ((self.distance or 0.0) / length if length else 0.0)


def axes_of(vector: ArrayLike, gamma: float = GAMMA) -> tuple[int, int, int]:
    """Which axes a displacement (3,) has a name for, with their signs; of no length: none."""
    v = np.asarray(vector, np.float64)
    length = float(np.linalg.norm(v))
    shares = v / length if length > 0.0 else np.zeros(3)
    x, y, z = (int(np.sign(share)) if abs(share) > gamma else 0 for share in shares)
    return x, y, z


def widest_angle(axes: ArrayLike, gamma: float = GAMMA) -> float:
    """The largest angle (rad) between a displacement and the vector of its words.

    Args:
        axes: those that are named, as signs (3,).
        gamma: the threshold, below 1 / sqrt(3), so that at least one axis has a name.
    """
    named = int(np.count_nonzero(np.asarray(axes)))
    # Farthest off: one axis as large as it can be, all others at the threshold, whether they are named or not.
    nearest = (np.sqrt(1.0 - 2.0 * gamma**2) + gamma * (named - 1)) / np.sqrt(named)
    return float(np.arccos(min(1.0, nearest)))


def direction_words(vector: ArrayLike, gamma: float = GAMMA) -> str:
    """The words of a displacement (3,), such as "right, up and forward"; empty for one without length."""
    words: list[str] = []
    for axis, (negative, positive) in zip(axes_of(vector, gamma), _WORDS, strict=True):
        if axis:
            words.append(positive if axis > 0 else negative)
    return joined(words)


def distance_words(distance: float) -> str:
    """A distance (m) such as "0.12 m"."""
    return f"{distance:.2f} m"


def joined(words: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def parse_statement(text: str) -> Statement:
    """What a free text says of a displacement.

    "left hand" and the like name a hand and no direction. Of several distances that each belong to a direction of
    their own ("0.3 m right and 0.4 m up") the whole is taken, else the first.
    """
    plain = _NOT.sub(" ", _HAND.sub(" hand ", " ".join(text.lower().split())))
    found = list(_DISTANCE.finditer(plain))
    metres = [float(match[1]) * _METRES[match[2][:2]] for match in found]
    distance = metres[0] if metres else None
    if len(found) > 1:
        ends = [match.start() for match in found[1:]] + [len(plain)]
        parts = [_axes(plain[match.end() : end]) for match, end in zip(found, ends, strict=True)]
        named = [[number for number, axis in enumerate(part) if axis] for part in parts]
        if all(len(part) == 1 for part in named) and len({part[0] for part in named}) == len(named):
            distance = float(np.linalg.norm(metres))
    return Statement(_axes(plain), distance)


def agrees(statement: Statement, vector: ArrayLike, gamma: float = GAMMA) -> bool:
    """Whether a statement says of a displacement (3,) m just what is so, up to rounding."""
    distance = float(np.linalg.norm(np.asarray(vector, np.float64)))
    if statement.distance is None or statement.axes != axes_of(vector, gamma):
        return False
    return abs(statement.distance - distance) <= HALF_STEP + 1e-9


def _axes(plain: str) -> Axes:
    signs: list[int | None] = []
    for positive, negative in _SYNONYMS:
        plus, minus = (re.search(rf"\b(?:{words})\b", plain) is not None for words in (positive, negative))
        signs.append(None if plus and minus else int(plus) - int(minus))
    return signs[0], signs[1], signs[2]
