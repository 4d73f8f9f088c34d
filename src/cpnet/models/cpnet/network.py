"""CPNet: Contextual Pyramid Network for video grounding (AAAI 2021), top to bottom as in the paper's Figure 2."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from cpnet.batch import AttentionMaps, GroundingBatch, GroundingOutput
from cpnet.models.cpnet.coattention import CoAttention
from cpnet.models.cpnet.encoder import FeatureEncoder
from cpnet.models.cpnet.pyramid import ContextualPyramid
from cpnet.models.cpnet.regression import SelfAttentiveRegression
from cpnet.models.layers.dropout import Dropout
from cpnet.models.layers.embedding import WordEmbedding
from cpnet.models.layers.masking import centre
from cpnet.options import CPNetOptions


class CPNet(nn.Module):
    """Regress the span of a video that a query describes, without proposals.

    Args:
        video_dim: V
        word_vectors: (2 + words, W) frozen vectors; row 0 is padding, row 1 is replaced by a learned vector for
            unknown words
        options: hidden width, parts and ablations, see :class:`~cpnet.options.CPNetOptions`

    Shape: a :class:`~cpnet.batch.GroundingBatch`, also one whose pairs share videos -> a
        :class:`~cpnet.batch.GroundingOutput` with N = 1

    Raises:
        ValueError: ``video_dim`` is below 1

    >>> import torch
    >>> model = CPNet(video_dim=6, word_vectors=torch.zeros(5, 4), options=CPNetOptions(hidden_dim=16)).eval()
    >>> batch = GroundingBatch(
    ...     video=torch.zeros(1, 8, 6), video_mask=torch.ones(1, 8, dtype=torch.bool),
    ...     query=torch.tensor([[2, 3]]), query_mask=torch.ones(1, 2, dtype=torch.bool),
    ...     windows=torch.zeros(1, 1, 2), windows_sec=torch.zeros(1, 1, 2),
    ...     duration_sec=torch.ones(1), index=torch.zeros(1),
    ... )
    >>> model(batch, return_maps=True).maps.levels[1].shape
    torch.Size([1, 4, 4])
    """

    shares_videos = True  # encodes each video of a batch once

    def __init__(self, video_dim: int, word_vectors: Tensor, options: CPNetOptions) -> None:
        super().__init__()
        if video_dim < 1:
            raise ValueError(f"model.video_dim must be 1 or more; got {video_dim}")
        width, dropout = options.hidden_dim, options.dropout
        self.swap = options.order == "swap"
        self.centre = options.centre
        self.words = WordEmbedding(word_vectors)
        self.video_projection = nn.Sequential(Dropout(dropout), nn.Linear(video_dim, width))
        self.query_projection = nn.Sequential(Dropout(dropout), nn.Linear(word_vectors.shape[1], width))
        self.encoder = FeatureEncoder(options)
        self.coattention = CoAttention(width, fusion=options.fusion)
        self.fusion_encoder = self.encoder if options.share_fusion_encoder else FeatureEncoder(options)
        self.pyramid = ContextualPyramid(options) if options.contextual_pyramid else None
        self.regression = SelfAttentiveRegression(width, dropout=dropout)

    def forward(self, batch: GroundingBatch, *, return_maps: bool = False) -> GroundingOutput:
        """Predict a span for every pair; ``return_maps`` adds S_q, S_v and each level's M to the output."""
        video_mask, query_mask = batch.clip_mask, batch.query_mask
        video = centre(batch.video, batch.video_mask) if self.centre else batch.video  # the paper: always the rows
        video = batch.of_pairs(self.encoder(self.video_projection(video), batch.video_mask))
        query = self.encoder(self.query_projection(self.words(batch.query)), query_mask)
        fused, s_q, s_v = self.coattention(video, video_mask, query, query_mask)
        z = self.fusion_encoder(fused, video_mask)
        levels: tuple[Tensor, ...] = ()
        if self.pyramid is not None:
            z, levels = self.pyramid(z, video_mask, return_maps=return_maps)
        span, log_attention = self.regression(z, video_mask)
        decoded = span.sort(dim=-1).values if self.swap else span
        return GroundingOutput(
            span=span,
            ranked=decoded.unsqueeze(1),
            log_attention=log_attention,
            maps=AttentionMaps(query=s_q, video=s_v, levels=levels) if return_maps else None,
        )

    def compiled_parts(self) -> Iterator[nn.Module]:
        """Yield the parts that ``torch.compile`` compiles, each once for all batch sizes and lengths."""
        yield from (self.video_projection, self.query_projection, self.encoder, self.coattention)
        if self.fusion_encoder is not self.encoder:
            yield self.fusion_encoder
        if self.pyramid is not None:
            yield from (*self.pyramid.cams, *self.pyramid.downsamplings, self.pyramid.top_down)
        yield self.regression
