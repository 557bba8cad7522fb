"""Hand3D-test of some checkpoints: Table 8, Figure 8 and, for those that know motions, Figure 9."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vipa_inference.policy import PolicyError
from vipa_training.evaluation.hand3d.answers import Answerer, Array
from vipa_training.evaluation.hand3d.figures import draw_histograms, draw_tracks
from vipa_training.evaluation.hand3d.motions import Motions, compare, mean_tracks, motion_items, true_track
from vipa_training.evaluation.hand3d.table import Question, Row, blind_answers, gain, question_of, row_of
from vipa_training.hand3d.dataset import ActionItem, ActionItems, VisualItems
from vipa_training.hand3d.errors import Hand3DError
from vipa_training.hand3d.evaluation import Interval
from vipa_training.hand3d.stored_clips import read_clips

BLIND = "blind"
HISTOGRAMS, TRACKS, ANSWERS = "histograms.png", "motions-{label}.png", "answers.jsonl"
DRAWN = 12  # motions
ERRORS = (Hand3DError, PolicyError, ValueError)
"""What an evaluation raises."""


@dataclass(frozen=True, eq=False)
class Report:
    """What was found.

    Attributes:
        rows: of Table 8, first the one that looks at no picture.
        gains: of each model over the one before it: label, errors (m) that are smaller, scores that are higher.
        motions: of each model that knows motions.
        files: that were written.
    """

    rows: list[Row]
    gains: list[tuple[str, Interval, Interval]]
    motions: dict[str, list[Motions]]
    files: list[Path]

    def figures(self) -> dict[str, float]:
        """The means."""
        found: dict[str, float] = {}
        for row in self.rows:
            found[f"{row.label}_distance_error_m"] = row.evaluation.distance_error.mean
            found[f"{row.label}_direction_score"] = row.evaluation.direction_score.mean
        for label, motions in self.motions.items():
            for one in motions:
                found[f"{label}_{one.category}_error_m"] = one.error.mean
                found[f"{BLIND}_{one.category}_error_m"] = one.blind_error.mean
        return found

    def details(self) -> dict[str, Any]:
        """All intervals."""
        return {
            "rows": {
                row.label: asdict(row.evaluation)
                | {"categories": {name: asdict(one) for name, one in row.categories.items()}}
                for row in self.rows
            },
            "gains": {
                label: {"distance_error": asdict(error), "direction_score": asdict(score)}
                for label, error, score in self.gains
            },
            "motions": {label: [asdict(one) for one in motions] for label, motions in self.motions.items()},
            "files": [str(file) for file in self.files],
        }

    def table(self) -> str:
        """Table 8 as lines, with 95 % intervals."""
        lines = [f"{'model':<20}{'distance error (m)':>24}{'direction score (0-3)':>26}"]
        for row in self.rows:
            error, score = row.evaluation.distance_error, row.evaluation.direction_score
            lines.append(
                f"{row.label:<20}{f'{error.mean:.3f} [{error.low:.3f}, {error.high:.3f}]':>24}"
                f"{f'{score.mean:.2f} [{score.low:.2f}, {score.high:.2f}]':>26}"
            )
        for label, error, score in self.gains:
            lines.append(
                f"{label:<30}error smaller by {error.mean:.3f} [{error.low:.3f}, {error.high:.3f}] m, "
                f"score higher by {score.mean:.2f} [{score.low:.2f}, {score.high:.2f}]"
            )
        for label, motions in self.motions.items():
            for one in motions:
                lines.append(
                    f"{label:<20}{one.category}: {one.error.mean:.3f} [{one.error.low:.3f}, {one.error.high:.3f}] m "
                    f"of {one.samples}, at the end {one.end_error.mean:.3f}, {BLIND} {one.blind_error.mean:.3f}"
                )
        return "\n".join(lines)


def report(
    checkpoints: Mapping[str, Path],
    datasets: Sequence[Path],
    out: Path,
    device: str = "cpu",
    limit: int = 0,
    show_progress: bool = False,
) -> Report:
    """Ask some checkpoints the questions of Hand3D-test, and write the figures and all answers.

    Args:
        checkpoints: by label, in the order of the table.
        datasets: whose test split is asked.
        out: folder of the figures.
        device: where the models compute.
        limit: ask only so many questions and motions; 0: all.
        show_progress: on standard error.

    Raises:
        Hand3DError, PolicyError, ValueError: something is wrong; the message says what, in one line.
    """
    items = VisualItems(datasets, "test")
    chosen = [items[number] for number in _spread(len(items), limit)]
    if not chosen:
        raise Hand3DError("evaluate: the test split holds no question; build a data set with one")
    questions = [question_of(item) for item in chosen]
    rows = [row_of(BLIND, blind_answers(_training_questions(datasets), questions), questions)]
    motions: dict[str, list[Motions]] = {}
    files = [out / HISTOGRAMS, out / ANSWERS]
    for label, folder in checkpoints.items():
        answerer = Answerer(folder, device)

        def progress(batches: Iterable[int], label: str = label) -> Iterable[int]:
            return tqdm(batches, label, unit="batch", leave=False, disable=not show_progress)

        rows.append(row_of(label, answerer.answers(chosen, progress), questions))
        if answerer.knows_motions:
            wanted = motion_items(ActionItems(datasets, "test"))
            wanted = [wanted[number] for number in _spread(len(wanted), limit)]
            tracks = answerer.tracks(wanted, progress)
            motions[label] = compare(wanted, tracks, mean_tracks(ActionItems(datasets, "train")))
            files.append(out / TRACKS.format(label=label))
            _draw(wanted, tracks, datasets, files[-1])
    draw_histograms([rows[1], rows[-1]] if len(rows) > 2 else rows[1:], files[0])
    _write_answers(rows, questions, [item.question for item in chosen], [item.answer for item in chosen], files[1])
    gains = [
        (f"{better.label} over {worse.label}", *gain(better, worse, questions))
        for worse, better in itertools.pairwise(rows[1:])
    ]
    return Report(rows, gains, motions, files)


def _spread(count: int, limit: int) -> list[int]:
    """So many numbers below a count, evenly spread, so that all videos have their share; 0: all."""
    return sorted({k * count // limit for k in range(limit)}) if limit else list(range(count))


def _training_questions(datasets: Sequence[Path]) -> list[Question]:
    items = VisualItems(datasets, "train")
    columns = zip(*(items.column(name) for name in ("video", "category", "vector")), strict=True)
    return [Question(video, category, tuple(vector)) for video, category, vector in columns]


def _draw(items: Sequence[ActionItem], tracks: Sequence[Array], datasets: Sequence[Path], file: Path) -> None:
    """A few motions of different clips."""
    clips = {str(clip): clip for clip in read_clips(datasets, "test")}
    seen: set[str] = set()
    shown: list[tuple[int, Array]] = []
    for k, item in enumerate(items):
        clip = clips[f"{item.source} {item.clip}"]
        if len(item.motions) == 1 and str(clip) not in seen and len(shown) < DRAWN:
            seen.add(str(clip))
            shown.append((k, clip.intrinsics[clip.numbers.index(item.numbers[0])]))
    draw_tracks(
        [items[k].frames[0] for k, _ in shown],
        [matrix for _, matrix in shown],
        [tracks[k] for k, _ in shown],
        [true_track(items[k]) for k, _ in shown],
        file,
    )


def _write_answers(
    rows: Sequence[Row], questions: Sequence[Question], asked: Sequence[str], true: Sequence[str], file: Path
) -> None:
    lines = [
        json.dumps(
            {
                "video": one.video,
                "category": one.category,
                "question": asked[k],
                "true": true[k],
                "vector": np.round(one.vector, 4).tolist(),
                **{row.label: row.answers[k] for row in rows},
            }
        )
        for k, one in enumerate(questions)
    ]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise Hand3DError(f"{file}: cannot be written: {error.strerror}") from None
