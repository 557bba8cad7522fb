"""Post-training from a dataset to a checkpoint that the policy takes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fabricated_datasets import LAYOUT, finished, pose_at, row_at, write_dataset
from safetensors.torch import load_file

from tests.vipa_training.engine.training_process import MODEL, train
from vipa_inference.checkpoint import load_checkpoint, save_checkpoint
from vipa_inference.model.vipa_vla import VipaVla
from vipa_inference.policy import CameraView, Observation, PolicyError
from vipa_inference.tokenizers import make_tokenizer
from vipa_inference.vipa_policy import VipaPolicy, VipaPolicyConfig
from vipa_training.data.errors import DatasetError
from vipa_training.data.reader import Dataset
from vipa_training.data.writer import DatasetWriter
from vipa_training.engine.errors import TrainingError
from vipa_training.stages.parts import ENCODERS, LEARNING, PARTS, part_of
from vipa_training.stages.start import Start, make_start, model_config


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stage3") / "dataset"
    with DatasetWriter(root, LAYOUT) as writer:
        for number, task in enumerate(("wipe the board", "water the plant")):
            writer.add(finished(writer.begin(), 12, number, task))
    return root


@pytest.fixture(scope="module")
def trained(dataset: Path) -> Path:
    """A short training, which several tests look at."""
    out = dataset.with_name("trained")
    train(dataset, out, "optimisation.steps=60", "engine.batch=12", "draws=2")
    return out


def moved(out: Path, seed: int = 0) -> set[str]:
    """The parts that differ from how they began."""
    torch.manual_seed(seed)
    begin, end = VipaVla(MODEL).state_dict(), load_file(out / "model.safetensors")
    return {part_of(name) for name, tensor in end.items() if not torch.equal(begin[name], tensor)}


def test_the_loss_falls(trained: Path) -> None:
    losses = [json.loads(line)["loss"] for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])


def test_only_what_may_moves(trained: Path, dataset: Path, tmp_path: Path) -> None:
    assert moved(trained) == set(LEARNING["stage3"])
    learning = [*ENCODERS, "action_head"]
    train(dataset, tmp_path / "out", "optimisation.steps=2", f"learning={json.dumps(learning)}")
    assert moved(tmp_path / "out") == set(learning)


def test_the_policy_takes_the_checkpoint_and_acts_as_it_learned(trained: Path, dataset: Path) -> None:
    policy = VipaPolicy(VipaPolicyConfig(checkpoint=str(trained), runtime="torch", precision="fp32"))
    with Dataset(dataset) as data:
        episode, names = data.episodes[0], MODEL.views
        frames = {name: data.frames(episode, f"observation.images.{name}", [2])[0] for name in names}
    row = row_at(2)
    views = {name: CameraView(image, 0, np.eye(3), np.eye(4)) for name, image in frames.items()}
    chunk = policy.infer(Observation(views, pose_at(0.1), row.state[9:16], row.state[16:], "wipe the board"))
    assert chunk.actions.shape == (MODEL.action.horizon, 12)
    content = json.loads((trained / "statistics.json").read_text())
    assert json.loads((trained / "training.json").read_text())["statistics"] == content["sha256"]
    limits = content["statistics"]["action"]
    low, high = (np.array(limits["mean"]) + sign * 6 * np.array(limits["std"]) for sign in (-1, 1))
    assert np.all((chunk.actions >= low - 1e-6) & (chunk.actions <= high + 1e-6))


def test_parts_of_a_batch_and_kept_features_change_nothing(dataset: Path, tmp_path: Path) -> None:
    losses: list[list[float]] = []
    for name, options in (
        ("plain", ["features.keep=fp32"]),
        ("decoded", ["features.keep=none"]),
        ("parts", ["features.keep=fp32", "engine.accumulation=4"]),
    ):
        found = train(dataset, tmp_path / name, "optimisation.steps=5", "draws=2", *options)
        losses.append([record["loss"] for record in found.records])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=1e-4)
    assert (dataset.with_name("dataset.features")).is_dir()


def test_bf16(dataset: Path, tmp_path: Path) -> None:
    options = ("optimisation.steps=3", "features.keep=none")
    half = train(dataset, tmp_path / "half", *options, "engine.precision=bf16").records
    full = train(dataset, tmp_path / "full", *options).records
    assert [r["loss"] for r in half] == pytest.approx([r["loss"] for r in full], rel=0.05)
    assert half[-1]["loss"] != full[-1]["loss"]
    assert load_checkpoint(tmp_path / "half").model.action_queries.dtype == torch.float32


def test_the_moving_average_is_what_is_saved(dataset: Path, tmp_path: Path) -> None:
    for name, ema in (("last", 0.0), ("average", 0.5)):
        train(dataset, tmp_path / name, "optimisation.steps=2", f"engine.ema={ema}")
    torch.manual_seed(0)
    begin = VipaVla(MODEL).action_queries.detach()
    last, average = (load_file(tmp_path / name / "model.safetensors")["action_queries"] for name in ("last", "average"))
    assert not torch.equal(last, average)
    assert float((average - begin).norm()) < float((last - begin).norm())


class TestBegin:
    """What a training begins with."""

    def test_it_goes_on_from_a_checkpoint(self, trained: Path, dataset: Path, tmp_path: Path) -> None:
        start = make_start("", trained, ["step_period=0.1"])
        found = train(
            dataset, tmp_path / "out", "optimisation.steps=3", "engine.batch=12", "draws=2",
            "optimisation.head_learning_rate=1e-9", "optimisation.backbone_learning_rate=1e-9", "keep_statistics=true",
            start=start,
        )  # fmt: skip
        assert load_checkpoint(tmp_path / "out").config.step_period == 0.1
        before, after = (load_file(folder / "model.safetensors") for folder in (trained, tmp_path / "out"))
        assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
        assert found.statistics_hash == json.loads((trained / "statistics.json").read_text())["sha256"]

    def test_motion_tokens_stay(self, dataset: Path, tmp_path: Path) -> None:
        model = VipaVla(MODEL)
        model.add_motion_tokens()
        save_checkpoint(tmp_path / "stage2", model, MODEL)
        train(dataset, tmp_path / "out", "optimisation.steps=1", start=make_start("", tmp_path / "stage2"))
        size = load_checkpoint(tmp_path / "out").model.internvl.get_input_embeddings().num_embeddings
        assert size == model.internvl.get_input_embeddings().num_embeddings

    def test_a_checkpoint_of_another_size(self, trained: Path, dataset: Path, tmp_path: Path) -> None:
        start = make_start("", trained, ["action.horizon=8"])
        with pytest.raises(TrainingError, match=r"wrong shape: 1 .action_head\.position") as caught:
            train(dataset, tmp_path / "out", "optimisation.steps=1", start=start)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("pair", "message"),
        [
            ("horizon=8", "model: unknown option horizon"),
            ("frames=9", "model: frames: 9 is outside 1-4"),
            ("spatial.head=round", "model: spatial: spatial.head"),
            ("normalisation=none", "model: normalisation: expected"),
        ],
    )
    def test_wrong_options_of_the_model(self, pair: str, message: str) -> None:
        with pytest.raises(TrainingError) as caught:
            model_config(MODEL, [pair])
        assert str(caught.value).startswith(message)

    def test_the_ablation_without_spatial_encoder(self, dataset: Path, tmp_path: Path) -> None:
        start = Start(model_config(MODEL, ["spatial=null"]))
        train(dataset, tmp_path / "out", "optimisation.steps=1", start=start)
        model = load_checkpoint(tmp_path / "out").model
        assert model.spatial_encoder is None
        assert {part_of(name) for name in model.state_dict()} == set(PARTS) - {"spatial_encoder", "fusion"}

    def test_a_preset_learns_the_words_of_the_instructions(self, dataset: Path, tmp_path: Path) -> None:
        ids = {"image_begin_id": 0, "image_end_id": 1, "image_token_id": 2}
        language = replace(MODEL.language, tokenizer="qwen", vocabulary=400, **ids)
        start = Start(replace(MODEL, language=language))
        train(dataset, tmp_path / "out", "optimisation.steps=1", start=start)
        tokenizer = make_tokenizer(language, tmp_path / "out")
        assert [len(tokenizer.encode(word)) for word in ("wipe", "board", "water", "plant")] == [1, 1, 1, 1]
        assert tokenizer.decode(tokenizer.encode("wipe the violet plant")) == "wipe the violet plant"
        before = (tmp_path / "out" / "tokenizer.json").read_bytes()
        train(dataset, tmp_path / "out", "optimisation.steps=1", start=start)  # goes on, and has nothing to do
        assert (tmp_path / "out" / "tokenizer.json").read_bytes() == before
        VipaPolicy(VipaPolicyConfig(checkpoint=str(tmp_path / "out"), runtime="torch", precision="fp32"))

    def test_unknown_presets_and_folders(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match="preset giant: unknown; known: 2b, nano"):
            make_start("giant", None)
        with pytest.raises(PolicyError, match=r"config\.json: cannot be read"):
            make_start("", tmp_path)


class TestRefusals:
    """In one line, before anything is written."""

    @pytest.mark.parametrize(
        ("pairs", "message"),
        [
            (["features.keep=fp32", "augmentation.share=0.5"], "features cannot be kept, for pictures are augmented"),
            (["features.keep=fp16", 'learning=["spatial_encoder"]'], "spatial_encoder learns"),
            (['learning=["brain"]'], "learning: unknown part brain"),
            (["keep_statistics=true"], "there is no checkpoint with statistics"),
        ],
    )
    def test_options_that_do_not_fit(self, dataset: Path, tmp_path: Path, pairs: list[str], message: str) -> None:
        with pytest.raises(TrainingError, match=message) as caught:
            train(dataset, tmp_path / "out", *pairs)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()

    def test_no_dataset(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="no such dataset"):
            train(tmp_path / "nothing", tmp_path / "out")

    def test_other_cameras(self, dataset: Path, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="has no camera top, but front, side"):
            train(dataset, tmp_path / "out", start=Start(replace(MODEL, views=("front", "top"))))

    def test_several_frames(self, dataset: Path, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match=r"model\.frames: 2"):
            train(dataset, tmp_path / "out", start=Start(replace(MODEL, frames=2)))

    @pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.idle)])
    def test_a_video_is_gone(self, tmp_path: Path, workers: int) -> None:
        root = write_dataset(tmp_path / "dataset", (6, 6))
        with Dataset(root) as data:
            data.episodes[0].videos["observation.images.side"].path.unlink()
        with pytest.raises(DatasetError, match="no such video") as caught:
            train(root, tmp_path / "out", "features.keep=none", f"engine.workers={workers}")
        assert "\n" not in str(caught.value)

    def test_gradients_that_are_not_finite(self, dataset: Path, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match="gradients are not finite at step"):
            train(dataset, tmp_path / "out", "optimisation.steps=30", "optimisation.head_learning_rate=1e30",
                  "optimisation.backbone_learning_rate=1e30", "optimisation.warmup_ratio=0")  # fmt: skip
