"""Query-video co-attention and fusion (CPNet, Eq. 2-3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cpnet.models.layers.masking import masked_softmax


class CoAttention(nn.Module):
    """Fuse the words into every clip.

    The similarity ``S[t, l] = w_v . v_t + w_q . q_l + (w_m * v_t) . q_l`` is a sum of three products, so that the
    ``(B, T, L, 3D)`` tensor of Eq. 2 is never computed.

    Args:
        width: D
        fusion: ``two_layer`` is Eq. 3 as printed, ``W_h`` (4D -> 4D) and then a layer 4D -> D without an
            activation between them; ``folded`` is one equivalent linear map

    Shape:
        - video (B, T, D), video_mask (B, T), query (B, L, D), query_mask (B, L); masks bool, True = real
        - -> fused (B, T, D), S_q (B, T, L), S_v (B, T, L)
    """

    def __init__(self, width: int, *, fusion: str) -> None:
        super().__init__()
        self.video_weight = nn.Linear(width, 1, bias=False)  # w_v
        self.query_weight = nn.Linear(width, 1, bias=False)  # w_q
        self.product_weight = nn.Parameter(torch.empty(width).uniform_(-(width**-0.5), width**-0.5))  # w_m
        # Departs from the paper: one linear layer computes the same function as its two in a row.
        self.fuse = (
            nn.Linear(4 * width, width)
            if fusion == "folded"
            else nn.Sequential(nn.Linear(4 * width, 4 * width), nn.Linear(4 * width, width))
        )

    def forward(
        self, video: Tensor, video_mask: Tensor, query: Tensor, query_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Fuse the words into the clips, and return both attention maps too."""
        similarity = self.similarity(video, query)  # (B, T, L)
        s_q = masked_softmax(similarity, query_mask[:, None, :], dim=2).to(video.dtype)
        s_v = masked_softmax(similarity, video_mask[:, :, None], dim=1).to(video.dtype)
        c_qv = s_q @ query  # (B, T, D)
        c_vv = s_q @ (s_v.transpose(1, 2) @ video)  # (B, T, D), in an order that costs T L D instead of T T D
        fused = self.fuse(torch.cat((video, c_qv, video * c_qv, video * c_vv), dim=-1))  # Eq. (3)
        return fused, s_q, s_v

    def similarity(self, video: Tensor, query: Tensor) -> Tensor:
        """Compute the trilinear similarity of every clip and every word (CPNet, Eq. 2).

        Shape: (B, T, D), (B, L, D) -> (B, T, L)
        """
        joint = (video * self.product_weight.to(video.dtype)) @ query.transpose(1, 2)
        similarity: Tensor = joint + self.video_weight(video) + self.query_weight(query).transpose(1, 2)
        return similarity
