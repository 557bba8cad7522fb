"""VIPA-VLA: dual visual encoder, fusion, language model, action queries, flow-matching head (paper Fig. 4)."""

from typing import Any

import torch
from torch import Tensor, nn

from vipa_inference.config import VipaVlaConfig, internvl_config
from vipa_inference.model.action_head import ActionHead
from vipa_inference.model.fusion import Fusion
from vipa_inference.model.motion_tokens import MotionTokenizer, new_embeddings, padded_vocabulary
from vipa_inference.model.spatial_encoder import SpatialEncoder


class VipaVla(nn.Module):
    """The model; its three stages are also the three exported graphs: ``encode_images``, ``prefill``, ``action_head``.

    The InternVL part is transformers' own class, unchanged. The fusion lies between the vision tower's patch tokens and
    the pixel shuffle, so that each patch can ask the spatial encoder for its geometry.

    Args:
        config: size; ``config.spatial=None`` leaves out the spatial encoder and the fusion.
    """

    def __init__(self, config: VipaVlaConfig) -> None:
        super().__init__()
        from transformers import InternVLForConditionalGeneration

        self.config = config
        self.internvl: Any = InternVLForConditionalGeneration(internvl_config(config))
        self.spatial_encoder: SpatialEncoder | None = None
        self.fusion: Fusion | None = None
        if config.spatial is not None:
            self.spatial_encoder = SpatialEncoder(config.spatial)
            self.fusion = Fusion(
                config.semantic.width,
                config.spatial.decoder_width,
                config.fusion.heads,
                config.fusion.alpha,
                config.fusion.dropout,
            )
        self.motion_tokens = MotionTokenizer(config.motion, first_id=config.language.vocabulary)
        self.action_queries = nn.Parameter(torch.randn(1, config.action_queries, config.language.width) * 0.02)
        self.action_head = ActionHead(config.action, config.language.width)

    def add_motion_tokens(self) -> None:
        """Extend the vocabulary by the motion tokens (before stage 2); the tie of input and output embedding stays."""
        wanted = padded_vocabulary(self.config.language.vocabulary + self.motion_tokens.count)
        known = self.internvl.get_input_embeddings().num_embeddings
        if known < wanted:
            self.internvl.resize_token_embeddings(wanted, mean_resizing=False)
            weight = self.internvl.get_input_embeddings().weight
            with torch.no_grad():
                weight[known:] = new_embeddings(weight[:known], wanted - known)

    def encode_images(self, semantic_pixels: Tensor, spatial_pixels: Tensor | None) -> Tensor:
        """Image tokens for the language model.

        Args:
            semantic_pixels: (B, F, 3, S, S), normalised for InternVL; F frames, views of one time step adjacent.
            spatial_pixels: (B, F, 3, R, R) in [-1, 1] for the spatial encoder; ignored without one.

        Returns:
            (B, F, N, D): N tokens per frame, D the width of the language model.
        """
        batch, frames = semantic_pixels.shape[:2]
        model = self.internvl.model
        features = model.vision_tower(pixel_values=semantic_pixels.flatten(0, 1)).last_hidden_state[:, 1:]
        if self.spatial_encoder is not None and self.fusion is not None:
            if spatial_pixels is None:
                raise ValueError("spatial_pixels: missing, but the model has a spatial encoder")
            features = self.fusion(features, self.spatial_encoder.features(spatial_pixels).flatten(0, 1))
        side = self.config.semantic.image_size // self.config.semantic.patch_size
        grid = features.unflatten(1, (side, side))
        shuffled = model.pixel_shuffle(grid, scale_factor=self.config.semantic.downsample_ratio)
        tokens = model.multi_modal_projector(shuffled.flatten(1, 2))
        return tokens.unflatten(0, (batch, frames))

    def embed(self, input_ids: Tensor, image_tokens: Tensor) -> Tensor:
        """Input embeddings (B, L, D) of a prompt (B, L) whose image placeholders take the image tokens (B, F, N, D)."""
        embeddings = self.internvl.get_input_embeddings()(input_ids)
        placeholders = (input_ids == self.config.language.image_token_id)[..., None].expand_as(embeddings)
        return embeddings.masked_scatter(placeholders, image_tokens.to(embeddings.dtype))

    def prefill(self, input_ids: Tensor, attention_mask: Tensor, image_tokens: Tensor) -> Tensor:
        """Hidden states (B, Q, D) of the action queries after the prompt: h_cond of the paper's Sec. 3.3.

        Args:
            input_ids: (B, L) prompt, padded on the left.
            attention_mask: (B, L) 1 for tokens, 0 for padding.
            image_tokens: (B, F, N, D) from ``encode_images``.
        """
        queries = self.action_queries.expand(input_ids.shape[0], -1, -1)
        embeddings = torch.cat([self.embed(input_ids, image_tokens), queries], dim=1)
        mask = torch.cat([attention_mask, attention_mask.new_ones(queries.shape[:2])], dim=1)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        hidden = self.internvl.model.language_model(
            inputs_embeds=embeddings, attention_mask=mask, position_ids=positions, use_cache=False
        ).last_hidden_state
        return hidden[:, -queries.shape[1] :]

    def logits(self, input_ids: Tensor, attention_mask: Tensor, image_tokens: Tensor) -> Tensor:
        """Next-token logits (B, L, vocabulary) of text and motion tokens, for stages 1 and 2."""
        hidden = self.internvl.model.language_model(
            inputs_embeds=self.embed(input_ids, image_tokens), attention_mask=attention_mask, use_cache=False
        ).last_hidden_state
        return self.internvl.lm_head(hidden)

    def action_loss(
        self, batch: dict[str, Tensor], actions: Tensor, weight: Tensor, prefix: Tensor | None = None
    ) -> Tensor:
        """Flow-matching loss of stage 3; ``batch`` holds the tensors that ``processing`` makes of observations."""
        return self.action_head.loss(actions, batch["proprioception"], self.condition(batch), weight, prefix)

    def condition(self, batch: dict[str, Tensor]) -> Tensor:
        """h_cond (B, Q, D) of a batch of processed observations."""
        image_tokens = self.encode_images(batch["semantic_pixels"], batch.get("spatial_pixels"))
        return self.prefill(batch["input_ids"], batch["attention_mask"], image_tokens)

    @torch.no_grad()
    def act(
        self,
        batch: dict[str, Tensor],
        noise: Tensor,
        prefix: Tensor | None = None,
        prefix_length: Tensor | None = None,
        steps: int | None = None,
    ) -> Tensor:
        """Normalised action chunks (B, H, A) for processed observations, from noise (B, H, A)."""
        context = self.condition(batch)
        return self.action_head.sample(noise, batch["proprioception"], context, prefix, prefix_length, steps)
