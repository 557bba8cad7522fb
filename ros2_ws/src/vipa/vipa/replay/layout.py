"""Whether a recording may be played in a laboratory: what is different from the one in which it was made."""

from collections.abc import Iterator

import numpy as np

from vipa.errors import VipaError
from vipa.hardware.fr3.robot import flange_pose
from vipa.lab import ExtrinsicsConfig, LabConfig
from vipa_inference.policy import CommittedPlan

SAME_M, SAME_ROTATION = 1e-3, 5e-3  # of a camera's or the end effector's pose
OUTSIDE_M = 0.005  # by which a recorded target may lie outside the workspace; the gate moves it in


def check_layout(recorded: LabConfig | None, lab: LabConfig, targets: CommittedPlan) -> tuple[str, ...]:
    """What a person should know before a recording is played; one line each.

    Args:
        recorded: in which it was made; None: not attached.
        lab: in which it is to be played.
        targets: of the recording.

    Raises:
        VipaError: it must not be played there: the end effector is another one, or targets lie outside the workspace.
    """
    gate = lab.control.gate
    low, high = np.array(gate.workspace_min), np.array(gate.workspace_max)
    low[2] = max(low[2], gate.floor_z)
    positions = targets.poses[:, :3, 3]
    outside = float(np.maximum(low - positions, positions - high).max())
    if outside > OUTSIDE_M:
        raise VipaError(
            f"replay: the recording leaves the workspace of laboratory {lab.name} by {outside:.3f} m. "
            "Replay it in the laboratory in which it was made, or widen control.gate.workspace_min and _max"
        )
    if recorded is None:
        return ("the recording tells nothing of its laboratory",)
    if not _same(_tool(recorded), _tool(lab)) or recorded.base_frame != lab.base_frame:
        raise VipaError(
            f"replay: the end effector of laboratory {lab.name} (arm.end_effector_translation, _rpy, base_frame) is "
            f"not that of the recording, {recorded.name}. Name the right laboratory with --lab"
        )
    return tuple(_differences(recorded, lab))


def _differences(recorded: LabConfig, lab: LabConfig) -> Iterator[str]:
    if recorded.name != lab.name:
        yield f"recorded in laboratory {recorded.name}, played in {lab.name}"
    for name in sorted({*recorded.cameras, *lab.cameras}):
        if name not in recorded.cameras or name not in lab.cameras:
            yield f"only one of the two laboratories has the camera {name}"
        elif not _same_place(recorded.cameras[name].extrinsics, lab.cameras[name].extrinsics):
            yield f"camera {name} stands elsewhere than in the recording"
    if recorded.hand.model != lab.hand.model:
        yield f"the hand is a {lab.hand.model}, the recorded one a {recorded.hand.model}"
    if recorded.control != lab.control:
        yield "the limits of the controller or its gate (control) are not those of the recording"


def _tool(lab: LabConfig) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return flange_pose(lab.arm.end_effector_translation, lab.arm.end_effector_rpy)


def _same_place(one: ExtrinsicsConfig, two: ExtrinsicsConfig) -> bool:
    return one.frame == two.frame and _same(one.matrix(), two.matrix())


def _same(
    one: np.ndarray[tuple[int, ...], np.dtype[np.float64]], two: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> bool:
    return bool(
        np.abs(one[:3, 3] - two[:3, 3]).max() <= SAME_M and np.abs(one[:3, :3] - two[:3, :3]).max() <= SAME_ROTATION
    )
