"""One picture of a clip of a data set: its frames with joints, boxes and points, and what is asked about it."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vipa_training.hand3d.dataset import ActionItems, VisualItems
from vipa_training.hand3d.errors import Hand3DError
from vipa_training.hand3d.format import SPLITS, Split
from vipa_training.hand3d.geometry import projected
from vipa_training.hand3d.motion_tokens import positions_of
from vipa_training.hand3d.stored_clips import StoredClip, read_clips
from vipa_training.hand3d.synthetic.hand import BONES

Image = NDArray[np.uint8]
SHOWN, QUESTIONS = 6, 10  # pictures, questions
_WIDTH = 320  # px, of a picture
_FARTHEST = 2.0  # m, of points
_LINE, _MARGIN = 18, 8  # px, of text
_COLOURS = {"left": (255, 140, 0), "right": (0, 220, 60)}
_BOX = (255, 0, 255)


def draw_clip(root: Path, name: str, path: Path) -> str:
    """Write a PNG of a clip.

    Args:
        root: of the data set.
        name: of the clip; empty: the first.
        path: of the picture.

    Returns:
        The name of the clip.

    Raises:
        Hand3DError: there is no such data set or clip, or the picture cannot be written.
    """
    clips: list[tuple[Split, StoredClip]] = [(split, clip) for split in SPLITS for clip in read_clips([root], split)]
    found = [pair for pair in clips if not name or pair[1].clip == name]
    if not found:
        known = ", ".join(sorted(clip.clip for _, clip in clips)[:3])
        raise Hand3DError(f"{root}: no clip {name or 'at all'}; there are {known} ...")
    split, clip = found[0]
    count = len(clip.numbers)
    places = np.unique(np.linspace(0, count - 1, min(SHOWN, count)).round().astype(int)).tolist()
    pictures = np.hstack([_column(clip, place) for place in places])
    lines = [f"{clip} ({split}): {clip.text}", *_texts(root, split, clip.clip)]
    sheet = np.vstack([pictures, _written(lines, pictures.shape[1])])
    if not cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise Hand3DError(f"{path}: cannot be written")
    return clip.clip


def _column(clip: StoredClip, place: int) -> Image:
    """One frame, and below it the points that are known of it, seen from the side."""
    intrinsics, picture = clip.intrinsics[place], clip.picture(place)
    zoom = _WIDTH / picture.shape[1]
    large = cv2.resize(picture, (_WIDTH, round(picture.shape[0] * zoom)), interpolation=cv2.INTER_CUBIC)
    for side, hand in clip.hands.items():
        pixels = (projected(hand[place], intrinsics) + 0.5) * zoom
        joints = [(round(u), round(v)) if np.isfinite(u + v) else None for u, v in pixels.tolist()]
        for first, second in BONES:
            begin, end = joints[first], joints[second]
            if begin is not None and end is not None:
                cv2.line(large, begin, end, _COLOURS[side], 1, cv2.LINE_AA)
        for joint in joints:
            if joint is not None:
                cv2.circle(large, joint, 2, _COLOURS[side], -1, cv2.LINE_AA)
    for box, name in zip(clip.boxes[place], clip.objects, strict=True):
        if np.isfinite(box).all():
            left, top, right, bottom = (round(edge * zoom) for edge in box.tolist())
            cv2.rectangle(large, (left, top), (right, bottom), _BOX, 1)
            cv2.putText(large, name, (left, top - 3), cv2.FONT_HERSHEY_SIMPLEX, 0.35, _BOX, 1, cv2.LINE_AA)
    return np.vstack([large.astype(np.uint8), _points(clip, place, picture, large.shape[0])])


def _points(clip: StoredClip, place: int, picture: Image, height: int) -> Image:
    """The points of a frame from its stored depth, turned by 40 degrees."""
    sheet = np.full((height, _WIDTH, 3), 24, np.uint8)
    pointmap = clip.pointmap(place)
    if pointmap is None:
        return sheet
    small = cv2.resize(picture, pointmap.shape[1::-1], interpolation=cv2.INTER_AREA)
    near = pointmap[..., 2] < _FARTHEST  # NaN is not
    points, colours = pointmap[near], small[near]
    if not len(points):
        return sheet
    cosine, sine = np.cos(np.radians(40.0)), np.sin(np.radians(40.0))
    turn = np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
    seen = (points - np.median(points, axis=0)) @ turn.T
    scale = 0.45 * _WIDTH / max(float(np.quantile(np.abs(seen[:, 0]), 0.95)), 1e-3)
    for point in np.argsort(-seen[:, 2]).tolist():  # far ones first
        u, v = round(_WIDTH / 2 + scale * seen[point, 0]), round(height / 2 + scale * seen[point, 1])
        cv2.circle(sheet, (u, v), 1, colours[point].tolist(), -1)
    return sheet


def _texts(root: Path, split: Split, clip: str) -> list[str]:
    """Some questions about a clip, spread over the categories, and its motions."""
    visual, action = VisualItems([root], split), ActionItems([root], split)
    by_category: dict[str, list[str]] = {}
    for place in _of(visual.column("clip"), clip):
        _, row = visual.row(place)
        text = f"frames {row['frames']}  {row['question']}  -  {row['answer']}"
        by_category.setdefault(row["category"], []).append(text)
    each = max(1, QUESTIONS // max(1, len(by_category)))
    lines = [text for texts in by_category.values() for text in texts[:: max(1, len(texts) // each)][:each]]
    for place in _of(action.column("clip"), clip)[:QUESTIONS]:
        item = action[place]
        ends = [np.round(positions_of(motion[[0, -1]], item.tokens), 2).tolist() for motion in item.motions]
        lines.append(f"frame {item.numbers[0]}  {item.question}  -  {item.answer}   <motion> in m, from and to: {ends}")
    return lines


def _of(names: Sequence[str], clip: str) -> list[int]:
    return [place for place, name in enumerate(names) if name == clip]


def _written(lines: Sequence[str], width: int) -> Image:
    most = max(20, (width - 2 * _MARGIN) // 7)
    broken = [line[start : start + most] for line in lines for start in range(0, max(1, len(line)), most)]
    sheet = np.full((2 * _MARGIN + _LINE * len(broken), width, 3), 255, np.uint8)
    for row, line in enumerate(broken):
        at = (_MARGIN, _MARGIN + _LINE * row + 13)
        cv2.putText(sheet, line, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return sheet
