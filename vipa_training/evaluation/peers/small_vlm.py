"""What SmolVLA reads of a SmolVLM, in the size of VIPA's nano: configuration, tokenizer and processor, no weights.

The published ones come from a hub and belong to 500 million parameters. Needs LeRobot with its extra ``smolvla``.
"""

from pathlib import Path

from vipa_training.evaluation.peers.note import PeerError

SPECIAL = {
    "pad_token": "<pad>",
    "image_token": "<image>",
    "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
}
PATCH, SCALE = 16, 2
GRID = PATCH * SCALE
"""px; a picture is a whole number of these wide and high."""


def write_small_vlm(folder: Path, image_size: int) -> None:
    """Write what ``from_pretrained`` reads; the tokenizer's tokens are bytes.

    Args:
        folder: is made.
        image_size: px, of the square pictures.

    Raises:
        PeerError: the size is no multiple of 32.
        ImportError: the extra ``smolvla`` is not installed.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, SmolVLMConfig, SmolVLMImageProcessor, SmolVLMProcessor
    from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor

    if image_size % GRID:
        raise PeerError(f"peer smolvla: pictures of {image_size} px are no multiple of {GRID}. Say --image-size 128")
    names = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *SPECIAL.values()]
    vocabulary = {name: number for number, name in enumerate(names)}
    words = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    more = {name: text for name, text in SPECIAL.items() if name != "pad_token"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token=SPECIAL["pad_token"], extra_special_tokens=more
    )
    pad, image = vocabulary[SPECIAL["pad_token"]], vocabulary[SPECIAL["image_token"]]
    config = SmolVLMConfig(
        image_token_id=image,
        pad_token_id=pad,  # pyright: ignore[reportCallIssue] - of the transformers that LeRobot wants
        scale_factor=SCALE,
        vision_config={
            "hidden_size": 384,
            "intermediate_size": 1536,
            "num_hidden_layers": 8,
            "num_attention_heads": 6,
            "image_size": image_size,
            "patch_size": PATCH,
        },
        text_config={
            "model_type": "llama",
            "hidden_size": 384,
            "intermediate_size": 1024,
            "num_hidden_layers": 6,
            "num_attention_heads": 6,
            "num_key_value_heads": 3,
            "head_dim": 64,
            "vocab_size": len(vocabulary),
            "pad_token_id": pad,
        },
    )
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    tokens = (image_size // GRID) ** 2
    SmolVLMProcessor(SmolVLMImageProcessor(), tokenizer, SmolVLMVideoProcessor(), tokens).save_pretrained(folder)
