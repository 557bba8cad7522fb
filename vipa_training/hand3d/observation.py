"""What is known of one picture in metres: hands, objects and the camera, all in the camera's frame at that moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vipa_training.hand3d.clip import Clip
from vipa_training.hand3d.errors import Rejection
from vipa_training.hand3d.geometry import VisibilityConfig, hand_in_view, in_camera, projected
from vipa_training.hand3d.joints import Side
from vipa_training.hand3d.pointmaps import ObjectConfig, Surface, object_surface, values_at
from vipa_training.hand3d.scale import Scale, ScaleConfig, calibrated_scale

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Observation:
    """One picture of a clip.

    Attributes:
        number: of the frame in the clip.
        time: s.
        hands: (21, 3) m, those that are in view.
        objects: by name.
        extrinsics: (4, 4) world to camera.
    """

    number: int
    time: float
    hands: Mapping[Side, Array]
    objects: Mapping[str, Surface]
    extrinsics: Array


@dataclass(frozen=True)
class ObservationConfig:
    """What counts as seen."""

    visibility: VisibilityConfig = field(default_factory=VisibilityConfig)
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    objects: ObjectConfig = field(default_factory=ObjectConfig)


def observe(
    clip: Clip,
    numbers: Sequence[int],
    pointmaps: Mapping[int, Array] | None = None,
    config: ObservationConfig | None = None,
    is_metric: bool = False,
) -> tuple[list[Observation], Scale | None]:
    """Observations of some frames; those in which no hand is in view are left out.

    Objects with poses are where their poses say; others need a box and a pointmap. All pointmaps of a clip are in one
    unit, so that all its joints together give the scale.

    Args:
        clip: valid, and with the joints of its hands.
        numbers: of the frames.
        pointmaps: (h, w, 3) by frame, in any unit.
        config: what counts.
        is_metric: the pointmaps are in metres, as those of a simulation, and need no scale.

    Returns:
        The observations, and the scale of the pointmaps where it had to be found.

    Raises:
        Rejection: no hand is ever in view, or the pointmaps have no scale.
    """
    settings, maps = config or ObservationConfig(), pointmaps or {}
    hands = _hands_in_view(clip, settings.visibility)
    chosen = [number for number in numbers if hands[number]]
    if not chosen:
        raise Rejection("no hand is in view")
    scale = None
    if maps and not is_metric:
        scale = _scale(clip, hands, {n: maps[n] for n in chosen if n in maps}, settings.scale)
    unit = 1.0 if scale is None else scale.value
    found: list[Observation] = []
    for number in chosen:
        metric = maps[number] * unit if number in maps else None
        objects = _objects(clip, number, metric, settings.objects)
        found.append(
            Observation(number, float(clip.times[number]), hands[number], objects, clip.camera.extrinsics[number])
        )
    return found, scale


def _hands_in_view(clip: Clip, config: VisibilityConfig) -> list[dict[Side, Array]]:
    seen: list[dict[Side, Array]] = [{} for _ in range(len(clip))]
    for side, hand in clip.hands.items():
        if hand.joints is None:
            raise Rejection(f"{side} hand: has no joints yet, only MANO parameters")
        joints = in_camera(hand.joints, hand.frame, clip.camera)
        in_view = hand_in_view(joints, clip.camera.intrinsics, clip.camera.size, config) & hand.valid
        for number in np.flatnonzero(in_view):
            seen[int(number)][side] = joints[number]
    return seen


def _scale(clip: Clip, hands: list[dict[Side, Array]], maps: Mapping[int, Array], config: ScaleConfig) -> Scale:
    real: list[Array] = []
    seen: list[Array] = []
    for number, pointmap in maps.items():
        for joints in hands[number].values():
            pixels = projected(joints, clip.camera.intrinsics[number])
            real.append(joints[:, 2])
            seen.append(values_at(pointmap, pixels, clip.camera.size)[:, 2])
    return calibrated_scale(np.concatenate(real) if real else [], np.concatenate(seen) if seen else [], config)


def _objects(clip: Clip, number: int, metric: Array | None, config: ObjectConfig) -> dict[str, Surface]:
    found: dict[str, Surface] = {}
    for item in clip.objects:
        if not item.valid[number]:
            continue
        if item.poses is not None:
            position = in_camera(item.poses[:, None, :3, 3], item.frame, clip.camera)[number, 0]
            found[item.name] = Surface(position, position[None])
        elif item.boxes is not None and metric is not None:
            try:
                found[item.name] = object_surface(metric, item.boxes[number], clip.camera.size, config)
            except Rejection:
                continue  # this object cannot be placed in this frame; others can
    return found
