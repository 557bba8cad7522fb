"""Pictures, depths and what each pixel shows, drawn by MuJoCo without a display.

Table, floor and light are a MuJoCo model; hands and things are drawn into its scene as capsules, boxes, balls and
cylinders. There is no physics, so that all that moves is known exactly.
"""

import ctypes.util
import importlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import mujoco as _mujoco
import numpy as np
from numpy.typing import NDArray

from vipa_training.hand3d.errors import Hand3DError
from vipa_training.hand3d.geometry import inverse
from vipa_training.hand3d.joints import Side
from vipa_training.hand3d.synthetic.hand import BONES, RADII
from vipa_training.hand3d.synthetic.scene import Colour, Scene, Thing

mujoco: Any = _mujoco  # its package carries no types
Array = NDArray[np.float64]
NEAR, FAR = 0.02, 10.0  # m
HAND = 100  # what a pixel that shows a hand holds; things have their number from 1, all else 0
_WORLD = """
<mujoco>
  <visual>
    <global offwidth="{width}" offheight="{height}"/>
    <map znear="{near}" zfar="{far}"/>
    <quality shadowsize="0" offsamples="0"/>
    <headlight ambient="0.35 0.35 0.35" diffuse="0.3 0.3 0.3" specular="0.05 0.05 0.05"/>
  </visual>
  <statistic extent="1" center="0 0 0"/>
  <worldbody>
    <light directional="true" pos="0 0 2" dir="0 0 -1" diffuse="0.5 0.5 0.5" specular="0.1 0.1 0.1"/>
    <geom name="table" type="box" size="0.6 0.45 0.02" pos="0 0.02 -0.02"/>
    <geom name="floor" type="plane" size="6 6 1" pos="0 0 -0.75"/>
    <camera name="camera"/>
  </worldbody>
</mujoco>
"""


@dataclass(frozen=True, eq=False)
class Drawing:
    """One picture.

    Attributes:
        colour: (H, W, 3) RGB.
        depth: (H, W) m along the optical axis.
        shown: (H, W) number of the thing from 1, ``HAND``, or 0.
    """

    colour: NDArray[np.uint8]
    depth: Array
    shown: NDArray[np.int32]


class Painter:
    """Draws scenes of one size; an OpenGL context belongs to one thread.

    Args:
        height: of the pictures, px.
        width: of the pictures, px.

    Raises:
        Hand3DError: no OpenGL context can be made.
    """

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        text = _WORLD.format(width=width, height=height, near=NEAR, far=FAR)
        self._model = mujoco.MjModel.from_xml_string(text)
        self._data = mujoco.MjData(self._model)
        self._gl = _context(width, height)
        self._gl.make_current()
        self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._option = mujoco.MjvOption()
        self._view = mujoco.MjvCamera()
        self._view.type, self._view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, 0
        self._scene = mujoco.MjvScene(self._model, maxgeom=200)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_HAZE):
            self._scene.flags[flag] = False

    def draw(self, scene: Scene, hands: Mapping[Side, Array], things: Array, extrinsics: Array) -> Drawing:
        """One picture of a scene.

        Args:
            scene: what there is.
            hands: joints (21, 3) m in the world.
            things: (things, 4, 4) to the world.
            extrinsics: (4, 4) world to camera.
        """
        self._gl.make_current()
        model = self._model
        pose = inverse(extrinsics)
        quaternion = np.zeros(4)
        mujoco.mju_mat2Quat(quaternion, (pose[:3, :3] * (1.0, -1.0, -1.0)).ravel())
        model.cam_pos[0], model.cam_quat[0] = pose[:3, 3], quaternion
        model.cam_fovy[0] = np.degrees(scene.view.fovy)
        model.light_dir[0] = np.array(scene.light) / np.linalg.norm(scene.light)
        model.geom("table").rgba, model.geom("floor").rgba = (*scene.table, 1.0), (*scene.floor, 1.0)
        mujoco.mj_kinematics(model, self._data)
        mujoco.mj_camlight(model, self._data)
        category = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(model, self._data, self._option, None, self._view, category, self._scene)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            geom.segid = 0
        for number, (thing, placed) in enumerate(zip(scene.things, things, strict=True), start=1):
            for kind, size, pose_in_thing, colour in _pieces(thing):
                self._add(kind, size, placed @ pose_in_thing, colour, number)
        for side, joints in hands.items():
            shape = scene.hands[side]
            for (first, second), radius in zip(BONES, RADII, strict=True):
                self._connect(joints[first], joints[second], radius * shape.size, shape.colour)
            for first, second in ((5, 9), (9, 13), (13, 17), (1, 5)):
                self._connect(joints[first], joints[second], 0.011 * shape.size, shape.colour)
            self._connect(joints[0], _elbow(side, joints[0]), 0.026 * shape.size, shape.colour)
        viewport = mujoco.MjrRect(0, 0, self.width, self.height)
        colour = np.empty((self.height, self.width, 3), np.uint8)
        buffer = np.empty((self.height, self.width), np.float32)
        mujoco.mjr_render(viewport, self._scene, self._context)
        mujoco.mjr_readPixels(colour, buffer, viewport, self._context)
        ids = np.empty((self.height, self.width, 3), np.uint8)
        for flag in (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR):
            self._scene.flags[flag] = True
        mujoco.mjr_render(viewport, self._scene, self._context)
        mujoco.mjr_readPixels(ids, None, viewport, self._context)
        for flag in (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR):
            self._scene.flags[flag] = False
        # The buffer holds 0 at the near plane and 1 at the far one.
        depth = NEAR * FAR / (NEAR + buffer[::-1].astype(np.float64) * (FAR - NEAR))
        shown = np.maximum(ids[::-1, :, 0].astype(np.int32) - 1, 0)
        return Drawing(np.ascontiguousarray(colour[::-1]), depth, shown)

    def close(self) -> None:
        """Free the OpenGL context."""
        self._context.free()
        self._gl.free()

    def _new(self, colour: Colour, shown: int) -> Any:
        geom = self._scene.geoms[self._scene.ngeom]
        self._scene.ngeom += 1
        rgba = np.array([*colour, 1.0], np.float32)
        mujoco.mjv_initGeom(geom, mujoco.mjtGeom.mjGEOM_SPHERE, np.ones(3), np.zeros(3), np.eye(3).ravel(), rgba)
        geom.segid, geom.category = shown, mujoco.mjtCatBit.mjCAT_DYNAMIC
        return geom

    def _add(self, kind: Any, size: tuple[float, float, float], pose: Array, colour: Colour, shown: int) -> None:
        geom = self._new(colour, shown)
        geom.type, geom.size, geom.pos, geom.mat = kind, size, pose[:3, 3], pose[:3, :3]

    def _connect(self, first: Array, second: Array, radius: float, colour: Colour) -> None:
        geom = self._new(colour, HAND)
        mujoco.mjv_connector(geom, mujoco.mjtGeom.mjGEOM_CAPSULE, radius, first, second)


