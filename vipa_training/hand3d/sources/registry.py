"""The sources by name."""

from pathlib import Path

from vipa_training.hand3d.errors import Hand3DError
from vipa_training.hand3d.sources.arctic import Arctic
from vipa_training.hand3d.sources.base import Source
from vipa_training.hand3d.sources.dexycb import DexYcb
from vipa_training.hand3d.sources.egodex import EgoDex
from vipa_training.hand3d.sources.fpha import Fpha
from vipa_training.hand3d.sources.h2o import H2o
from vipa_training.hand3d.sources.hoi4d import Hoi4d
from vipa_training.hand3d.sources.oakink2 import OakInk2
from vipa_training.hand3d.sources.synthetic import SIZE, Synthetic
from vipa_training.hand3d.sources.taco import Taco
from vipa_training.hand3d.sources.taste_rob import TasteRob

SOURCES: dict[str, type[Source]] = {
    "arctic": Arctic,
    "hoi4d": Hoi4d,
    "fpha": Fpha,
    "h2o": H2o,
    "oakink2": OakInk2,
    "taco": Taco,
    "dexycb": DexYcb,
    "egodex": EgoDex,
    "taste_rob": TasteRob,
}
SYNTHETIC = "synthetic"


def make_source(name: str, root: Path, clips: int = 0, seed: int = 0, size: tuple[int, int] = SIZE) -> Source:
    """A source.

    Args:
        name: of ``SOURCES``, or "synthetic".
        root: its folder; synthetic clips need none.
        clips: how many synthetic ones there are.
        seed: of synthetic ones.
        size: height and width of synthetic pictures, px.

    Raises:
        Hand3DError: there is no such source.
    """
    if name == SYNTHETIC:
        return Synthetic(root, clips=clips, seed=seed, size=size)
    if name not in SOURCES:
        raise Hand3DError(f"source {name}: unknown; known: {SYNTHETIC}, {', '.join(SOURCES)}")
    return SOURCES[name](root)
