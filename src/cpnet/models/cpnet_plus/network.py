"""CPNetPlus: the contextual pyramid of CPNet with an answer at every clip of every level, instead of one per video.

CPNet (AAAI 2021) pools its pyramid into one vector and regresses one span from it, which hedges between moments. Here
every clip of every level predicts its distances to start and end, and the IoU that its span will have; the best is the
answer. A sentence is also aligned with the clips before fusion, against those of the other videos of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.models.cpnet.coattention import CoAttention
from cpnet.models.cpnet.encoder import FeatureEncoder
from cpnet.models.cpnet.pyramid import ContextualLevels, descend
from cpnet.models.cpnet_plus.alignment import Alignment, alignment_loss
from cpnet.models.cpnet_plus.head import Answers, DenseHead, assign, lay_out, quality_loss, span_loss
from cpnet.models.layers.dropout import Dropout
from cpnet.models.layers.embedding import WordEmbedding
from cpnet.models.layers.masking import centre, zero_padding
from cpnet.models.layers.ranking import rank, soft
from cpnet.options import CPNetPlusOptions

RANKED, SIGMA = 5, 0.5  # moments that soft-NMS chooses, and its width, as in its paper


@dataclass(frozen=True, kw_only=True)
class CPNetPlusOutput(GroundingOutput):
    """Output of CPNetPlus with what its loss needs.

    Shape:
        - answers: span and score of every clip of every level
        - alignment: (B, T) log share of each clip in the alignment with all clips of the batch
    """

    first: Answers
    answers: Answers
    alignment: Tensor


class CPNetPlus(nn.Module):
    """Predict a span and its quality at every clip of every level of the contextual pyramid.

    Args:
        video_dim: V
        word_vectors: (2 + words, W) frozen vectors; row 0 is padding, row 1 is replaced by a learned vector for
            unknown words
        options: hidden width and parts, see :class:`~cpnet.options.CPNetPlusOptions`

    Shape: a :class:`~cpnet.batch.GroundingBatch`, also one whose pairs share videos -> a :class:`CPNetPlusOutput` with
        N = 5 and scores; its attention is the alignment of the sentence with the clips of its video

    Raises:
        ValueError: ``video_dim`` is below 1

    >>> model = CPNetPlus(6, torch.zeros(5, 4), CPNetPlusOptions(hidden_dim=16, patch=1)).eval()
    >>> batch = GroundingBatch(
    ...     video=torch.zeros(1, 8, 6), video_mask=torch.ones(1, 8, dtype=torch.bool),
    ...     query=torch.tensor([[2, 3]]), query_mask=torch.ones(1, 2, dtype=torch.bool),
    ...     windows=torch.zeros(1, 1, 2), windows_sec=torch.zeros(1, 1, 2),
    ...     duration_sec=torch.ones(1), index=torch.zeros(1),
    ... )
    >>> model(batch).answers.spans.shape  # 8 + 4 + 2 + 1 clips
    torch.Size([1, 15, 2])
    """

    shares_videos = True  # encodes each video of a batch once

    def __init__(self, video_dim: int, word_vectors: Tensor, options: CPNetPlusOptions) -> None:
        super().__init__()
        if video_dim < 1:
            raise ValueError(f"model.video_dim must be 1 or more; got {video_dim}")
        width, dropout = options.hidden_dim, options.dropout
        self.options = options
        self.words = WordEmbedding(word_vectors)
        self.video_projection = nn.Sequential(Dropout(dropout), nn.Linear(options.patch * video_dim, width))
        self.query_projection = nn.Sequential(Dropout(dropout), nn.Linear(word_vectors.shape[1], width))
        self.encoder = FeatureEncoder(options)
        self.alignment = Alignment(width, patch=options.patch)
        self.coattention = CoAttention(width, fusion="folded")
        self.fusion_encoder = FeatureEncoder(options) if options.fusion_encoder else None
        self.gate = nn.Linear(width, video_dim) if options.gate else None
        self.evidence = nn.Sequential(Dropout(dropout), nn.Linear(options.patch * video_dim, width)) if options.gate else None
        self.cue = nn.Linear(1, width) if options.cue else None
        self.pyramid = ContextualLevels(options)
        self.top = nn.Linear(width, width) if options.top_down else None  # Conv1 of CPNet, Eq. 10
        self.head = DenseHead(width, levels=options.pyramid_levels, refine=options.refine)

    def forward(self, batch: GroundingBatch) -> CPNetPlusOutput:
        """Predict spans and scores for every pair, and rank them."""
        query_mask, index, size = batch.query_mask, batch.video_index, self.options.patch
        video = centre(batch.video, batch.video_mask) if self.options.centre else batch.video
        raw, mask = patches(video, batch.video_mask, size=size)
        video = self.encoder(self.video_projection(raw), mask)  # once per video
        query = self.encoder(self.query_projection(self.words(batch.query)), query_mask)
        log_attention, alignment, cosine, sentence = self.alignment(video, batch.video_mask, query, query_mask, index)
        raw, video, mask = (raw, video, mask) if index is None else (raw[index], video[index], mask[index])
        z, _, _ = self.coattention(video, mask, query, query_mask)
        if self.gate is not None:
            z = z + self.evidence(raw * self.gate(sentence).repeat(1, size).unsqueeze(1))
        z = z if self.cue is None else z + self.cue(cosine.unsqueeze(-1))
        z = z if self.fusion_encoder is None else self.fusion_encoder(z, mask)
        levels, masks, _ = self.pyramid.ascend(z, mask)
        if self.top is not None:
            levels = descend(self.top, levels, masks, kind=self.options.upsample)
        steps = lay_out(masks, batch.clip_mask.sum(dim=1), patch=size)
        first, answers = self.head(levels, steps)
        with torch.no_grad():
            scores = torch.where(steps.mask, answers.logits.float().sigmoid(), -1.0)
            ranked, scores = rank(answers.spans.clamp(0, 1), scores, number=RANKED, decay=soft(SIGMA))
        return CPNetPlusOutput(
            span=ranked[:, 0],
            ranked=ranked,
            scores=scores,
            log_attention=log_attention,
            first=first,
            answers=answers,
            alignment=alignment,
        )

    def loss(self, output: CPNetPlusOutput, batch: GroundingBatch) -> dict[str, Tensor]:
        """Return the scalar ``loss`` and its unweighted terms ``span``, ``quality`` and ``alignment``."""
        answers, options = output.answers, self.options
        matched, positive = assign(answers.steps, batch.windows, radius=options.radius)
        terms = {
            "span": span_loss(answers.spans, matched, positive),
            "quality": quality_loss(answers, batch.windows),
            "alignment": alignment_loss(output.alignment, batch.windows, batch.clip_mask),
        }
        weights = {"span": 1.0, "quality": options.quality_weight, "alignment": options.alignment_weight}
        if options.refine:
            terms["first_span"], weights["first_span"] = span_loss(output.first.spans, matched, positive), 1.0
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return {"loss": total, **terms}

    def compiled_parts(self) -> Iterator[nn.Module]:
        """Yield the parts that ``torch.compile`` compiles, each once for all batch sizes and lengths."""
        yield from (self.video_projection, self.query_projection, self.encoder, self.coattention)
        if self.fusion_encoder is not None:
            yield self.fusion_encoder
        yield from (*self.pyramid.cams, *self.pyramid.downsamplings)


def patches(video: Tensor, mask: Tensor, *, size: int) -> tuple[Tensor, Tensor]:
    """Join every ``size`` consecutive clips into one step of S = ceil(T / size); a step is real if one of them is.

    Shape: video (V, T, C), mask (V, T) bool, True = real -> (V, S, size * C), 0 where padded, and mask (V, S)

    >>> patches(torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[True, True, True]]), size=2)[0].tolist()
    [[[1.0, 2.0], [3.0, 0.0]]]
    """
    lacking = -video.shape[1] % size
    video, mask = F.pad(zero_padding(video, mask), (0, 0, 0, lacking)), F.pad(mask, (0, lacking))
    return video.reshape(len(video), -1, size * video.shape[2]), mask.reshape(len(mask), -1, size).any(dim=2)
