"""CPNet: Contextual Pyramid Network for video grounding (AAAI 2021), top to bottom as in the paper's Figure 2."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from cpnet.batch import AttentionMaps, GroundingBatch, GroundingOutput
from cpnet.models.coattention import CoAttention
from cpnet.models.dropout import Dropout
from cpnet.models.embedding import WordEmbedding
from cpnet.models.encoder import EncoderOptions, FeatureEncoder
from cpnet.models.kernels import Linear
from cpnet.models.pyramid import CAMOptions, ContextAwareModule, ContextualPyramid, DownSampling, TopDown
from cpnet.models.regression import SelfAttentiveRegression

CHOICES = {
    "position": ("sinusoid", "learned"),
    "fusion": ("folded", "two_layer"),
    "downsample": ("max", "avg", "conv"),
    "upsample": ("nearest", "linear"),
    "order": ("swap", "none"),
    "cam.diagonal": ("both", "once"),
}


class CPNet(nn.Module):
    """Regresses the span of a video that a query describes, without proposals.

    Args:
        video_dim: V
        word_vectors: (2 + words, W) frozen vectors; row 0 is padding, row 1 is replaced by a learned vector for
            unknown words
        hidden_dim: D, a multiple of the encoder's heads
        dropout: probability; paper silent
        position: ``sinusoid`` or ``learned`` positions in the encoders
        max_length: longest sequence that ``learned`` positions serve
        encoder: options of both feature encoders
        share_fusion_encoder: the encoder after fusion is the one before it, instead of one with weights of its own
        fusion: one linear map (``folded``) or the paper's two in a row (``two_layer``)
        contextual_pyramid: False leaves the pyramid out (the paper's "w/o CP")
        pyramid_levels: P, 1 to 8
        context_aware: False leaves CAM out of the pyramid (the paper's "w/o CAM")
        cam: options of the context-aware modules
        downsample: pooling between levels
        upsample: interpolation between levels
        order: ``swap`` a reversed prediction when decoding, or leave it (``none``)

    Shape: a :class:`~cpnet.batch.GroundingBatch`, also one whose pairs share videos -> a
        :class:`~cpnet.batch.GroundingOutput` with N = 1

    Raises:
        ValueError: for a value that cannot work; the message names the key under ``model``

    >>> import torch
    >>> model = CPNet(video_dim=6, word_vectors=torch.zeros(5, 4), hidden_dim=16).eval()
    >>> batch = GroundingBatch(
    ...     video=torch.zeros(1, 8, 6), video_mask=torch.ones(1, 8, dtype=torch.bool),
    ...     query=torch.tensor([[2, 3]]), query_mask=torch.ones(1, 2, dtype=torch.bool),
    ...     span=torch.zeros(1, 2), span_sec=torch.zeros(1, 2), duration_sec=torch.ones(1), index=torch.zeros(1),
    ... )
    >>> model(batch, return_maps=True).maps.levels[1].shape
    torch.Size([1, 4, 4])
    """

    shares_videos = True  # encodes each video of a batch once

    def __init__(
        self,
        *,
        video_dim: int,
        word_vectors: Tensor,
        hidden_dim: int = 512,
        dropout: float = 0.2,
        position: Literal["sinusoid", "learned"] = "sinusoid",
        max_length: int = 128,
        encoder: EncoderOptions | None = None,
        share_fusion_encoder: bool = False,
        fusion: Literal["folded", "two_layer"] = "folded",
        contextual_pyramid: bool = True,
        pyramid_levels: int = 3,
        context_aware: bool = True,
        cam: CAMOptions | None = None,
        downsample: Literal["max", "avg", "conv"] = "max",
        upsample: Literal["nearest", "linear"] = "nearest",
        order: Literal["swap", "none"] = "swap",
    ) -> None:
        super().__init__()
        check_choice("position", position)
        check_choice("fusion", fusion)
        check_choice("downsample", downsample)
        check_choice("upsample", upsample)
        check_choice("order", order)
        check_choice("cam.diagonal", (cam or {}).get("diagonal", "both"))
        if hidden_dim < 2 or video_dim < 1:
            raise ValueError(
                f"model.hidden_dim must be 2 or more and model.video_dim 1 or more; got {hidden_dim}, {video_dim}"
            )
        if max_length < 1:
            raise ValueError(f"model.max_length must be 1 or more; got {max_length}")
        if not 0 <= dropout < 1:
            raise ValueError(f"model.dropout must be at least 0 and below 1; got {dropout}")

        def feature_encoder() -> FeatureEncoder:
            return FeatureEncoder(
                hidden_dim, dropout=dropout, position=position, max_length=max_length, **(encoder or {})
            )

        self.order = order
        self.words = WordEmbedding(word_vectors)
        self.video_projection = nn.Sequential(Dropout(dropout), Linear(video_dim, hidden_dim))
        self.query_projection = nn.Sequential(Dropout(dropout), Linear(word_vectors.shape[1], hidden_dim))
        self.encoder = feature_encoder()
        self.coattention = CoAttention(hidden_dim, fusion=fusion)
        self.fusion_encoder = self.encoder if share_fusion_encoder else feature_encoder()
        self.pyramid = (
            ContextualPyramid(
                hidden_dim,
                levels=pyramid_levels,
                downsample=downsample,
                upsample=upsample,
                context_aware=context_aware,
                cam=cam,
            )
            if contextual_pyramid
            else None
        )
        self.regression = SelfAttentiveRegression(hidden_dim, dropout=dropout)

    def compile(self, *arguments: Any, **options: Any) -> None:
        """Compile the parts that do the work, each once for all batch sizes and lengths; see ``torch.compile``."""
        parts = (
            FeatureEncoder,
            CoAttention,
            DownSampling,
            ContextAwareModule,
            TopDown,
            SelfAttentiveRegression,
        )
        for part in self.modules():
            if isinstance(part, parts) or part in (self.video_projection, self.query_projection):
                nn.Module.compile(part, *arguments, **{"dynamic": True, **options})

    def forward(self, batch: GroundingBatch, *, return_maps: bool = False) -> GroundingOutput:
        """Answer every pair of the batch; ``return_maps`` also gives S_q, S_v and each level's M."""
        video_mask, query_mask = batch.clip_mask, batch.query_mask
        video = self.encoder(self.video_projection(batch.video), batch.video_mask)  # once, however many its queries
        if batch.video_index is not None:
            video = video[batch.video_index]
        query = self.encoder(self.query_projection(self.words(batch.query)), query_mask)
        fused, s_q, s_v = self.coattention(video, video_mask, query, query_mask)
        z = self.fusion_encoder(fused, video_mask)
        levels: tuple[Tensor, ...] = ()
        if self.pyramid is not None:
            z, levels = self.pyramid(z, video_mask, return_maps=return_maps)
        span, log_attention = self.regression(z, video_mask)
        decoded = span.sort(dim=-1).values if self.order == "swap" else span
        return GroundingOutput(
            span=span,
            ranked=decoded.unsqueeze(1),
            log_attention=log_attention,
            maps=AttentionMaps(query=s_q, video=s_v, levels=levels) if return_maps else None,
        )


def check_choice(key: str, value: str) -> None:
    """Refuse a value that is none of the choices of its key under ``model``."""
    if value not in CHOICES[key]:
        raise ValueError(f"model.{key} must be one of {', '.join(CHOICES[key])}; got {value!r}")
