"""How far the motions that a model predicts are from the true ones, and from what needs no model (paper Fig. 9)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vipa_training.hand3d.dataset import ActionItem, ActionItems
from vipa_training.hand3d.evaluation import AXES, Interval, mean_interval
from vipa_training.hand3d.motion_tokens import KINDS, MOTION, positions_of

Array = NDArray[np.float64]
GENERATION, PREDICTION, _ = KINDS
KNOTS = 20  # of the mean motion


@dataclass(frozen=True, eq=False)
class Motions:
    """A model's motions of one category.

    Attributes:
        category: of the task.
        samples: how many.
        error: m, the mean distance of the waypoints from the true ones.
        end_error: m, of the last waypoint.
        blind_error: m, of what needs no model: the mean motion of the training, or for a motion that is to be
            continued, to stay where it ends.
    """

    category: str
    samples: int
    error: Interval
    end_error: Interval
    blind_error: Interval


def motion_items(items: Sequence[ActionItem]) -> list[ActionItem]:
    """Those that are answered by a motion."""
    return [item for item in items if item.answer == MOTION]


def true_track(item: ActionItem) -> Array:
    """The waypoints (N, 3) m of the answer, before they were binned."""
    return item.track[-len(item.motions[-1]) :]


def mean_tracks(items: ActionItems) -> dict[str, Array]:
    """The mean motion (KNOTS, 3) m of each category that is answered by one, each stretched to the same length."""
    names = ("category", "answer", "motions", "track")
    found: dict[str, list[Array]] = {}
    for category, answer, motions, track in zip(*(items.column(name) for name in names), strict=True):
        if answer == MOTION:
            waypoints = np.array(track, np.float64).reshape(-1, AXES)[-len(motions[-1]) // AXES :]
            found.setdefault(category, []).append(_stretched(waypoints, KNOTS))
    return {category: np.mean(tracks, axis=0) for category, tracks in found.items()}


def compare(items: Sequence[ActionItem], tracks: Sequence[Array], means: Mapping[str, Array]) -> list[Motions]:
    """Errors of a model's motions, for each category that is answered by a motion.

    Args:
        items: ``motion_items``.
        tracks: (N, 3) m, the model's motion for each.
        means: ``mean_tracks`` of the training.

    Raises:
        ValueError: the training has no motion of a category.
    """
    found: list[Motions] = []
    for category in (GENERATION, PREDICTION):
        chosen = [k for k, item in enumerate(items) if item.category == category]
        if not chosen:
            continue
        if category not in means:
            raise ValueError(f"motions: none of {category} in the training split")
        distances = [np.linalg.norm(tracks[k] - true_track(items[k]), axis=1) for k in chosen]
        blind = [np.linalg.norm(_blind(items[k], means[category]) - true_track(items[k]), axis=1) for k in chosen]
        videos = [items[k].video for k in chosen]
        found.append(
            Motions(
                category,
                len(chosen),
                mean_interval(np.array([one.mean() for one in distances]), videos),
                mean_interval(np.array([one[-1] for one in distances]), videos),
                mean_interval(np.array([one.mean() for one in blind]), videos),
            )
        )
    return found


def _blind(item: ActionItem, mean: Array) -> Array:
    count = len(item.motions[-1])
    if len(item.motions) == 1:
        return _stretched(mean, count)
    return np.repeat(positions_of(item.motions[0], item.tokens)[-1:], count, axis=0)


def _stretched(track: Array, count: int) -> Array:
    moments = np.linspace(0.0, len(track) - 1.0, count)
    return np.stack([np.interp(moments, np.arange(len(track)), track[:, axis]) for axis in range(3)], axis=1)
