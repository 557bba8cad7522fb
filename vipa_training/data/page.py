"""Episodes as one HTML page that needs nothing else: videos inside, curves as SVG, every text escaped."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from vipa_inference.description import HAND_NAMES
from vipa_training.data.entries import EpisodeEntry
from vipa_training.data.errors import DatasetError
from vipa_training.data.format import STATE, TARGET_HAND, TARGET_POSE
from vipa_training.data.reader import Columns, Dataset

Array = NDArray[np.float64]
WIDTH, HEIGHT = 620, 150
COLORS = ("#c0392b", "#27ae60", "#2980b9", "#8e44ad", "#d35400", "#16a085", "#7f8c8d")
_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; media-src data:">
<title>Dataset</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; background: #fff; max-width: 90rem; margin: 2rem auto; padding: 0 1rem }
section { border-top: 1px solid #d9dee4; padding: .6rem 0 }
video { width: 320px; max-width: 100%; background: #e8ecf0; margin-right: .5rem }
svg { width: 620px; max-width: 100%; font-size: 12px; margin: .3rem 1rem .3rem 0 }
.cursor { stroke: #1f2933; stroke-width: 1 } .mark { stroke: #b8c2cc; stroke-dasharray: 3 3 }
.remark { color: #52606d; font-size: 13px }
</style>
</head>
<body>
"""  # noqa: E501 - one rule a line
_SCRIPT = """<script>
for (const section of document.querySelectorAll("section")) {
  const videos = [...section.querySelectorAll("video")];
  const move = () => {
    const share = videos[0].currentTime / section.dataset.duration;
    for (const line of section.querySelectorAll(".cursor"))
      line.setAttribute("transform", `translate(${share * 620} 0)`);
    requestAnimationFrame(move);
  };
  if (videos.length) move();
  for (const video of videos) for (const event of ["play", "pause", "seeked"])
    video.addEventListener(event, () => { for (const other of videos) if (other !== video) {
      if (Math.abs(other.currentTime - video.currentTime) > 0.03) other.currentTime = video.currentTime;
      if (video.paused !== other.paused) { if (video.paused) other.pause(); else other.play(); } } });
}
</script>
"""


def dataset_page(dataset: Dataset, numbers: Sequence[int]) -> str:
    """The page of some episodes.

    Args:
        dataset: where they are.
        numbers: of the episodes.

    Raises:
        DatasetError: an episode does not exist, or cannot be read.
    """
    seconds = dataset.length / dataset.layout.fps
    head = f"{len(dataset.episodes)} episodes, {dataset.length} rows, {seconds:.0f} s at {dataset.layout.fps} rows/s"
    parts = [_HEAD, f"<h1>{escape(dataset.root.name)}</h1>\n<p>{head}</p>\n"]
    for number in numbers:
        if not 0 <= number < len(dataset.episodes):
            raise DatasetError(f"dataset {dataset.root}: has no episode {number}")
        parts.append(_section(dataset, dataset.episodes[number]))
    return "".join([*parts, _SCRIPT, "</body>\n</html>\n"])


def _section(dataset: Dataset, episode: EpisodeEntry) -> str:
    note, duration = episode.note, episode.length / dataset.layout.fps
    facts = [f"{episode.length} rows, {duration:.1f} s", note.outcome, note.scene, note.variant]
    facts += [f"seed {note.seed}" if note.seed is not None else "", note.policy, note.recording]
    marks = [f"{name} after {time:.1f} s" for name, time in note.sub_tasks]
    figures = [f"{name} {value:g}" for name, value in note.alignment.items()]
    lines = [
        f'<section data-duration="{duration}">\n<h2>Episode {episode.number}: {escape(note.task)}</h2>\n',
        *(
            f"<p class=remark>{escape(', '.join(filter(None, items)))}</p>\n"
            for items in (facts, marks, figures)
            if items
        ),
    ]
    lines += [_video(dataset, episode, key) for key in dataset.layout.video_keys]
    lines.append("<br>\n")
    times = [time for _, time in note.sub_tasks]
    for title, names, solid, dashed in _curves(dataset.rows(episode)):
        lines.append(_plot(title, names, solid, dashed, duration, times))
    return "".join([*lines, "</section>\n"])


def _video(dataset: Dataset, episode: EpisodeEntry, key: str) -> str:
    place = episode.videos[key]
    try:
        content = base64.b64encode(place.path.read_bytes()).decode()
    except OSError as error:
        raise DatasetError(f"{place.path}: cannot be read: {error.strerror}") from None
    part = f"#t={place.start},{place.start + episode.length / dataset.layout.fps}" if place.start else ""
    return f'<video controls muted title="{escape(key)}" src="data:video/mp4;base64,{content}{part}"></video>\n'


def _curves(rows: Columns) -> Iterable[tuple[str, Sequence[str], Array, Array | None]]:
    """Title, names, values (T, D), and what was commanded."""
    if STATE not in rows or rows[STATE].shape[1:] != (22,):
        for key, values in rows.items():
            if values.ndim == 2:
                yield key, [str(k) for k in range(values.shape[1])], values, None
        return
    state = rows[STATE]
    pose, hand = rows.get(TARGET_POSE), rows.get(TARGET_HAND)
    yield "end effector, m (dashed: commanded)", "xyz", state[:, :3], None if pose is None else pose[:, :3]
    yield "joints, rad", [f"joint {k}" for k in range(1, 8)], state[:, 9:16], None
    yield "hand, 0 closed to 1 open (dashed: commanded)", HAND_NAMES, state[:, 16:], hand


def _plot(
    title: str, names: Sequence[str], solid: Array, dashed: Array | None, duration: float, marks: Sequence[float]
) -> str:
    both = solid if dashed is None else np.concatenate([solid, dashed])
    low, high = float(np.nanmin(both)), float(np.nanmax(both))
    span = max(high - low, 1e-6)
    lines = [f'<svg viewBox="0 -18 {WIDTH} {HEIGHT + 22}" role="img" aria-label="{escape(title)}">\n']
    lines.append(f'<text x="0" y="-6">{escape(title)}: {low:.3g} to {high:.3g}</text>\n')
    for mark in marks:
        x = WIDTH * mark / duration
        lines.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}"/>\n')
    for values, style in ((solid, ""), (dashed, ' stroke-dasharray="4 3"')):
        for k, column in enumerate(() if values is None else values.T):
            x, y = np.linspace(0, WIDTH, len(column)), HEIGHT * (1.0 - (column - low) / span)
            points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True) if np.isfinite(b))
            color = COLORS[k % len(COLORS)]
            lines.append(f'<polyline fill="none" stroke="{color}"{style} points="{points}">')
            lines.append(f"<title>{escape(names[k])}</title></polyline>\n")
    return "".join([*lines, f'<line class="cursor" x1="0" x2="0" y1="0" y2="{HEIGHT}"/>\n</svg>\n'])
