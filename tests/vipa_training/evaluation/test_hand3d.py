"""Hand3D-test of checkpoints: the table, the figures, and the command."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fabricated_hand3d import write_hand3d

from tests.vipa_inference.model.tiny import TINY
from vipa.commands.hand3d_evaluation import add_evaluate
from vipa.errors import ConfigurationError, VipaError
from vipa_inference.checkpoint import save_checkpoint
from vipa_inference.model.vipa_vla import VipaVla
from vipa_training.evaluation.hand3d.figures import PREDICTED, TRUE, draw_histograms, draw_tracks
from vipa_training.evaluation.hand3d.motions import compare, mean_tracks, motion_items, true_track
from vipa_training.evaluation.hand3d.table import blind_answers, gain, question_of, row_of
from vipa_training.hand3d.dataset import ActionItems, VisualItems
from vipa_training.hand3d.errors import Hand3DError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hand3d(tmp_path_factory.mktemp("evaluation") / "data")


class TestTable:
    """Rows from answers."""

    def test_the_truth_is_without_error_and_silence_is_not(self, dataset: Path) -> None:
        items = list(VisualItems([dataset], "test"))
        questions = [question_of(item) for item in items]
        true = row_of("true", [item.answer for item in items], questions)
        silent = row_of("silent", ["I cannot tell."] * len(items), questions)
        assert true.evaluation.distance_error.mean <= 0.005
        assert true.evaluation.direction_score.mean == 3.0
        assert silent.evaluation.without_distance == len(items)
        nearer, better = gain(true, silent, questions)
        assert nearer.mean == pytest.approx(np.mean([np.linalg.norm(q.vector) for q in questions]), abs=0.005)
        assert better.low > 0.0

    def test_the_turn_of_a_camera_is_no_displacement(self, dataset: Path) -> None:
        known = question_of(VisualItems([dataset], "test")[0])
        moved = replace(known, category="camera_movement", vector=(0.3, 0.0, 0.0))
        answer = "The camera pans left: 12.0 degrees about the axis (0.00, -1.00, 0.00). It moves right by 0.30 m."
        assert row_of("one", [answer], [moved]).evaluation.direction_score.mean == 3.0
        assert row_of("one", [answer], [replace(moved, category="hand_movement")]).scores[0] == 2.0

    def test_what_is_said_without_a_look_is_the_same_for_all(self, dataset: Path) -> None:
        training = [question_of(item) for item in VisualItems([dataset], "train")]
        vectors = np.array([one.vector for one in training])
        (answer,) = set(blind_answers(training, training))
        assert f"{np.median(np.linalg.norm(vectors, axis=1)):.2f} m" in answer


class TestMotions:
    """Errors of motions."""

    def test_the_truth_is_without_error_and_a_shift_is_its_length(self, dataset: Path) -> None:
        items = motion_items(ActionItems([dataset], "test"))
        means = mean_tracks(ActionItems([dataset], "train"))
        assert {item.category for item in items} == set(means)
        for shift in (0.0, 0.1):
            tracks = [true_track(item) + np.array([shift, 0.0, 0.0]) for item in items]
            for found in compare(items, tracks, means):
                assert found.error.mean == pytest.approx(shift, abs=1e-9)
                assert found.end_error.mean == pytest.approx(shift, abs=1e-9)
                assert found.blind_error.mean > 0.02

    def test_tracks_are_drawn_where_they_are(self, tmp_path: Path) -> None:
        matrix = np.array([[50.0, 0.0, 20.0], [0.0, 50.0, 15.0], [0.0, 0.0, 1.0]])
        tracks = [np.array([[x, y, 1.0], [x + 0.2, y, 1.0]]) for x, y in ((-0.2, -0.1), (0.0, 0.1))]
        draw_tracks([np.full((30, 40, 3), 255, np.uint8)], [matrix], tracks[:1], tracks[1:], tmp_path / "t.png", 1)
        image = cv2.imread(str(tmp_path / "t.png"), cv2.IMREAD_COLOR_RGB)
        assert image is not None
        for colour, track in ((PREDICTED, tracks[0]), (TRUE, tracks[1])):
            rows, columns = np.nonzero((image == colour).all(axis=-1))
            end = np.array([columns.max(), np.median(rows)]) / image.shape[1] * 40 - 0.5
            assert np.abs(end - (matrix @ track[-1])[:2]).max() < 1.0

    def test_what_cannot_be_drawn_or_written_is_said(self, dataset: Path, tmp_path: Path) -> None:
        with pytest.raises(Hand3DError, match="no motion to draw"):
            draw_tracks([], [], [], [], tmp_path / "t.png")
        (tmp_path / "file").write_text("")
        items = list(VisualItems([dataset], "test"))
        row = row_of("one", [item.answer for item in items], [question_of(item) for item in items])
        with pytest.raises(Hand3DError, match="cannot be written"):
            draw_histograms([row], tmp_path / "file" / "h.png")


class TestCommand:
    """``vipa hand3d evaluate``."""

    @staticmethod
    def run(*arguments: str) -> int:
        parser = argparse.ArgumentParser()
        add_evaluate(parser.add_subparsers())
        options = parser.parse_args(["evaluate", *arguments])
        return int(options.action(options))

    @pytest.fixture
    def folders(self, tmp_path: Path) -> list[str]:
        torch.manual_seed(0)
        plain, moving = VipaVla(replace(TINY, spatial=None)), VipaVla(TINY)
        moving.add_motion_tokens()
        save_checkpoint(tmp_path / "plain", plain, plain.config)
        save_checkpoint(tmp_path / "moving", moving, TINY)
        return [f"--checkpoint=backbone={tmp_path / 'plain'}", f"--checkpoint={tmp_path / 'moving'}"]

    def test_writes_table_figures_and_answers(self, dataset: Path, folders: list[str], tmp_path: Path) -> None:
        out, result = tmp_path / "out", tmp_path / "r.json"
        assert self.run(*folders, "--dataset", str(dataset), "--out", str(out), "--json", str(result)) == 0
        found = json.loads(result.read_text())
        assert {f"{name}_direction_score" for name in ("blind", "backbone", "moving")} < set(found["figures"])
        assert found["figures"]["moving_instructional_motion_generation_error_m"] > 0.0
        gains = found["details"]["gains"]["moving over backbone"]["direction_score"]
        assert gains["low"] <= gains["mean"] <= gains["high"]
        assert {path.name for path in out.iterdir()} == {"histograms.png", "motions-moving.png", "answers.jsonl"}
        lines = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
        assert len(lines) == len(VisualItems([dataset], "test"))
        assert {"true", "blind", "backbone", "moving"} < set(lines[0])

    def test_says_what_is_wrong(self, dataset: Path, folders: list[str], tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="a label of its own"):
            self.run(folders[0], folders[0], "--dataset", str(dataset))
        with pytest.raises(VipaError, match=r"hand3d evaluate: .*build it with vipa hand3d build"):
            self.run(folders[0], "--dataset", str(tmp_path))
