"""The Franka Research 3 as a MuJoCo specification, from the model that the ``franky-sim`` wheel ships.

The arm has no actuators: whoever plays the robot's controller writes joint torques into ``qfrc_applied``. Gravity is
compensated and joint friction left out, because the robot's own controller compensates both (Franka Control Interface
documentation, ``tau_J_d``).
"""

import functools
import importlib.util
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from vipa_sim.engine import Spec, mujoco
from vipa_sim.errors import SimulationError

JOINTS = tuple(f"fr3_joint{i}" for i in range(1, 8))
LINKS = tuple(f"fr3_link{i}" for i in range(8))
FLANGE_OFFSET = 0.107
"""Distance (m) from the frame of link 7 to the flange, along z."""

ARM_COLOUR = (0.88, 0.89, 0.91, 1.0)

# Contact bits. Standing things offer bit 1 (contype) and answer none, moving things offer and answer it, the robot only
# answers it: so nothing of the robot collides with itself, save the thumb with the fingers, and a standing thing may
# overlap another without a contact.
ENVIRONMENT_BIT = 1
THUMB_BIT = 2


@functools.cache
def assets_folder() -> Path:
    """The folder with the FR3's MJCF, URDF and meshes.

    Raises:
        SimulationError: the ``franky-sim`` package is not installed.
    """
    found = importlib.util.find_spec("franky_sim")
    if found is None or not found.submodule_search_locations:
        raise SimulationError("FR3 model: package franky-sim is not installed. Run: pip install franky-sim==1.0.4")
    return Path(found.submodule_search_locations[0]) / "assets"


@functools.cache
def fr3_urdf() -> bytes:
    """The URDF that the robot hands to its clients (GetRobotModel)."""
    return (assets_folder() / "fr3_clean.urdf").read_bytes()


@functools.cache
def joint_limits() -> np.ndarray:
    """(7, 2) rad: lower and upper limits of the joints, from the URDF."""
    joints = ElementTree.fromstring(fr3_urdf()).iterfind("joint[@type='revolute']/limit")
    return np.array([[float(limit.attrib["lower"]), float(limit.attrib["upper"])] for limit in joints])


def arm_spec() -> Spec:
    """An FR3 at the origin without a gripper, with a site ``flange``; its seven joints come first in ``qpos``.

    The visual meshes (34 MB) are left out: rendering costs by the vertex, and the collision meshes look well enough.
    """
    spec = mujoco.MjSpec.from_file(str(assets_folder() / "fr3.xml"))
    spec.modelname = "laboratory"
    spec.meshdir = str(assets_folder() / "meshes")
    for unwanted in (*spec.keys, *spec.equalities, *spec.actuators, *spec.tendons, spec.body("hand")):
        spec.delete(unwanted)
    for geom in spec.geoms:
        if not geom.name.endswith("_collision"):
            spec.delete(geom)
    shown = {geom.meshname for geom in spec.geoms}
    for mesh in spec.meshes:
        if mesh.name not in shown:
            spec.delete(mesh)
    for geom in spec.geoms:
        geom.name = geom.name.removesuffix("_collision")
        geom.group = 0
        geom.contype, geom.conaffinity = 0, ENVIRONMENT_BIT
        geom.rgba = ARM_COLOUR
    for name in LINKS:
        spec.body(name).gravcomp = 1.0
    for name, limits in zip(JOINTS, joint_limits(), strict=True):
        joint = spec.joint(name)
        joint.range = limits
        joint.frictionloss = 0.0
    spec.body(LINKS[-1]).add_site(name="flange", pos=[0, 0, FLANGE_OFFSET])
    return spec
