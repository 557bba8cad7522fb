"""All parts of the model at a size that a test can afford."""

from vipa_inference.config import (
    ActionHeadConfig,
    FusionConfig,
    LanguageModelConfig,
    MotionTokenConfig,
    PromptConfig,
    SemanticEncoderConfig,
    SpatialEncoderConfig,
    VipaVlaConfig,
)

SPATIAL = SpatialEncoderConfig(
    image_size=32,
    patch_size=16,
    encoder_width=32,
    encoder_layers=2,
    encoder_heads=2,
    decoder_width=24,
    decoder_layers=4,
    decoder_heads=3,
    state_heads=2,
    state_tokens=10,
    head="linear",
    local_memory=5,
    dense_width=8,
    dense_levels=(4, 6, 8, 10),
)
TINY = VipaVlaConfig(
    name="tiny",
    semantic=SemanticEncoderConfig(image_size=32, patch_size=8, width=24, layers=2, heads=2, feed_forward=48),
    spatial=SPATIAL,
    fusion=FusionConfig(heads=2),
    language=LanguageModelConfig(
        width=32,
        layers=2,
        heads=4,
        key_value_heads=2,
        head_width=8,
        feed_forward=48,
        vocabulary=270,
        image_token_id=258,
        image_begin_id=256,
        image_end_id=257,
        tokenizer="bytes",
    ),
    motion=MotionTokenConfig(bins=16),
    action=ActionHeadConfig(horizon=6, width=16, layers=2, heads=2),
    prompt=PromptConfig(template="{images}{instruction}", separator="", text_tokens=40),
    action_queries=3,
)
