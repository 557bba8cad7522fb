"""The folder of a training, and its figures."""

from pathlib import Path

import pytest

from vipa_training.engine.errors import TrainingError
from vipa_training.engine.folder import TrainingFolder
from vipa_training.engine.metrics import FILE, Metrics, metrics_page, read_metrics


def test_one_training_at_a_time(tmp_path: Path) -> None:
    with (
        TrainingFolder(tmp_path / "out", {"a": 1}),
        pytest.raises(TrainingError, match="another process trains there"),
    ):
        TrainingFolder(tmp_path / "out", {"a": 1})
    with TrainingFolder(tmp_path / "out", {"a": 1}):
        pass


def test_another_folder_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(TrainingError, match=r"holds thesis.tex; name a new or empty folder"):
        TrainingFolder(tmp_path, {})
    (tmp_path / "thesis.tex").unlink()
    (tmp_path / "training.json").write_text("[1")
    with pytest.raises(TrainingError, match=r"training.json: cannot be read"):
        TrainingFolder(tmp_path, {})


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot be written: Not a directory"):
        TrainingFolder(tmp_path / "file" / "out", {})


def test_nested_differences_are_named(tmp_path: Path) -> None:
    with TrainingFolder(tmp_path / "out", {"a": {"b": [1], "c": 2}}):
        pass
    with pytest.raises(TrainingError, match=r"a.b was \[1\], now it is \[2\]"):
        TrainingFolder(tmp_path / "out", {"a": {"b": [2], "c": 2}})
    with TrainingFolder(tmp_path / "out", {"a": {"b": [1], "c": 3}}, free=("a.c",)):
        pass


def test_figures_of_steps_that_are_done_again_are_removed(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, 0)
    for step in range(1, 6):
        metrics.add({"step": float(step), "loss": 1.0 / step})
    with (tmp_path / FILE).open("a") as file:
        file.write('{"step": 6, "l')
    assert len(Metrics(tmp_path, 3).records) == 3
    assert [record["step"] for record in read_metrics(tmp_path)] == [1.0, 2.0, 3.0]


def test_the_page_draws_every_figure_and_escapes_names() -> None:
    records = [{"step": float(k), "loss": 2.0**-k, "<norm>": float("nan") if k == 1 else k} for k in range(4)]
    page = metrics_page("a <b>", records)
    assert page.count("<polyline") == 2
    assert "a &lt;b&gt;" in page
    assert "<norm>" not in page
    assert "nan" not in page
    assert "loss, logarithmic: 0.125 to 1, last 0.125 at step 3" in page
