"""Tokenizers: instructions as ids of the language model's vocabulary."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from vipa_inference.config import LanguageModelConfig
from vipa_inference.policy import PolicyError

TOKENIZER_FILE = "tokenizer.json"
END = "<|im_end|>"
BYTES = 256


class Tokenizer(Protocol):
    """Text to ids, and back.

    Attributes:
        end_id: ends an answer.
    """

    end_id: int

    def encode(self, text: str, special: bool = False) -> list[int]:
        """Ids of a text.

        Args:
            text: any.
            special: whether names of special tokens, such as ``<|im_end|>``, stand for these tokens. A template may use
                them; in an instruction they are plain text, so that nobody can end a prompt or add images with it.

        Raises:
            PolicyError: the text cannot be encoded.
        """
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; those that stand for no text are left out."""
        ...


def make_tokenizer(config: LanguageModelConfig, folder: Path | None) -> Tokenizer:
    """The tokenizer of a language model.

    Args:
        config: of the language model.
        folder: of the checkpoint, where the tokenizer "qwen" has its file; "bytes" needs none.

    Raises:
        PolicyError: the file is missing, cannot be read, or belongs to another model.
    """
    if config.tokenizer == "bytes":
        return ByteTokenizer()
    if folder is None:
        raise PolicyError(f"tokenizer {config.tokenizer}: needs the folder of a checkpoint with {TOKENIZER_FILE}")
    return QwenTokenizer(folder / TOKENIZER_FILE, config)


class ByteTokenizer:
    """The ids 0-255 are the bytes of the text in UTF-8; no text stands for a special token, and 0 ends an answer."""

    end_id = 0

    def encode(self, text: str, special: bool = False) -> list[int]:
        """One id per byte; ``special`` changes nothing."""
        try:
            return list(text.encode())
        except UnicodeEncodeError as error:
            raise PolicyError(f"tokenizer bytes: no valid Unicode at character {error.start}") from None

    def decode(self, ids: Sequence[int]) -> str:
        """The text of its bytes; what is no valid UTF-8 is replaced."""
        return bytes(one for one in ids if 0 < one < BYTES).decode(errors="replace")


class QwenTokenizer:
    """The tokenizer that comes with InternVL3.5, as a file of the package ``tokenizers``.

    Args:
        file: ``tokenizer.json``.
        config: of the language model, whose ids of special tokens must be those of the file.

    Raises:
        PolicyError: the file is missing, cannot be read, or belongs to another model.
    """

    def __init__(self, file: Path, config: LanguageModelConfig) -> None:
        if not file.is_file():
            raise PolicyError(
                f"{file}: missing. Copy {TOKENIZER_FILE} of InternVL3_5-2B-HF into the folder of the checkpoint"
            )
        self._tokenizer = _read(file)
        expected = {
            "<img>": config.image_begin_id,
            "</img>": config.image_end_id,
            "<IMG_CONTEXT>": config.image_token_id,
        }
        for name, expected_id in expected.items():
            found = self._tokenizer.token_to_id(name)
            if found != expected_id:
                raise PolicyError(f"{file}: {name} has the id {found}, the model's is {expected_id}. Use its own file")
        size = self._tokenizer.get_vocab_size(with_added_tokens=True)
        if size > config.vocabulary:
            raise PolicyError(f"{file}: {size} tokens, the model knows {config.vocabulary}. Use its own file")
        end = self._tokenizer.token_to_id(END)
        if end is None:
            raise PolicyError(f"{file}: has no token {END}. Use the model's own file")
        self.end_id = int(end)

    def encode(self, text: str, special: bool = False) -> list[int]:
        """Ids of a text, without any that the tokenizer would add at its ends."""
        self._tokenizer.encode_special_tokens = not special
        try:
            return list(self._tokenizer.encode(text, add_special_tokens=False).ids)
        except (TypeError, UnicodeError) as error:
            raise PolicyError(f"tokenizer qwen: the text is no valid Unicode: {error}") from None

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids that the tokenizer knows, without special tokens."""
        known = [one for one in ids if self._tokenizer.id_to_token(one) is not None]
        return str(self._tokenizer.decode(known, skip_special_tokens=True))


def _read(file: Path) -> Any:
    try:
        from tokenizers import Tokenizer as FastTokenizer
    except ImportError:
        raise PolicyError(
            "tokenizer qwen: needs the package tokenizers. Install it with: pip install tokenizers"
        ) from None
    try:
        return FastTokenizer.from_file(str(file))
    except Exception as error:  # the package raises nothing narrower
        raise PolicyError(f"{file}: no tokenizer: {error}. Copy it again") from error
