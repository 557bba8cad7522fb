"""Stages 0 to 2 of the tiny model, from a data set to checkpoints, one after the other."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fabricated_hand3d import write_hand3d
from safetensors.torch import load_file

from tests.vipa_inference.model.tiny import TINY
from vipa_inference.checkpoint import load_checkpoint, read_config
from vipa_inference.model.vipa_vla import VipaVla
from vipa_inference.tokenizers import TOKENIZER_FILE, make_tokenizer
from vipa_training.engine.config import overridden
from vipa_training.engine.distributed import World
from vipa_training.engine.errors import TrainingError
from vipa_training.engine.metrics import Record, read_metrics
from vipa_training.evaluation.hand3d.answers import Answerer
from vipa_training.hand3d.dataset import VisualItems
from vipa_training.stages import hand3d_samples
from vipa_training.stages.conversations import ConversationEncoder, answer_loss
from vipa_training.stages.parts import LEARNING, part_of
from vipa_training.stages.pretraining import Pretrained, optimisation_of
from vipa_training.stages.recipes import STAGE0_RECIPES, STAGE1_RECIPES, STAGE2_RECIPES, PretrainingConfig
from vipa_training.stages.stage0 import BACKBONE, prepare
from vipa_training.stages.stage1 import align
from vipa_training.stages.stage2 import learn_motions
from vipa_training.stages.start import Start, make_model, make_start

ALONE = World(0, 1, torch.device("cpu"))
QUICK = ("engine.batch=4", "engine.log_every=1", "engine.workers=0", "optimisation.backbone_learning_rate=1e-2")
WORDS = replace(
    TINY,
    language=replace(
        TINY.language, tokenizer="qwen", vocabulary=320, image_begin_id=0, image_end_id=1, image_token_id=2
    ),
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hand3d(tmp_path_factory.mktemp("pretraining") / "data", videos=5, tested=1)


def config_of(recipes: dict[str, PretrainingConfig], *pairs: str) -> PretrainingConfig:
    values = dict(pair.split("=", 1) for pair in (*QUICK, *pairs))
    return overridden(recipes["small"], [f"{key}={value}" for key, value in values.items()], "test")


def silent(_: str) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def zero(dataset: Path) -> Path:
    """A short stage 0, with which the others begin."""
    out = dataset.with_name("zero")
    config = overridden(STAGE0_RECIPES["small"], [*QUICK, "optimisation.steps=12", "turns=2"], "test")
    prepare(Start(WORDS), [dataset], out, config, ALONE, silent)
    return out


@pytest.fixture(scope="module")
def one(dataset: Path, zero: Path) -> tuple[Path, Pretrained]:
    out = dataset.with_name("one")
    config = config_of(STAGE1_RECIPES, "optimisation.steps=16")
    return out, align(make_start("", zero), [dataset], out, config, ALONE, silent)


def moved(before: Path, after: Path) -> set[str]:
    """The parts that differ."""
    begin, end = (load_file(folder / "model.safetensors") for folder in (before, after))
    return {
        part_of(name)
        for name, tensor in end.items()
        if tensor.shape != begin[name].shape or not torch.equal(begin[name], tensor)
    }


def falls(records: list[Record], share: float) -> bool:
    losses = [record["loss"] for record in records]
    return bool(np.mean(losses[-4:]) < share * np.mean(losses[:4]))


def loss_on(dataset: Path, folder: Path) -> float:
    """Of a checkpoint, on all questions that it was trained with."""
    checkpoint, items = load_checkpoint(folder), VisualItems([dataset], "train")
    encoder = ConversationEncoder(checkpoint.config, make_tokenizer(checkpoint.config.language, folder))
    samples = hand3d_samples.Hand3DSamples(items, encoder)
    with torch.no_grad():
        batch = samples.collate([samples.sample(number, 0) for number in range(len(items))])
        return float(answer_loss(checkpoint.model, batch))


class TestStage0:
    """Pretraining of a small model."""

    def test_writes_the_model_its_backbone_and_its_tokenizer(self, zero: Path) -> None:
        full, backbone = load_checkpoint(zero), load_checkpoint(zero / BACKBONE)
        assert backbone.model.spatial_encoder is None
        assert full.model.spatial_encoder is not None
        shared = load_file(zero / BACKBONE / "model.safetensors")
        assert all(torch.equal(tensor, full.model.state_dict()[name]) for name, tensor in shared.items())
        for folder in (zero, zero / BACKBONE):
            tokenizer = make_tokenizer(read_config(folder).language, folder)
            text = "Seen from the left hand, it lies up and forward, 0.27 m away. Zwölf <img>?"
            assert tokenizer.decode(tokenizer.encode(text)) == text
            assert tokenizer.encode("left, right")[0] == tokenizer.encode("left")[0]
            assert len(tokenizer.encode("in the last frame")) < 12

    def test_its_losses_fall(self, zero: Path, dataset: Path) -> None:
        assert falls(read_metrics(zero), 0.8)

    def test_fusion_and_action_head_rest(self, zero: Path) -> None:
        torch.manual_seed(0)
        begin, end = VipaVla(WORDS).state_dict(), load_file(zero / "model.safetensors")
        parts = {part_of(name) for name, tensor in end.items() if not torch.equal(begin[name], tensor)}
        assert parts == set(LEARNING["stage0"])

    def test_begins_with_a_preset_that_has_a_spatial_encoder(self, zero: Path, dataset: Path, tmp_path: Path) -> None:
        config = STAGE0_RECIPES["small"]
        for start in (make_start("", zero), Start(replace(TINY, spatial=None))):
            with pytest.raises(TrainingError, match="begins with a preset whose spatial encoder has heads"):
                prepare(start, [dataset], tmp_path / "out", config, ALONE, silent)


class TestStage1:
    """The fusion learns from questions."""

    def test_only_the_fusion_moves_and_the_loss_falls(
        self, zero: Path, one: tuple[Path, Pretrained], dataset: Path
    ) -> None:
        out, _ = one
        assert moved(zero, out) == {"fusion"}
        assert loss_on(dataset, out) < loss_on(dataset, zero) - 0.01
        assert (out / TOKENIZER_FILE).read_bytes() == (zero / TOKENIZER_FILE).read_bytes()

    def test_without_a_spatial_encoder_the_language_model_learns(
        self, zero: Path, dataset: Path, tmp_path: Path
    ) -> None:
        start, out = make_start("", zero / BACKBONE), tmp_path / "out"
        with pytest.raises(TrainingError, match=r'the model has no fusion.*learning=\["language_model"\]'):
            align(start, [dataset], out, config_of(STAGE1_RECIPES), ALONE, silent)
        config = config_of(STAGE1_RECIPES, "optimisation.steps=8", 'learning=["language_model"]')
        trained = align(start, [dataset], out, config, ALONE, silent)
        assert moved(zero / BACKBONE, out) == {"language_model"}
        assert falls(trained.records, 0.9)

    def test_cut_off_it_goes_on_to_the_same_bits(
        self, one: tuple[Path, Pretrained], zero: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = config_of(STAGE1_RECIPES, "optimisation.steps=16", "engine.save_every=5")
        start, cut = make_start("", zero), tmp_path / "cut"
        sample: Callable[..., object] = hand3d_samples.Hand3DSamples.sample

        def until(samples: hand3d_samples.Hand3DSamples, number: int, position: int) -> object:
            if position >= 4 * 8:
                raise KeyboardInterrupt
            return sample(samples, number, position)

        with monkeypatch.context() as patch:
            patch.setattr(hand3d_samples.Hand3DSamples, "sample", until)
            with pytest.raises(KeyboardInterrupt):
                align(start, [dataset], cut, config, ALONE, silent)
        second = align(start, [dataset], cut, config, ALONE, silent)
        assert second.first_step == 5
        assert [record["loss"] for record in second.records] == [record["loss"] for record in one[1].records]
        whole, found = (load_file(folder / "model.safetensors") for folder in (one[0], cut))
        assert all(torch.equal(tensor, found[name]) for name, tensor in whole.items())

    def test_it_answers_with_what_it_read(self, one: tuple[Path, Pretrained], dataset: Path) -> None:
        answerer, items = Answerer(one[0], batch=2), VisualItems([dataset], "test")
        assert not answerer.knows_motions
        found = answerer.answers(items)
        assert len(found) == len(items)
        assert found == [answerer.answers([item])[0] for item in items]

    def test_an_epoch_of_the_paper(self) -> None:
        assert optimisation_of(STAGE1_RECIPES["paper"], 300_368).steps == 9387
        assert optimisation_of(STAGE1_RECIPES["small"], 300_368) == STAGE1_RECIPES["small"].optimisation


class TestStage2:
    """Fusion and language model learn motions."""

    def test_the_vocabulary_grows_the_loss_falls_and_motions_come_out(
        self, one: tuple[Path, Pretrained], dataset: Path
    ) -> None:
        out = dataset.with_name("two")
        config = config_of(STAGE2_RECIPES, "optimisation.steps=16")
        trained = learn_motions(make_start("", one[0]), [dataset], out, config, ALONE, silent)
        assert moved(one[0], out) == {"fusion", "language_model"}
        assert falls(trained.records, 0.9)
        model = load_checkpoint(out).model
        assert model.internvl.get_input_embeddings().num_embeddings >= 320 + 3 * 16 + 2
        assert Answerer(out).knows_motions
        following = make_model(make_start("", out), load_checkpoint(out), seed=1)  # stage 3 begins like this
        assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in following.state_dict().items())

    def test_questions_that_share_a_motion_are_not_asked_together(
        self, one: tuple[Path, Pretrained], dataset: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(TrainingError, match="turns: 2"):
            learn_motions(
                make_start("", one[0]), [dataset], tmp_path, config_of(STAGE2_RECIPES, "turns=2"), ALONE, silent
            )
