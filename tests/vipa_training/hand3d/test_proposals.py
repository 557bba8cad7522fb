"""Objects by a detector: GroundingDINO of the genuine package, tiny and with weights by chance."""

from dataclasses import replace
from pathlib import Path

import fabricated_clip
import numpy as np
import pytest
import torch

from vipa_training.hand3d.errors import Hand3DError, Rejection
from vipa_training.hand3d.pipeline.proposals import GroundingDino, matching

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "red", "blue", "cup", "box", "up", "pick", "the"]


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> GroundingDino:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("detector")
    swin = transformers.SwinConfig(
        image_size=64, embed_dim=12, depths=[1] * 4, num_heads=[1, 1, 2, 2], window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    text = {
        "model_type": "bert", "vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 64,
    }  # fmt: skip
    config = transformers.GroundingDinoConfig(
        backbone_config=swin.to_dict(), text_config=text, num_queries=8, encoder_layers=1, decoder_layers=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, encoder_attention_heads=2, decoder_attention_heads=2, d_model=32,
        max_text_len=32,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.GroundingDinoForObjectDetection(config).save_pretrained(folder)
    tokenizer = transformers.BertTokenizerFast(vocab={word: place for place, word in enumerate(WORDS)})
    pictures = transformers.GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96})
    transformers.GroundingDinoProcessor(pictures, tokenizer).save_pretrained(folder)
    return GroundingDino(str(folder), threshold=0.0, device="cpu")


def test_boxes_of_named_objects_replace_the_poses(detector: GroundingDino) -> None:
    clip = fabricated_clip.clip(20)
    (cup,) = detector.found(clip, [0, 10]).objects
    assert cup.name == "cup"
    assert cup.poses is None
    assert np.flatnonzero(cup.valid).tolist() == [0, 10]
    assert cup.boxes is not None
    height, width = clip.camera.size
    left, top, right, bottom = cup.boxes[10]
    assert -width < left < right < 2 * width
    assert -height < top < bottom < 2 * height


def test_a_clip_without_any_words_is_rejected(detector: GroundingDino) -> None:
    with pytest.raises(Rejection, match="names any"):
        detector.found(replace(fabricated_clip.clip(5), objects=(), text=""), [0])


def test_no_weights_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(Hand3DError, match=r"grounding-dino: .* cannot be loaded"):
        GroundingDino(str(tmp_path), device="cpu")


@pytest.mark.parametrize(
    ("label", "place"), [("red cup", 0), ("the blue", 1), ("box", 1), ("cup. [SEP]", 0), ("spoon", None), ("", None)]
)
def test_labels_mean_the_name_with_which_they_share_most(label: str, place: int | None) -> None:
    assert matching(label, ["red cup", "Blue box"]) == place
