"""VIPA-VLA: dual visual encoder, fusion, language model, action queries, flow-matching head (paper Fig. 4)."""

from typing import Any

import torch
from torch import Tensor, nn

from vipa_inference.config import VipaVlaConfig, internvl_config
from vipa_inference.model.action_head import ActionHead
from vipa_inference.model.attention import sinusoidal_positions
from vipa_inference.model.fusion import Fusion
from vipa_inference.model.motion_tokens import MotionTokenizer, new_embeddings, padded_vocabulary
from vipa_inference.model.spatial_encoder import SpatialEncoder

PATCH_POSITION_SCALE = 0.2
"""Of the sines and cosines with which the vision tower's positions begin: below the patches' own content."""


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
        self._initialise_patch_positions()
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

    def _initialise_patch_positions(self) -> None:
        """Half of each position tells the row, half the column; transformers' zeros would hide where a patch lies."""
        side, width = self.config.semantic.image_size // self.config.semantic.patch_size, self.config.semantic.width
        codes = sinusoidal_positions(side, width // 2)
        grid = torch.cat([codes[:, None].expand(-1, side, -1), codes[None].expand(side, -1, -1)], dim=-1)
        with torch.no_grad():
            positions = self.internvl.model.vision_tower.embeddings.position_embeddings
            positions[0, 1:] = PATCH_POSITION_SCALE * grid.flatten(0, 1)

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
        return self.image_tokens(*self.visual_features(semantic_pixels, spatial_pixels))

    def visual_features(
        self, semantic_pixels: Tensor, spatial_pixels: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """What the two encoders see; where they are frozen it may be computed once and kept.

        Args:
            semantic_pixels: (B, F, 3, S, S), as for ``encode_images``.
            spatial_pixels: (B, F, 3, R, R).

        Returns:
            Semantic features (B, F, N_v, d_v), and spatial features (B, F, N_s, d_s) or None without such an encoder.

        Raises:
            ValueError: the model has a spatial encoder, but there are no pixels for it.
        """
        semantic = self.semantic_features(semantic_pixels)
        if self.spatial_encoder is None:
            return semantic, None
        if spatial_pixels is None:
            raise ValueError("spatial_pixels: missing, but the model has a spatial encoder")
        return semantic, self.spatial_encoder.features(spatial_pixels)

    def semantic_features(self, pixels: Tensor) -> Tensor:
        """What the semantic encoder alone sees, (B, F, N_v, d_v), of pixels (B, F, 3, S, S)."""
        vision_tower = self.internvl.model.vision_tower
        patches = vision_tower(pixel_values=pixels.flatten(0, 1)).last_hidden_state[:, 1:]
        return patches.unflatten(0, pixels.shape[:2])

    def image_tokens(self, semantic: Tensor, spatial: Tensor | None) -> Tensor:
        """Image tokens (B, F, N, D) of what ``visual_features`` returned: fused, shuffled and projected."""
        model = self.internvl.model
        features = semantic.flatten(0, 1)
        if self.fusion is not None and spatial is not None:
            features = self.fusion(features, spatial.flatten(0, 1))
        side = self.config.semantic.image_size // self.config.semantic.patch_size
        grid = features.unflatten(1, (side, side))
        shuffled = model.pixel_shuffle(grid, scale_factor=self.config.semantic.downsample_ratio)
        tokens = model.multi_modal_projector(shuffled.flatten(1, 2))
        return tokens.unflatten(0, semantic.shape[:2])

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

    def logits(
        self, input_ids: Tensor, attention_mask: Tensor, image_tokens: Tensor, chosen: Tensor | None = None
    ) -> Tensor:
        """Next-token logits of text and motion tokens, for stages 1 and 2.

        Args:
            input_ids: (B, L).
            attention_mask: (B, L).
            image_tokens: of all images of the batch in their order, (..., D).
            chosen: (B, L) bool, the places whose logits are wanted; None: all.

        Returns:
            (B, L, vocabulary), or (M, vocabulary) of the M chosen places.
        """
        hidden = self.internvl.model.language_model(
            inputs_embeds=self.embed(input_ids, image_tokens), attention_mask=attention_mask, use_cache=False
        ).last_hidden_state
        return self.internvl.lm_head(hidden if chosen is None else hidden[chosen])

    def action_loss(
        self,
        batch: dict[str, Tensor],
        actions: Tensor,
        weight: Tensor,
        prefix: Tensor | None = None,
        draws: int = 1,
        noise: Tensor | None = None,
        tau: Tensor | None = None,
    ) -> Tensor:
        """Flow-matching loss of stage 3.

        Args:
            batch: as for ``condition``.
            actions: normalised actions (B, H, A).
            weight: (B, H) 1 for actions that count, 0 for padding.
            prefix: (draws * B,) number of leading actions given clean; None: none are.
            draws: of noise and flow time for each observation; all but the head is computed once for all of them.
            noise: (draws * B, H, A), as for ``ActionHead.loss``.
            tau: (draws * B,), as for ``ActionHead.loss``.
        """
        actions, state, context, weight = (
            value.repeat(draws, *[1] * (value.dim() - 1))
            for value in (actions, batch["proprioception"], self.condition(batch), weight)
        )
        return self.action_head.loss(actions, state, context, weight, prefix, noise, tau)

    def condition(self, batch: dict[str, Tensor]) -> Tensor:
        """h_cond (B, Q, D) of a batch of processed observations.

        Args:
            batch: the tensors that ``processing`` makes of observations; ``semantic_features`` and
                ``spatial_features`` from ``visual_features`` may stand for the pixels.
        """
        if "semantic_features" in batch:
            image_tokens = self.image_tokens(batch["semantic_features"], batch.get("spatial_features"))
        else:
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
