"""The automatic collection of views: from pose to pose, at rest a picture, and back to where it began."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calibration.board import BoardConfig
from calibration.collection import ViewCollector
from calibration.detection import BoardNotSeenError, Image, detect, locate
from calibration.planning import PosePlanner, Workspace
from calibration.poses import inverse
from calibration.refinement import Mount
from calibration.views import load_views
from vipa.control.kinematics import Kinematics
from vipa.errors import VipaError
from vipa.hardware.realsense import CameraIntrinsics
from vipa.teleop.session import RobotReading
from vipa.teleop.visit import PoseVisit
from vipa_inference.policy import ActionChunk

Array = NDArray[np.float64]
Phase = Literal["moving", "looking", "returning", "done", "failed"]
WHAT = "calibration"
PATIENCE = 15  # poses in a row without a view
LONGEST_HALT_NS, LONGEST_LOOK_NS = 5_000_000_000, 10_000_000_000


@dataclass(frozen=True, eq=False)
class Shot:
    """An image that was exposed while the arm stood somewhere."""

    image: Image  # (H, W, 3) RGB
    exposure_ns: int
    joints: Sequence[float]  # (7,) rad
    moved: bool  # the arm did not rest


class CalibrationTour:
    """Leads the arm; call ``update`` and ``chunk`` each cycle, and ``take`` with images while it is "looking".

    Args:
        collector: keeps the views.
        mount: of the camera.
        board: that is seen.
        intrinsics: of the camera.
        workspace: which is kept to.
        count: views that are wanted.
        robot: where it begins.

    Attributes:
        phase: what it is doing.
        failure: why it failed.
        missed: poses that gave no view.

    Raises:
        VipaError: the arm begins outside the workspace.
    """

    def __init__(
        self, collector: ViewCollector, mount: Mount, board: BoardConfig, intrinsics: CameraIntrinsics,
        workspace: Workspace, count: int, robot: RobotReading,
    ) -> None:  # fmt: skip
        self.phase: Phase = "moving"
        self.failure = ""
        self.missed = 0
        self._collector, self._board, self._intrinsics = collector, board, intrinsics
        self._tool, self._home = workspace.tool, robot.pose
        begin = robot.pose @ inverse(workspace.tool)
        if not workspace.holds(begin[None], np.zeros((0, 3)))[0]:
            raise VipaError(
                "the arm begins outside the workspace (control.gate), or at its border; drive it into the middle with "
                "vipa teleop"
            )
        self._planner = PosePlanner(mount, board, intrinsics, workspace, count, begin)
        if collector.count:
            earlier = load_views(collector.folder).see()
            self._planner.remember(earlier.flange_to_base(), earlier.boards)
        self._kinematics = Kinematics()
        self._notes: list[str] = []
        self._in_a_row = 0
        self._looks_since_ns = 0
        self._flange = begin
        self._halted_ns = 0  # since when motion is not allowed
        self._goal = self._home
        self._visit = self._go_on()

    @property
    def views(self) -> int:
        """Views so far, those that were there before included."""
        return self._planner.views

    def take_notes(self) -> list[str]:
        """What a person wants to know, since the last call."""
        notes, self._notes = self._notes, []
        return notes

    def update(self, robot: RobotReading, now_ns: int, motion_allowed: bool) -> None:
        """One cycle."""
        if self.phase in ("done", "failed"):
            return
        if not motion_allowed:
            self._halt(now_ns)
            return
        self._halted_ns = 0
        self._visit.update(robot, now_ns)
        if self.phase == "returning" and self._visit.phase != "moving":
            self.phase = "done"
        elif self.phase == "moving" and self._visit.phase == "there":
            self.phase, self._looks_since_ns = "looking", now_ns
        elif self.phase == "moving" and self._visit.phase == "failed":
            self._miss(self._visit.failure)
        elif self.phase == "looking" and now_ns - self._looks_since_ns > LONGEST_LOOK_NS:
            self._miss("no image came while the arm rested")

    def refuse(self, chunk_id: int, reason: str) -> None:
        """The gate refused a chunk."""
        self._visit.refuse(chunk_id, reason)

    def chunk(self, robot: RobotReading, now_ns: int) -> ActionChunk | None:
        """The next chunk, where one is due."""
        return self._visit.chunk(robot, now_ns) if self.phase in ("moving", "returning") else None

    def take(self, shot: Shot) -> None:
        """An image; one from before the arm rested is passed over."""
        if self.phase != "looking" or shot.exposure_ns < self._looks_since_ns or shot.moved:
            return
        try:
            view = locate(detect(self._board, shot.image, "image"), self._intrinsics, "image")
            line = self._collector.add(shot.image, shot.joints)
        except BoardNotSeenError:
            self._miss("the board is not seen from here")
            return
        self._notes.append(line)
        self._in_a_row = 0
        self._planner.seen(self._kinematics.forward(np.array(shot.joints)), view)
        self._try_on()

    def _halt(self, now_ns: int) -> None:
        """Begin the way anew from where the arm then is, should motion be allowed again soon."""
        self._halted_ns = self._halted_ns or now_ns
        if now_ns - self._halted_ns > LONGEST_HALT_NS:
            self._fail("the cell is stopped; see: vipa cell status. The views so far are kept: go on with the folder")
        elif self.phase != "looking":
            self._visit = PoseVisit(self._goal, WHAT)

    def _miss(self, why: str) -> None:
        self._notes.append(f"no view: {why}")
        self.missed += 1
        self._in_a_row += 1
        self._planner.missed(self._flange)
        if self._in_a_row >= PATIENCE:
            self._fail(f"{PATIENCE} poses in a row gave no view, the last one since {why}")
        else:
            self._try_on()

    def _try_on(self) -> None:
        try:
            self._visit = self._go_on()
        except VipaError as error:
            self._fail(str(error))

    def _go_on(self) -> PoseVisit:
        """The way to the next pose, or back."""
        flange = self._planner.next()
        self.phase = "returning" if flange is None else "moving"
        self._flange = self._flange if flange is None else flange
        self._goal = self._home if flange is None else flange @ self._tool
        return PoseVisit(self._goal, WHAT)

    def _fail(self, reason: str) -> None:
        self.phase, self.failure = "failed", reason
