"""ChArUco boards in the simulated laboratory: one on the back of the hand, and one on the table before each camera.

A board's frame is that of ``calibration.board``: its origin is a corner, x along the columns, y along the rows, z into
the board.
"""

import numpy as np
from numpy.typing import NDArray

from calibration.board import BoardConfig
from vipa_sim.engine import Body, Spec, mujoco
from vipa_sim.robot_model import ENVIRONMENT_BIT, FLANGE_OFFSET, LINKS

Array = NDArray[np.float64]

_PIXELS_PER_SQUARE = 64
_MARGIN = 0.01  # m of white around the squares
_THICKNESS = 0.006  # m


def _facing(centre: Array, outwards: Array, right: Array, board: BoardConfig) -> Array:
    """(4, 4): a board around ``centre`` whose print faces ``outwards`` and whose columns run to the ``right``."""
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(-outwards, right), -outwards], axis=1)
    pose[:3, 3] = centre - pose[:3, :2] @ board.size / 2
    return pose


def _leaning(place: tuple[float, float], heading_deg: float, lean_deg: float, board: BoardConfig) -> Array:
    """(4, 4) in the base frame: a board on the table that faces a heading, leaning up by an angle from flat."""
    heading, lean = np.radians(heading_deg), np.radians(lean_deg)
    ahead, up = np.array([np.cos(heading), np.sin(heading), 0.0]), np.array([0.0, 0.0, 1.0])
    outwards = np.sin(lean) * ahead + np.cos(lean) * up
    height = (board.size[1] / 2 + _MARGIN) * np.sin(lean) + _THICKNESS
    return _facing(np.array([*place, height]), outwards, np.cross(up, ahead), board)


HAND_BOARD = BoardConfig()
HAND_BOARD_TO_FLANGE: Array = _facing(
    np.array([0.06, 0.0, 0.085]), np.array([1.0, 0.0, 0.0]), np.array([0.0, -1.0, 0.0]), HAND_BOARD
)
"""(4, 4): on the back of the hand, facing away from the robot's base at home."""

REFERENCE_BOARDS = {
    "front": BoardConfig(5, 4, 0.05, 0.038, "5X5_50"),
    "side": BoardConfig(5, 4, 0.05, 0.038, "6X6_250"),
}
"""By camera: what stands on the table for the check of drift, out of the tasks' way."""
REFERENCE_BOARD_TO_BASE: dict[str, Array] = {
    "front": _leaning((0.28, 0.50), -20.0, 50.0, REFERENCE_BOARDS["front"]),
    "side": _leaning((0.83, -0.14), -100.0, 25.0, REFERENCE_BOARDS["side"]),
}


def add_hand_board(spec: Spec) -> None:
    """Fix the board for the calibration of standing cameras to the flange; it weighs nothing and touches nothing."""
    in_link = HAND_BOARD_TO_FLANGE.copy()
    in_link[2, 3] += FLANGE_OFFSET
    _add_board(spec, spec.body(LINKS[-1]), "hand_board", HAND_BOARD, in_link, {"contype": 0, "mass": 0.0})


def add_reference_boards(spec: Spec) -> None:
    """Fix a board to the table for each camera."""
    for camera, board in REFERENCE_BOARDS.items():
        pose = REFERENCE_BOARD_TO_BASE[camera]
        _add_board(spec, spec.worldbody, f"{camera}_board", board, pose, {"contype": ENVIRONMENT_BIT})


def _add_board(
    spec: Spec, body: Body, name: str, board: BoardConfig, pose: Array, common: dict[str, float]
) -> None:  # fmt: skip
    pixels = np.repeat(board.texture(_PIXELS_PER_SQUARE)[..., None], 3, axis=2)
    texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, nchannel=3)
    texture.height, texture.width = pixels.shape[:2]
    texture.data = pixels.tobytes()
    spec.add_material(name=name, specular=0.0).textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    rotation = pose[:3, :3] * (1.0, -1.0, -1.0)  # of the box that shows the texture on its upper face, row 0 at +y
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, rotation.ravel())
    middle = pose[:3, :2] @ np.array(board.size) / 2 + pose[:3, 3]
    width, height = (length / 2 for length in board.size)
    sheet, plate = 0.0002, _THICKNESS / 2  # m, half thicknesses
    for part, size, depth, look in (
        ("", [width, height, sheet], sheet, {"material": name}),
        ("_plate", [width + _MARGIN, height + _MARGIN, plate], 2 * sheet + plate, {"rgba": [1.0, 1.0, 1.0, 1.0]}),
    ):
        body.add_geom(
            name=name + part,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=size,
            pos=middle - depth * rotation[:, 2],
            quat=quaternion,
            conaffinity=0,
            **look,
            **common,
        )
