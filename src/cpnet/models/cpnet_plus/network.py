"""CPNetPlus: the levels of CPNet's contextual pyramid with an answer at every step of each, instead of one per video.

CPNet (AAAI 2021) pools its pyramid into one vector and regresses one span from it, which hedges between moments. Here
every step of every level predicts its distances to start and end and the IoU that its span will have, corrects both
after reading the clips at its ends, and the best step answers. The whole sentence also chooses channels of the features
before fusion. The parts were chosen on surrogate scores of actions: on features of backbones the channel gate may gain
less.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpnet import spans as algebra
from cpnet.batch import AttentionMaps, GroundingBatch, GroundingOutput
from cpnet.models.cpnet.coattention import CoAttention
from cpnet.models.cpnet.encoder import FeatureEncoder
from cpnet.models.cpnet.pyramid import ContextualLevels
from cpnet.models.cpnet_plus.gate import ChannelGate
from cpnet.models.cpnet_plus.head import Answers, DenseHead, assign, lay_out, quality_loss, span_loss
from cpnet.models.layers.dropout import Dropout
from cpnet.models.layers.embedding import WordEmbedding
from cpnet.models.layers.masking import centre, mask_logits, zero_padding
from cpnet.models.layers.ranking import rank, soft
from cpnet.options import CPNetPlusOptions

RANKED, SIGMA = 5, 0.5  # moments that soft-NMS chooses, and its width, as in its paper
POWER = 8  # of the scores by which answers vote


@dataclass(frozen=True, kw_only=True)
class CPNetPlusOutput(GroundingOutput):
    """Output of CPNetPlus with what its loss needs.

    Shape:
        - first: (B, M, 2) spans of every step of every level, before their correction
        - answers: spans and scores of every step; without ``refinement``, their spans are ``first``
    """

    first: Tensor
    answers: Answers


class CPNetPlus(nn.Module):
    """Predict a span and its IoU at every step of every level of the contextual pyramid.

    Args:
        video_dim: V
        word_vectors: (2 + words, W) frozen vectors; row 0 is padding, row 1 is replaced by a learned vector for
            unknown words
        options: hidden width and parts, see :class:`~cpnet.options.CPNetPlusOptions`

    Shape: a :class:`~cpnet.batch.GroundingBatch`, also one whose pairs share videos -> a :class:`CPNetPlusOutput` with
        N = 5 and scores; its attention is the share of each clip in the scores of the finest level

    Raises:
        ValueError: ``video_dim`` is below 1

    >>> model = CPNetPlus(6, torch.zeros(5, 4), CPNetPlusOptions(hidden_dim=16, patch=1)).eval()
    >>> batch = GroundingBatch(
    ...     video=torch.zeros(1, 8, 6), video_mask=torch.ones(1, 8, dtype=torch.bool),
    ...     query=torch.tensor([[2, 3]]), query_mask=torch.ones(1, 2, dtype=torch.bool),
    ...     windows=torch.zeros(1, 1, 2), windows_sec=torch.zeros(1, 1, 2),
    ...     duration_sec=torch.ones(1), index=torch.zeros(1),
    ... )
    >>> model(batch).answers.spans.shape  # 8 + 4 + 2 + 1 steps
    torch.Size([1, 15, 2])
    """

    shares_videos = True  # encodes each video of a batch once

    def __init__(self, video_dim: int, word_vectors: Tensor, options: CPNetPlusOptions) -> None:
        super().__init__()
        if video_dim < 1:
            raise ValueError(f"model.video_dim must be 1 or more; got {video_dim}")
        width, dropout, patch = options.hidden_dim, options.dropout, options.patch
        self.options = options
        self.words = WordEmbedding(word_vectors)
        self.video_projection = nn.Sequential(Dropout(dropout), nn.Linear(patch * video_dim, width))
        self.query_projection = nn.Sequential(Dropout(dropout), nn.Linear(word_vectors.shape[1], width))
        self.encoder = FeatureEncoder(options)
        self.coattention = CoAttention(width, fusion="folded")
        self.gate = None
        if "channel_gate" not in options.without:
            self.gate = ChannelGate(width, channels=video_dim, patch=patch, dropout=dropout)
        self.pyramid = ContextualLevels(options)
        self.head = DenseHead(width, levels=options.pyramid_levels, refine="refinement" not in options.without)

    def forward(self, batch: GroundingBatch, *, return_maps: bool = False) -> CPNetPlusOutput:
        """Predict and rank spans for every pair; ``return_maps`` adds S_q, S_v and each level's M to the output."""
        patch = self.options.patch
        video = centre(batch.video, batch.video_mask) if self.options.centre else batch.video
        rows, mask = patches(video, batch.video_mask, size=patch)
        video = self.encoder(self.video_projection(rows), mask)
        query = self.encoder(self.query_projection(self.words(batch.query)), batch.query_mask)
        rows, video, mask = map(batch.of_pairs, (rows, video, mask))
        z, s_q, s_v = self.coattention(video, mask, query, batch.query_mask)
        if self.gate is not None:
            z = z + self.gate(rows, query, batch.query_mask)
        levels, masks, maps = self.pyramid.ascend(z, mask, return_maps=return_maps)
        steps = lay_out(masks, batch.clip_mask.sum(dim=1), patch=patch)
        first, answers = self.head(levels, steps)
        ranked, scores = decode(answers, consensus="consensus" not in self.options.without)
        return CPNetPlusOutput(
            span=ranked[:, 0],
            ranked=ranked,
            scores=scores,
            log_attention=log_shares(answers, batch.clip_mask, patch=patch),
            first=first,
            answers=answers,
            maps=AttentionMaps(query=s_q, video=s_v, levels=maps, clips_per_step=patch) if return_maps else None,
        )

    def loss(self, output: CPNetPlusOutput, batch: GroundingBatch) -> dict[str, Tensor]:
        """Return the scalar ``loss`` and its unweighted terms, without those of parts that are left out."""
        answers, options = output.answers, self.options
        matched, positive = assign(answers.steps, batch.windows, radius=options.radius)
        terms = {
            "span": (1.0, span_loss(answers.spans, matched, positive)),
            "quality": (options.quality_weight, quality_loss(answers, batch.windows)),
        }
        if "refinement" not in options.without:
            terms["first_span"] = 1.0, span_loss(output.first, matched, positive)
        total = torch.stack([weight * term for weight, term in terms.values()]).sum()
        return {"loss": total, **{name: term for name, (_, term) in terms.items()}}

    def compiled_parts(self) -> Iterator[nn.Module]:
        """Yield the parts that ``torch.compile`` compiles, each once for all batch sizes and lengths."""
        yield from (self.video_projection, self.query_projection, self.encoder, self.coattention)
        if self.gate is not None:
            yield self.gate
        yield from (*self.pyramid.cams, *self.pyramid.downsamplings)


