"""Colour and metric depth of a camera of the laboratory, in one rendering pass."""

import copy
import ctypes.util
import importlib
import logging
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vipa_sim.engine import Data, Model, mujoco
from vipa_sim.errors import SimulationError
from vipa_sim.world import Snapshot

DEPTH_UNIT_M = 0.00025
"""Metres per unit of the depth image, as in the L515."""
MAX_DEPTH_M = 9.0
"""Farther than this the L515 gives no depth (0)."""

_log = logging.getLogger(__name__)


class Renderer:
    """Draws a world's snapshots without a display.

    An OpenGL context belongs to one thread: create, use and close a renderer in the same one.

    Args:
        model: the world's model; the renderer keeps its own copy.
        width: width of the images in pixels.
        height: height of the images in pixels.

    Raises:
        SimulationError: no OpenGL context can be made.
    """

    def __init__(self, model: Model, width: int = 640, height: int = 480) -> None:
        self._model: Model = copy.copy(model)
        self.width, self.height = width, height
        self._model.vis.global_.offwidth, self._model.vis.global_.offheight = width, height
        self._data: Data = mujoco.MjData(self._model)
        self._gl = _make_gl_context(width, height)
        self._gl.make_current()
        self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._viewport = mujoco.MjrRect(0, 0, width, height)
        self._option = mujoco.MjvOption()
        self._option.sitegroup[:] = 0
        self._scene: Any = mujoco.MjvScene(self._model, maxgeom=500)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_HAZE):
            self._scene.flags[flag] = False
        self._colour = np.empty((height, width, 3), np.uint8)
        self._depth = np.empty((height, width), np.float32)
        self._revisions: dict[int, int] = {}

    def __enter__(self) -> "Renderer":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def update(self, snapshot: Snapshot) -> None:
        """Take over the instant that the next pictures show."""
        model, data = self._model, self._data
        data.qpos[:] = snapshot.qpos
        data.mocap_pos[:] = snapshot.mocap_pos
        data.mocap_quat[:] = snapshot.mocap_quat
        model.geom_rgba[:] = snapshot.geom_rgba
        model.geom_matid[:] = snapshot.geom_matid
        model.mat_rgba[:] = snapshot.mat_rgba
        for index, (revision, pixels) in snapshot.textures.items():
            if self._revisions.get(index) != revision:
                start = int(model.tex_adr[index])
                model.tex_data[start : start + pixels.size] = pixels
                self._gl.make_current()
                mujoco.mjr_uploadTexture(model, self._context, index)
                self._revisions[index] = revision
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)

    def render(self, camera: str) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """Draw what a camera sees.

        Returns:
            (height, width, 3) RGB, and (height, width) distance along the optical axis in units of ``DEPTH_UNIT_M``, 0
            where there is none; both are new arrays.
        """
        self._gl.make_current()
        view = mujoco.MjvCamera()
        view.type, view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, self._model.camera(camera).id
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self._model, self._data, self._option, None, view, everything, self._scene)
        mujoco.mjr_render(self._viewport, self._scene, self._context)
        mujoco.mjr_readPixels(self._colour, self._depth, self._viewport, self._context)
        return np.ascontiguousarray(self._colour[::-1]), self._metric_depth()

    def intrinsics(self, camera: str) -> NDArray[np.float64]:
        """(3, 3) camera matrix in pixels; the centre of the first pixel is (0, 0), and there is no distortion."""
        focal = self.height / 2 / np.tan(np.radians(self._model.camera(camera).fovy[0]) / 2)
        return np.array([[focal, 0, (self.width - 1) / 2], [0, focal, (self.height - 1) / 2], [0, 0, 1]])

    def camera_to_base(self, camera: str) -> NDArray[np.float64]:
        """(4, 4) pose of the camera's optical frame (x right, y down, z forward) in the robot's base frame."""
        pose = np.eye(4)
        mujoco.mju_quat2Mat(flat := np.zeros(9), self._model.camera(camera).quat)
        pose[:3, :3] = flat.reshape(3, 3) * (1.0, -1.0, -1.0)
        pose[:3, 3] = self._model.camera(camera).pos
        return pose

    def close(self) -> None:
        """Free the OpenGL context."""
        self._context.free()
        self._gl.free()

    def _metric_depth(self) -> NDArray[np.uint16]:
        """From the depth buffer d (1 near, 0 far): z = near far / (near + d (far - near))."""
        scale = float(self._model.stat.extent)
        near, far = self._model.vis.map.znear * scale, self._model.vis.map.zfar * scale
        depth = self._depth[::-1] * np.float32((far - near) * DEPTH_UNIT_M / (near * far))
        depth += np.float32(DEPTH_UNIT_M / far)
        np.reciprocal(depth, out=depth)
        depth[depth > MAX_DEPTH_M / DEPTH_UNIT_M] = 0.0
        depth += np.float32(0.5)
        return depth.astype(np.uint16)


def _make_gl_context(width: int, height: int) -> Any:
    """An off-screen OpenGL context: EGL, or OSMesa where the machine has no EGL library.

    The environment variable MUJOCO_GL overrules the choice; MuJoCo's loader reads it, too, so it is set here.
    """
    if "MUJOCO_GL" not in os.environ:
        found = ctypes.util.find_library("EGL") is not None
        os.environ["MUJOCO_GL"] = "egl" if found else "osmesa"
        if not found:
            _log.warning("rendering: no libEGL found, using OSMesa (slower); install libegl1 for EGL")
    backend = os.environ["MUJOCO_GL"].lower()
    try:
        context = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        cause = " ".join(str(error).split())
        raise SimulationError(
            f"rendering: no {backend} context ({cause}). Install libegl1 and libgl1-mesa-dri, or set MUJOCO_GL=osmesa"
        ) from None
    return context
