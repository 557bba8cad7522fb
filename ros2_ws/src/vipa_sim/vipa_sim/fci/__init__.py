"""The FR3's control interface (FCI): the wire protocol, limits and reflexes of robot server version 10."""

from vipa_sim.fci.plant import ArmPlant, KinematicPlant
from vipa_sim.fci.server import FciServer

__all__ = ["ArmPlant", "FciServer", "KinematicPlant"]