@torch.no_grad()
def decode(answers: Answers, *, consensus: bool) -> tuple[Tensor, Tensor]:
    """Rank the answers by their scores and soft-NMS.

    With ``consensus``, the first is the answer whose expected IoU with all answers is highest, where an answer is right
    with a probability that grows with its score; it swaps scores with the one of the highest score.

    Shape: -> ranked (B, 5, 2), scores (B, 5)
    """
    spans, mask = answers.spans.clamp(0, 1), answers.steps.mask
    scores = answers.logits.sigmoid()
    if consensus:
        votes = zero_padding(scores[..., None] ** POWER, mask)
        agreement = algebra.iou(spans[:, :, None], spans[:, None]).to(votes.dtype) @ votes
        agreed = agreement.squeeze(-1).masked_fill(~mask, -1.0).argmax(dim=1, keepdim=True)
        highest, best = scores.masked_fill(~mask, -1.0).max(dim=1, keepdim=True)
        scores = scores.scatter(1, best, scores.gather(1, agreed)).scatter(1, agreed, highest)
    return rank(spans, scores.masked_fill(~mask, -1.0), number=RANKED, decay=soft(SIGMA))


def log_shares(answers: Answers, mask: Tensor, *, patch: int) -> Tensor:
    """Return the log share of each clip in the scores of the finest level, whose steps have ``patch`` clips.

    Shape: mask (B, T) bool of the clips, True = real -> (B, T), very low where padded
    """
    finest = F.logsigmoid(answers.logits).repeat_interleave(patch, dim=1)[:, : mask.shape[1]]
    return F.log_softmax(mask_logits(finest, mask), dim=1)


def patches(video: Tensor, mask: Tensor, *, size: int) -> tuple[Tensor, Tensor]:
    """Join every ``size`` consecutive clips into one step of S = ceil(T / size); a step is real if one of them is.

    Shape: video (V, T, C), mask (V, T) bool, True = real -> (V, S, size * C), 0 where padded, and mask (V, S)

    >>> patches(torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[True, True, True]]), size=2)[0].tolist()
    [[[1.0, 2.0], [3.0, 0.0]]]
    """
    lacking = -video.shape[1] % size
    video, mask = F.pad(zero_padding(video, mask), (0, 0, 0, lacking)), F.pad(mask, (0, lacking))
    return video.reshape(video.shape[0], -1, size * video.shape[2]), mask.reshape(mask.shape[0], -1, size).any(dim=2)
