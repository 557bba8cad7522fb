"""Where the arm goes for a calibration without a person: it seeks the board, turns about there, and then goes where a
view adds most to what is known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.board import BoardConfig
from calibration.detection import BoardView
from calibration.hand_eye import DegenerateViewsError, HandEye, solve
from calibration.poses import displaced, distance
from calibration.refinement import Mount
from calibration.suggestion import suggest
from vipa.errors import VipaError
from vipa.hardware.fr3.robot import flange_pose
from vipa.hardware.realsense import CameraIntrinsics
from vipa.lab import LabConfig

Array = NDArray[np.float64]
SEEKING_DEG = (0.0, -45.0, 45.0, -90.0, 90.0)  # about the flange's z: as far as the board is sought
TURNS_DEG = ((12.0, 0.0, 0.0), (-12.0, 0.0, 0.0), (0.0, 12.0, 0.0), (0.0, -12.0, 0.0), (0.0, 0.0, 15.0))
MARGIN_M = 0.015  # from the border of the workspace
CLEARANCE_M = 0.04  # of board and camera above the floor of the workspace
HIGHEST_TURN = 0.2  # of the flange's z axis upwards: the hand never points up
SAME_MM, SAME_DEG = 20.0, 5.0  # poses nearer than this count as one
AT_ONCE = 3  # poses that are suggested before camera and board are computed anew


@dataclass(frozen=True, eq=False)
class Workspace:
    """Where the flange may go.

    Attributes:
        tool: (4, 4) pose of the end effector in the flange frame, m.
        low, high: (3,) m of the end effector in the base frame.
    """

    tool: Array
    low: Array
    high: Array

    @staticmethod
    def of(lab: LabConfig) -> "Workspace":
        """The workspace of a laboratory's gate, less a margin."""
        gate, arm = lab.control.gate, lab.arm
        low, high = np.array(gate.workspace_min), np.array(gate.workspace_max)
        low[2] = max(low[2], gate.floor_z)
        tool = flange_pose(arm.end_effector_translation, arm.end_effector_rpy)
        return Workspace(tool, low + MARGIN_M, high - MARGIN_M)

    def holds(self, flanges: Array, carried: Array) -> NDArray[np.bool_]:
        """Which poses (K, 4, 4) of the flange keep end effector, hand and what is carried (M, 3), m, within."""
        ends = (flanges @ self.tool)[:, :3, 3]
        within = ((ends >= self.low) & (ends <= self.high)).all(axis=-1)
        heights = np.einsum("kj,mj->km", flanges[:, 2, :3], carried) + flanges[:, 2, 3, None]
        high_enough = (heights >= self.low[2] + CLEARANCE_M).all(axis=-1)
        return within & high_enough & (flanges[:, 2, 2] <= HIGHEST_TURN)


class PosePlanner:
    """Names one pose of the flange after the other.

    Args:
        mount: of the camera.
        board: that is seen.
        intrinsics: of the camera.
        workspace: which is kept to.
        count: views that are wanted.
        begin: (4, 4) pose of the flange where it begins, m.
    """

    def __init__(
        self, mount: Mount, board: BoardConfig, intrinsics: CameraIntrinsics, workspace: Workspace, count: int,
        begin: Array,
    ) -> None:  # fmt: skip
        self._mount: Mount = mount
        self._board, self._intrinsics, self._workspace = board, intrinsics, workspace
        self._count = count
        self._flanges: list[Array] = []
        self._views: list[BoardView] = []
        self._avoided: list[Array] = []  # where it was, or could not be
        turns = np.radians([(0.0, 0.0, turn) for turn in SEEKING_DEG])
        self._next = list(displaced(begin, np.hstack([turns, np.zeros((len(turns), 3))])))
        self._is_seeking = True

    @property
    def views(self) -> int:
        """Views so far."""
        return len(self._views)

    def remember(self, flanges: Array, views: Sequence[BoardView]) -> None:
        """Take views that there are already, with the flange at (N, 4, 4)."""
        self._flanges += list(flanges)
        self._views += views
        self._avoided += list(flanges)
        if len(views) > len(TURNS_DEG):
            self._is_seeking, self._next = False, []

    def seen(self, flange: Array, view: BoardView) -> None:
        """The board was seen with the flange at a pose (4, 4)."""
        self._flanges.append(flange)
        self._views.append(view)
        self._avoided.append(flange)
        if self._is_seeking:
            self._is_seeking = False
            turns = np.radians(TURNS_DEG)
            self._next = list(displaced(flange, np.hstack([turns, np.zeros((len(turns), 3))])))

    def missed(self, flange: Array) -> None:
        """The flange did not get to a pose (4, 4), or the board was not seen from there."""
        self._avoided.append(flange)

    def next(self) -> Array | None:
        """The pose (4, 4) to go to; None where there are enough views.

        Raises:
            VipaError: the board is nowhere, or no further pose can be reached.
        """
        if self.views >= self._count:
            return None
        while self._next:
            pose = self._next.pop(0)
            if bool(self._workspace.holds(pose[None], np.zeros((0, 3)))[0]):
                return pose
        if self._is_seeking:
            raise VipaError(
                "the board is not seen, neither from where the arm stands nor turned by 90 degrees; drive the arm to "
                "where the camera sees all of it: vipa teleop"
            )
        self._next = self._suggested()
        return self._next.pop(0)

    def _suggested(self) -> list[Array]:
        try:
            found = solve(self._mount, np.stack(self._flanges), self._views)
        except DegenerateViewsError as error:
            raise VipaError(f"{error} (the arm could not turn about where it began; begin elsewhere)") from None
        wanted = min(AT_ONCE, self._count - self.views)
        poses = suggest(
            found, np.stack(self._flanges), self._views, self._intrinsics, self._board.corners, wanted,
            allowed=lambda flanges: self._allowed(flanges, found),
        )  # fmt: skip
        if not poses:
            raise VipaError(
                f"no further pose within the workspace from which the board is seen: {self.views} views were taken; "
                "begin elsewhere, and go on with the same folder"
            )
        return [pose.flange_to_base for pose in poses]

    def _allowed(self, flanges: Array, found: HandEye) -> NDArray[np.bool_]:
        if self._mount == "wrist":
            carried = found.camera[None, :3, 3]
        else:
            width, height = self._board.size
            corners = np.array([(x, y, 0.0, 1.0) for x in (0.0, width) for y in (0.0, height)])
            carried = (corners @ found.board.T)[:, :3]
        new = [all(not _is_near(pose, other) for other in self._avoided) for pose in flanges]
        return self._workspace.holds(flanges, carried) & np.array(new)


def _is_near(pose: Array, other: Array) -> bool:
    shift, turn = distance(pose, other)
    return shift < SAME_MM and turn < SAME_DEG
