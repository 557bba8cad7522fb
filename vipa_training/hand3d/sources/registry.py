"""The sources by name."""

from vipa_training.hand3d.sources.arctic import Arctic
from vipa_training.hand3d.sources.base import Source
from vipa_training.hand3d.sources.dexycb import DexYcb
from vipa_training.hand3d.sources.egodex import EgoDex
from vipa_training.hand3d.sources.fpha import Fpha
from vipa_training.hand3d.sources.h2o import H2o
from vipa_training.hand3d.sources.hoi4d import Hoi4d
from vipa_training.hand3d.sources.oakink2 import OakInk2
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
