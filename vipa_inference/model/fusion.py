"""Cross-attention fusion of semantic and spatial features (paper Sec. 3.2.2)."""

import torch
from torch import Tensor, nn

from vipa_inference.model.attention import Attention


class Fusion(nn.Module):
    """V_f = LayerNorm(Dropout(V_sem + alpha * F_spa)), where semantic tokens query spatial tokens.

    Queries and keys are normalised before the attention, as in VLM-3R, from which the paper takes the layer's design.

    Args:
        semantic_width: d_v, of the semantic tokens and of the result.
        spatial_width: d_s, of the spatial tokens.
        heads: of the cross-attention.
        alpha: initial value of the learnable scale of the spatial residual (paper: 0.5).
        dropout: probability.
    """

    def __init__(self, semantic_width: int, spatial_width: int, heads: int, alpha: float, dropout: float) -> None:
        super().__init__()
        self.semantic_norm = nn.LayerNorm(semantic_width)
        self.spatial_norm = nn.LayerNorm(spatial_width)
        self.attention = Attention(semantic_width, heads, spatial_width)
        self.alpha = nn.Parameter(torch.tensor(alpha))
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(semantic_width)

    def forward(self, semantic: Tensor, spatial: Tensor) -> Tensor:
        """Fused tokens (B, N_v, d_v) from semantic (B, N_v, d_v) and spatial tokens (B, N_s, d_s)."""
        keys_values = self.attention.keys_values(self.spatial_norm(spatial))
        residual = self.attention(self.semantic_norm(semantic), keys_values)
        return self.norm(self.dropout(semantic + self.alpha * residual))
