"""A tokenizer for a small model, learned from the texts that it reads: whole phrases become one id.

An answer takes about ten ids instead of a hundred bytes, so that a small model learns faster. Words that matter, such
as directions, colours and things, stay apart, and so do digits.
"""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from vipa_inference.config import LanguageModelConfig
from vipa_inference.tokenizers import END
from vipa_training.engine.errors import TrainingError

START = "<|im_start|>"


def learn_tokenizer(texts: Iterable[str], words: Collection[str], config: LanguageModelConfig, file: Path) -> None:
    """Learn byte pairs, and write the file that ``QwenTokenizer`` reads.

    Args:
        texts: to be read.
        words: that stay apart; at least one.
        config: of the language model.
        file: to be written.

    Raises:
        TrainingError: the model's special tokens are not the first ones of its vocabulary.
    """
    from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer

    special = {config.image_begin_id: "<img>", config.image_end_id: "</img>", config.image_token_id: "<IMG_CONTEXT>"}
    if sorted(special) != [0, 1, 2]:
        raise TrainingError("model.language: the ids of <img>, </img>, <IMG_CONTEXT> have to be 0, 1, 2 in any order")
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(rf"\b(?:{'|'.join(map(re.escape, sorted(words)))})\b"), behavior="isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=config.vocabulary,
        special_tokens=[*(special[number] for number in range(3)), START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.partial")
    tokenizer.save(str(partial))
    partial.replace(file)
