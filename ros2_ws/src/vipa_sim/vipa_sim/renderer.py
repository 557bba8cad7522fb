"""Colour and metric depth of a camera of the laboratory, in one rendering pass of what moves.

The cameras stand still, and so does most of what they see. Software rendering costs time by the vertex and the pixel;
so what stands still is drawn once, and for each frame only what moves, in the rectangle around it. The nearer of the
two is what a pixel shows.
"""

import copy
import ctypes.util
import importlib
import logging
import os
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vipa_sim.engine import Data, Model, mujoco
from vipa_sim.errors import SimulationError
from vipa_sim.moving_rectangle import MovingRectangle, Rectangle
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
        self._option = mujoco.MjvOption()
        self._option.sitegroup[:] = 0
        self._scene: Any = mujoco.MjvScene(self._model, maxgeom=500)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_HAZE):
            self._scene.flags[flag] = False
        self._revisions: dict[int, int] = {}
        self._moving = MovingRectangle(self._model, self._option.geomgroup)
        self._look: tuple[NDArray[Any], ...] = ()  # of the last update: colours, materials, mocap bodies
        self._backgrounds: dict[str, tuple[NDArray[np.uint8], NDArray[np.uint16]]] = {}

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
        look = (snapshot.geom_rgba, snapshot.geom_matid, snapshot.mat_rgba, snapshot.mocap_pos, snapshot.mocap_quat)
        if not self._look or any(not np.array_equal(new, old) for new, old in zip(look, self._look, strict=True)):
            model.geom_rgba[:], model.geom_matid[:], model.mat_rgba[:] = look[:3]
            self._look = look
            self._backgrounds.clear()
        for index, (revision, pixels) in snapshot.textures.items():
            if self._revisions.get(index) != revision:
                start = int(model.tex_adr[index])
                model.tex_data[start : start + pixels.size] = pixels
                self._gl.make_current()
                mujoco.mjr_uploadTexture(model, self._context, index)
                self._revisions[index] = revision
                self._backgrounds.clear()
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)

    def render(self, camera: str) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """Draw what a camera sees.

        Returns:
            (height, width, 3) RGB, and (height, width) distance along the optical axis in units of ``DEPTH_UNIT_M``, 0
            where there is none; both are new arrays.
        """
        self._gl.make_current()
        if camera not in self._backgrounds:
            everything = Rectangle(0, 0, self.width, self.height)
            self._backgrounds[camera] = self._draw(camera, mujoco.mjtCatBit.mjCAT_STATIC, everything)
        background, background_depth = self._backgrounds[camera]
        colour, depth = background.copy(), background_depth.copy()
        moving = self.moving_rectangle(camera)
        if moving is not None:
            part = slice(moving.top, moving.bottom), slice(moving.left, moving.right)
            _lay_over(colour[part], depth[part], *self._draw(camera, mujoco.mjtCatBit.mjCAT_DYNAMIC, moving))
        return colour, depth

    def _draw(self, camera: str, categories: int, part: Rectangle) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """Draw a part of a camera's picture: colour (h, w, 3) and depth (h, w), in new arrays."""
        view = mujoco.MjvCamera()
        view.type, view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, self._model.camera(camera).id
        mujoco.mjv_updateScene(self._model, self._data, self._option, None, view, categories, self._scene)
        self._narrow(part)
        width, height = part.right - part.left, part.bottom - part.top
        viewport = mujoco.MjrRect(0, 0, width, height)
        colour = np.empty((height, width, 3), np.uint8)
        depth = np.empty((height, width), np.float32)
        mujoco.mjr_render(viewport, self._scene, self._context)
        mujoco.mjr_readPixels(colour, depth, viewport, self._context)
        return np.ascontiguousarray(colour[::-1]), self._metric_depth(depth[::-1])

    def _narrow(self, part: Rectangle) -> None:
        """Let the scene's camera see only a part of its picture, pixel for pixel."""
        for eye in self._scene.camera:  # of a stereo pair; here both are the same
            top, bottom = eye.frustum_top, eye.frustum_bottom
            row = (top - bottom) / self.height
            eye.frustum_top, eye.frustum_bottom = top - row * part.top, top - row * part.bottom
            eye.frustum_width = row * (part.right - part.left) / 2
            eye.frustum_center += row * ((part.left + part.right) - self.width) / 2

    def moving_rectangle(self, camera: str) -> Rectangle | None:
        """The part of a camera's picture that is drawn for each frame; None: nothing in it moves."""
        index = self._model.camera(camera).id
        pose = self._data.cam_xpos[index], self._data.cam_xmat[index].reshape(3, 3)
        return self._moving.seen_from(self._data, *pose, self.intrinsics(camera), self.width, self.height)

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

    def _metric_depth(self, buffer: NDArray[np.float32]) -> NDArray[np.uint16]:
        """From the depth buffer d (1 near, 0 far): z = near far / (near + d (far - near))."""
        scale = float(self._model.stat.extent)
        near, far = self._model.vis.map.znear * scale, self._model.vis.map.zfar * scale
        depth = buffer * np.float32((far - near) * DEPTH_UNIT_M / (near * far))
        depth += np.float32(DEPTH_UNIT_M / far)
        np.reciprocal(depth, out=depth)
        depth[depth > MAX_DEPTH_M / DEPTH_UNIT_M] = 0.0
        depth += np.float32(0.5)
        return depth.astype(np.uint16)


def _lay_over(
    colour: NDArray[np.uint8], depth: NDArray[np.uint16], new_colour: NDArray[np.uint8], new_depth: NDArray[np.uint16]
) -> None:
    """Change a picture, colour (h, w, 3) and depth (h, w), where the new one is nearer; depth 0 is the farthest."""
    nearer = new_depth - np.uint16(1) < depth - np.uint16(1)  # 0 wraps around to the largest value
    mask = nearer.view(np.uint8)
    cv2.copyTo(new_colour, mask, colour)
    cv2.copyTo(new_depth, mask, depth)


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