def _pieces(thing: Thing) -> Iterator[tuple[Any, tuple[float, float, float], Array, Colour]]:
    """Type, size, pose (4, 4) in the thing and colour of what a thing is made of."""
    kinds = mujoco.mjtGeom
    x, y, z = thing.half
    if thing.shape == "box":
        yield kinds.mjGEOM_BOX, (x, y, z), _at(0.0, 0.0, 0.0), thing.colour
    elif thing.shape == "ball":
        yield kinds.mjGEOM_SPHERE, (x, x, x), _at(0.0, 0.0, 0.0), thing.colour
    elif thing.shape == "cup":
        yield kinds.mjGEOM_CYLINDER, (x, x, z), _at(0.0, 0.0, 0.0), thing.colour
        yield kinds.mjGEOM_CYLINDER, (0.85 * x, 0.85 * x, 0.001), _at(0.0, 0.0, z), _darker(thing.colour)
        yield kinds.mjGEOM_BOX, (0.008, 0.004, 0.5 * z), _at(x + 0.008, 0.0, 0.0), thing.colour
    else:
        yield kinds.mjGEOM_CYLINDER, (x, x, 0.7 * z), _at(0.0, 0.0, -0.3 * z), thing.colour
        yield kinds.mjGEOM_CYLINDER, (0.45 * x, 0.45 * x, 0.25 * z), _at(0.0, 0.0, 0.65 * z), thing.colour
        yield kinds.mjGEOM_CYLINDER, (0.5 * x, 0.5 * x, 0.07 * z), _at(0.0, 0.0, 0.93 * z), _darker(thing.colour)


def _at(x: float, y: float, z: float) -> Array:
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    return pose


def _darker(colour: Colour) -> Colour:
    red, green, blue = colour
    return 0.4 * red, 0.4 * green, 0.4 * blue


def _elbow(side: Side, wrist: Array) -> Array:
    """Where a forearm that begins at a wrist ends."""
    elbow = np.array([0.36 if side == "right" else -0.36, -0.5, 0.05])
    way = elbow - wrist
    return wrist + 0.26 * way / np.linalg.norm(way)


def _context(width: int, height: int) -> Any:
    """An off-screen OpenGL context; MUJOCO_GL, which MuJoCo reads, too, overrules the choice."""
    if "MUJOCO_GL" not in os.environ:
        os.environ["MUJOCO_GL"] = "egl" if ctypes.util.find_library("EGL") is not None else "osmesa"
    backend = os.environ["MUJOCO_GL"].lower()
    try:
        return importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        cause = " ".join(str(error).split())
        raise Hand3DError(
            f"synthetic: no {backend} context to draw in ({cause}). Install libegl1 and libgl1-mesa-dri, "
            "or set MUJOCO_GL=osmesa"
        ) from None
