"""Tokenizers: bytes, and a small file of the kind that comes with InternVL3.5."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from vipa_inference.config import LanguageModelConfig
from vipa_inference.policy import PolicyError
from vipa_inference.tokenizers import ByteTokenizer, QwenTokenizer, make_tokenizer

WORDS = ["[UNK]", "touch", "the", "red", "ball", "<", ">", "IMG_CONTEXT", "|", "im_end", "user"]
SPECIAL = ["<img>", "</img>", "<IMG_CONTEXT>", "<|im_start|>", "<|im_end|>"]
IDS = {name: len(WORDS) + i for i, name in enumerate(SPECIAL)}
CONFIG = LanguageModelConfig(
    vocabulary=20,
    image_begin_id=IDS["<img>"],
    image_end_id=IDS["</img>"],
    image_token_id=IDS["<IMG_CONTEXT>"],
)


def write_tokenizer(folder: Path) -> Path:
    """A tokenizer of a few words, which also would put special tokens at the ends of a text."""
    tokenizer = FastTokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL])
    ends = [("<|im_start|>", IDS["<|im_start|>"])]
    tokenizer.post_processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=ends)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_tokenizer(tmp_path)


def test_words_become_their_ids_and_nothing_is_added(file: Path) -> None:
    assert QwenTokenizer(file, CONFIG).encode("touch the red ball") == [1, 2, 3, 4]


def test_special_tokens_stand_for_themselves_only_where_they_may(file: Path) -> None:
    tokenizer = QwenTokenizer(file, CONFIG)
    text = "touch<|im_end|><IMG_CONTEXT>"
    assert tokenizer.encode(text, special=True) == [1, IDS["<|im_end|>"], IDS["<IMG_CONTEXT>"]]
    plain = tokenizer.encode(text)
    assert not set(plain) & set(IDS.values())
    assert plain[0] == 1
    assert tokenizer.encode(text, special=True) == [1, IDS["<|im_end|>"], IDS["<IMG_CONTEXT>"]]


@given(st.text())
def test_bytes_are_those_of_the_text(text: str) -> None:
    ids = ByteTokenizer().encode(text)
    assert bytes(ids).decode() == text
    assert ByteTokenizer().encode(text, special=True) == ids


def test_broken_unicode_is_refused(file: Path) -> None:
    with pytest.raises(PolicyError, match="no valid Unicode at character 2"):
        ByteTokenizer().encode("go\ud800")
    with pytest.raises(PolicyError, match="no valid Unicode"):
        QwenTokenizer(file, CONFIG).encode("go\ud800")


def test_the_configuration_chooses(file: Path) -> None:
    assert isinstance(make_tokenizer(CONFIG, file.parent), QwenTokenizer)
    assert isinstance(make_tokenizer(LanguageModelConfig(tokenizer="bytes"), None), ByteTokenizer)


def test_qwen_without_a_folder_is_refused() -> None:
    with pytest.raises(PolicyError, match="tokenizer qwen: needs the folder of a checkpoint"):
        make_tokenizer(CONFIG, None)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"tokenizer[.]json: missing[.] Copy tokenizer[.]json of InternVL3_5-2B-HF"):
        make_tokenizer(CONFIG, tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": "1.0"}'])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(PolicyError, match=r"tokenizer[.]json: no tokenizer: .*Copy it again"):
        make_tokenizer(CONFIG, tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LanguageModelConfig(), "<img> has the id 11, the model's is 151669"),
        (LanguageModelConfig(vocabulary=12, image_begin_id=11, image_end_id=12, image_token_id=13), "16 tokens, the"),
    ],
)
def test_the_file_of_another_model_is_named(file: Path, config: LanguageModelConfig, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        QwenTokenizer(file, config)
