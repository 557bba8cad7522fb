"""The two sizes of VIPA-VLA as frozen dataclasses; whatever works for one works for the other."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class SemanticEncoderConfig:
    """InternVL's vision tower; the defaults are those of InternVL3.5-2B (InternViT-300M)."""

    image_size: int = 448  # px, square
    patch_size: int = 14  # px
    width: int = 1024
    layers: int = 24
    heads: int = 16
    feed_forward: int = 4096
    downsample_ratio: float = 0.5  # of the pixel shuffle before the projector

    @property
    def tokens(self) -> int:
        """Image tokens per frame that reach the language model."""
        return int((self.image_size // self.patch_size * self.downsample_ratio) ** 2)


@dataclass(frozen=True)
class SpatialEncoderConfig:
    """CUT3R; the defaults are those of the public checkpoint cut3r_512_dpt_4_64 (arXiv 2501.12387)."""

    image_size: int = 448  # px, square
    patch_size: int = 16  # px
    encoder_width: int = 1024
    encoder_layers: int = 24
    encoder_heads: int = 16
    decoder_width: int = 768
    decoder_layers: int = 12
    decoder_heads: int = 12
    state_heads: int = 16  # of the decoder of the state
    state_tokens: int = 768
    feed_forward_ratio: float = 4.0
    rotary_base: float = 100.0
    head: str = "dpt"  # of the pointmaps: "dpt", "linear", or "none" (features only)
    dense_width: int = 256  # channels of the "dpt" head
    dense_levels: tuple[int, int, int, int] = (96, 192, 384, 768)  # channels of its four images, fine to coarse
    local_memory: int = 256  # entries of the memory of poses
    memory_layers: int = 2  # blocks that write it, and that read it

    def __post_init__(self) -> None:
        if self.head not in {"dpt", "linear", "none"}:
            raise ValueError(f"spatial.head: {self.head!r} is none of dpt, linear, none")
        if self.image_size % self.patch_size:
            raise ValueError(f"spatial.image_size: {self.image_size} is no multiple of the patch, {self.patch_size}")
        for name, width, heads in (
            ("encoder", self.encoder_width, self.encoder_heads),
            ("decoder", self.decoder_width, self.decoder_heads),
            ("state", self.decoder_width, self.state_heads),
        ):
            if width % heads or width // heads % 4:
                raise ValueError(f"spatial.{name}_heads: {heads} do not divide the width {width} into multiples of 4")


@dataclass(frozen=True)
class FusionConfig:
    """The cross-attention between the two encoders (paper Sec. 3.2.2, 4.1)."""

    heads: int = 16
    alpha: float = 0.5
    dropout: float = 0.0


@dataclass(frozen=True)
class LanguageModelConfig:
    """Qwen3; the defaults are those of InternVL3.5-2B (Qwen3-1.7B)."""

    width: int = 2048
    layers: int = 28
    heads: int = 16
    key_value_heads: int = 8
    head_width: int = 128
    feed_forward: int = 6144
    vocabulary: int = 151936  # of the pretrained model, before motion tokens
    rope_theta: float = 1_000_000.0
    norm_epsilon: float = 1e-6
    image_token_id: int = 151671  # <IMG_CONTEXT>
    image_begin_id: int = 151669  # <img>
    image_end_id: int = 151670  # </img>
    tokenizer: Literal["qwen", "bytes"] = "qwen"


@dataclass(frozen=True)
class MotionTokenConfig:
    """How space becomes tokens: uniform bins within bounds, in metres of the camera frame."""

    bins: int = 1024  # K
    lower: tuple[float, float, float] = (-0.5, -0.5, 0.0)  # m
    upper: tuple[float, float, float] = (0.5, 0.5, 1.0)  # m
    shared_ids: bool = False  # one id per bin for all axes; else an own id per axis and bin

    def __post_init__(self) -> None:
        if self.bins < 2:
            raise ValueError(f"bins: {self.bins} is less than 2")
        if any(low >= high for low, high in zip(self.lower, self.upper, strict=True)):
            raise ValueError(f"lower {self.lower} is not below upper {self.upper}")


@dataclass(frozen=True)
class ActionHeadConfig:
    """Size of the diffusion transformer."""

    action_dimension: int = 12
    proprioception_dimension: int = 22
    horizon: int = 16  # H, actions of a chunk
    width: int = 1536
    layers: int = 16
    heads: int = 32
    feed_forward_ratio: float = 4.0
    denoising_steps: int = 4
    max_prefix: int = 0  # longest committed prefix that it was trained with; 0: without (no real-time chunking)

    def __post_init__(self) -> None:
        if not 0 <= self.max_prefix < self.horizon:
            raise ValueError(f"action.max_prefix: {self.max_prefix} is outside 0-{self.horizon - 1}, the horizon")


@dataclass(frozen=True)
class PromptConfig:
    """The text around images and instruction; the defaults are the chat format of InternVL3.5 and Qwen3.

    Every prompt has the same length, so that exported graphs are static: images and template take a fixed number of
    tokens, the instruction takes what is left of ``text_tokens``, and padding on the left fills up the rest.
    """

    template: str = "<|im_start|>user\n{images}\n{instruction}<|im_end|>\n<|im_start|>assistant\n"
    separator: str = "\n"  # between two images
    text_tokens: int = 128  # of template, separators and instruction together

    def __post_init__(self) -> None:
        once = self.template.count("{images}") == self.template.count("{instruction}") == 1
        if not once or self.template.index("{images}") > self.template.index("{instruction}"):
            raise ValueError(f"prompt.template: {self.template!r} does not hold {{images}}, then {{instruction}}, once")
        if self.text_tokens < 1:
            raise ValueError(f"prompt.text_tokens: {self.text_tokens} is less than 1")


@dataclass(frozen=True)
class VipaVlaConfig:
    """One size of the model. ``spatial=None`` is the ablation without dual encoder (paper Table 7)."""

    name: str = "2b"
    semantic: SemanticEncoderConfig = field(default_factory=SemanticEncoderConfig)
    spatial: SpatialEncoderConfig | None = field(default_factory=SpatialEncoderConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    language: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    motion: MotionTokenConfig = field(default_factory=MotionTokenConfig)
    action: ActionHeadConfig = field(default_factory=ActionHeadConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    action_queries: int = 16
    views: tuple[str, ...] = ("front", "side")  # order of the cameras
    frames: int = 1  # per view, 1 to 4
    step_period: float = 0.05  # s between two actions of a chunk
    normalisation: Literal["mean_std", "quantile"] = "mean_std"  # of proprioception and actions

    def __post_init__(self) -> None:
        if not self.views or len(set(self.views)) < len(self.views):
            raise ValueError(f"views: {', '.join(self.views) or 'none'}; expected at least one, each once")
        if not 1 <= self.frames <= 4:
            raise ValueError(f"frames: {self.frames} is outside 1-4")
        if not self.step_period > 0:
            raise ValueError(f"step_period: {self.step_period} s is not positive")

    @property
    def images(self) -> int:
        """F, images of one observation: every view of every frame."""
        return self.frames * len(self.views)

    @property
    def prompt_length(self) -> int:
        """L, tokens of every prompt: the images with their two brackets, and the text."""
        return self.images * (self.semantic.tokens + 2) + self.prompt.text_tokens


NANO = VipaVlaConfig(
    name="nano",
    semantic=SemanticEncoderConfig(image_size=128, patch_size=16, width=192, layers=6, heads=6, feed_forward=768),
    spatial=SpatialEncoderConfig(
        image_size=128,
        encoder_width=192,
        encoder_layers=4,
        encoder_heads=6,
        decoder_width=192,
        decoder_layers=4,
        decoder_heads=6,
        state_heads=6,
        state_tokens=64,
        head="linear",
        local_memory=16,
        memory_layers=1,
    ),
    fusion=FusionConfig(heads=6),
    language=LanguageModelConfig(
        width=256,
        layers=6,
        heads=8,
        key_value_heads=4,
        head_width=32,
        feed_forward=1024,
        vocabulary=320,
        image_token_id=258,
        image_begin_id=256,
        image_end_id=257,
        tokenizer="bytes",
    ),
    action=ActionHeadConfig(width=256, layers=6, heads=8, max_prefix=8),
    prompt=PromptConfig(template="{images}{instruction}", separator="", text_tokens=64),
)
PICO = VipaVlaConfig(
    name="pico",
    semantic=SemanticEncoderConfig(image_size=96, patch_size=12, width=128, layers=4, heads=4, feed_forward=512),
    spatial=SpatialEncoderConfig(
        image_size=96,
        patch_size=12,
        encoder_width=96,
        encoder_layers=3,
        encoder_heads=4,
        decoder_width=96,
        decoder_layers=2,
        decoder_heads=4,
        state_heads=4,
        state_tokens=8,
        head="linear",
        local_memory=8,
        memory_layers=1,
    ),
    fusion=FusionConfig(heads=4),
    language=LanguageModelConfig(
        width=128,
        layers=4,
        heads=4,
        key_value_heads=2,
        head_width=32,
        feed_forward=512,
        vocabulary=768,
        image_token_id=2,
        image_begin_id=0,
        image_end_id=1,
        tokenizer="qwen",
    ),
    action=ActionHeadConfig(width=128, layers=2, heads=4, max_prefix=8),
    prompt=PromptConfig(text_tokens=96),
)
PRESETS: dict[str, VipaVlaConfig] = {
    "2b": VipaVlaConfig(action=ActionHeadConfig(max_prefix=8)),
    "nano": NANO,
    "pico": PICO,
}
"""``pico`` is for trying all stages on one CPU core; its tokenizer is learned in stage 0."""


def internvl_config(config: VipaVlaConfig) -> Any:
    """The transformers configuration of the InternVL part.

    The text part is Qwen3 (transformers' default for InternVL is Qwen2); the attention of the vision tower has a bias.
    Weights that are not loaded begin with the standard deviation 1 / sqrt(width), which at 2048 is the usual 0.02: with
    0.02 in narrow layers what the images say is lost on the way to the action queries.
    """
    from transformers import InternVLConfig

    semantic, language = config.semantic, config.language
    return InternVLConfig(
        vision_config={
            "image_size": [semantic.image_size] * 2,
            "patch_size": [semantic.patch_size] * 2,
            "hidden_size": semantic.width,
            "num_hidden_layers": semantic.layers,
            "num_attention_heads": semantic.heads,
            "intermediate_size": semantic.feed_forward,
            "attention_bias": True,
            "initializer_range": semantic.width**-0.5,
        },
        text_config={
            "model_type": "qwen3",
            "hidden_size": language.width,
            "num_hidden_layers": language.layers,
            "num_attention_heads": language.heads,
            "num_key_value_heads": language.key_value_heads,
            "head_dim": language.head_width,
            "intermediate_size": language.feed_forward,
            "vocab_size": language.vocabulary,
            "rms_norm_eps": language.norm_epsilon,
            "initializer_range": language.width**-0.5,
            "rope_parameters": {"rope_type": "default", "rope_theta": language.rope_theta},
            "tie_word_embeddings": True,
        },
        image_token_id=language.image_token_id,
        downsample_ratio=semantic.downsample_ratio,
        image_seq_length=semantic.tokens,
        tie_word_embeddings=True,
    )
