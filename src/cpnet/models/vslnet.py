"""VSLNet: a span-based localizing network (Zhang, Sun, Jing, Zhou: "Span-based Localizing Network ...", ACL 2020).

The video is read like the text of a question-answering task: every clip has a probability to be the first and one to be
the last of the moment. A score of each clip, trained to highlight the moment and its surroundings, scales the features.

Departs from the paper, and from its PyTorch code, whose equations these are:

- Words have no characters. The GloVe vectors are frozen, except that of unknown words, as in the code.
- Dropout follows the layers of the encoder. In the code it also precedes the encoder's attention and last layer, and
  acts on attention weights and on the inputs of the fusion's similarity.
- Linear layers and positions start from other random distributions (those of CPNet's).
- Weight decay acts on biases and norms too.
- Padding has no influence; in the code it leaks through the convolutions.
- Predictions are ranked; the first one is the code's. The next ones are the best ends of other starts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpnet import spans
from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.models.cpnet.coattention import CoAttention
from cpnet.models.cpnet.encoder import FeatureEncoder
from cpnet.models.layers.attention import attentive_pool
from cpnet.models.layers.dropout import Dropout
from cpnet.models.layers.embedding import WordEmbedding
from cpnet.models.layers.masking import mask_logits, zero_padding
from cpnet.models.layers.ranking import hard, rank
from cpnet.models.layers.recurrent import run
from cpnet.options import VSLNetOptions


@dataclass(frozen=True, kw_only=True)
class VSLNetOutput(GroundingOutput):
    """Output of VSLNet with what its loss needs.

    Shape: highlight, start and end (B, T) float32 or wider, logits of each clip; very negative where padded
    """

    highlight: Tensor
    start: Tensor
    end: Tensor


class VSLNet(nn.Module):
    """Highlight the clips that the query describes, and predict the first and the last clip of the moment.

    Args:
        video_dim: V
        word_vectors: (2 + words, W) frozen vectors; row 0 is padding, row 1 is replaced by a learned vector
        options: see :class:`~cpnet.options.VSLNetOptions`

    Shape: a :class:`~cpnet.batch.GroundingBatch` -> a :class:`VSLNetOutput`
    """

    shares_videos = True  # encodes each video of a batch once

    def __init__(self, video_dim: int, word_vectors: Tensor, options: VSLNetOptions) -> None:
        super().__init__()
        width, dropout, self.options = options.hidden_dim, options.dropout, options
        self.words = WordEmbedding(word_vectors)
        self.video_projection = nn.Sequential(Dropout(dropout), nn.Linear(video_dim, width))
        self.query_projection = nn.Sequential(Dropout(dropout), nn.Linear(word_vectors.shape[1], width))
        self.encoder = FeatureEncoder(options)
        self.coattention = CoAttention(width, fusion="folded")
        self.word_weight = nn.Linear(width, 1, bias=False)
        self.sentence_fusion = nn.Linear(2 * width, width)
        self.highlight = nn.Linear(width, 1)
        self.predictor = ConditionedPredictor(width)

    def forward(self, batch: GroundingBatch) -> VSLNetOutput:
        """Predict the spans of every pair."""
        video_mask, query_mask = batch.clip_mask, batch.query_mask
        video = batch.of_pairs(self.encoder(self.video_projection(batch.video), batch.video_mask))
        query = self.encoder(self.query_projection(self.words(batch.query)), query_mask)
        fused, _, _ = self.coattention(video, video_mask, query, query_mask)  # Eq. (2-3)
        sentence, _ = attentive_pool(query, self.word_weight(query).squeeze(-1), query_mask)
        fused = self.sentence_fusion(torch.cat((fused, sentence.unsqueeze(1).expand_as(fused)), dim=-1))
        highlight = mask_logits(self.highlight(fused).squeeze(-1), video_mask)
        start, end = self.predictor(fused * highlight.sigmoid().unsqueeze(-1), video_mask)
        wide = torch.promote_types(highlight.dtype, torch.float32)
        highlight, start, end = (each.to(wide) for each in (highlight, start, end))
        options = self.options
        ranked, scores = decode(start, end, video_mask, number=options.predictions, nms_iou=options.nms_iou)
        return VSLNetOutput(span=ranked[:, 0], ranked=ranked, scores=scores, highlight=highlight, start=start, end=end)

    def loss(self, output: GroundingOutput, batch: GroundingBatch) -> dict[str, Tensor]:
        """Return the scalar ``loss`` and its unweighted terms ``boundary`` and ``highlight``.

        Of several true windows, the one with the least boundary loss counts; the clips of all are highlighted.
        """
        assert isinstance(output, VSLNetOutput)
        mask = batch.clip_mask
        first, last = nearest_clips(batch.windows, mask)
        log_start, log_end = output.start.log_softmax(dim=1), output.end.log_softmax(dim=1)
        # Eq. (6), without its 1/2, as in the code
        boundary = -(log_start.gather(1, first) + log_end.gather(1, last)).amax(dim=1).mean()
        target = extended(first, last, mask, self.options.extension).to(output.highlight.dtype)
        errors = F.binary_cross_entropy_with_logits(output.highlight, target, reduction="none")
        highlight = (errors * (1 + target) * mask).sum() / mask.sum()  # as in the code, true clips count twice
        loss = boundary + self.options.highlight_weight * highlight
        return {"loss": loss, "boundary": boundary, "highlight": highlight}


class ConditionedPredictor(nn.Module):
    """Two LSTMs in a row, whose states score each clip as the first and as the last of the moment (Eq. 4-5).

    Shape: x (B, T, D), mask (B, T) bool, True = real -> start and end (B, T), logits, very negative where padded
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.start_lstm = nn.LSTM(width, width, batch_first=True)
        self.end_lstm = nn.LSTM(width, width, batch_first=True)
        self.start = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 1))
        self.end = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Score the clips; the end is conditioned on the states of the start."""
        x = zero_padding(x, mask)
        starts = run(self.start_lstm, x)
        ends = run(self.end_lstm, starts)  # padding comes last, so it reaches no real clip
        start = self.start(torch.cat((starts, x), dim=-1)).squeeze(-1)
        end = self.end(torch.cat((ends, x), dim=-1)).squeeze(-1)
        return mask_logits(start, mask), mask_logits(end, mask)


def decode(start: Tensor, end: Tensor, mask: Tensor, *, number: int, nms_iou: float) -> tuple[Tensor, Tensor]:
    """Rank spans by the probability of their first clip times that of their last (Eq. 7).

    Clips i to j of n are the span (i / n, (j + 1) / n). The candidates are the best end of each start; of two with an
    IoU above ``nms_iou``, the better one remains.

    Shape: logits start and end (B, T), mask (B, T) bool, True = real -> (B, number, 2), scores (B, number)

    >>> logits = torch.tensor([[0.0, 0.5, 0.25]]).log()
    >>> decode(logits, logits, torch.tensor([[True, True, True]]), number=1, nms_iou=0.5)[0].tolist()
    [[[0.3333333432674408, 0.6666666865348816]]]
    """
    clips, clip = mask.sum(dim=1, keepdim=True), torch.arange(mask.shape[1], device=mask.device)
    valid = (mask.unsqueeze(2) & mask.unsqueeze(1)) & (clip.unsqueeze(1) <= clip)
    joint = start.softmax(dim=1).unsqueeze(2) * end.softmax(dim=1).unsqueeze(1)  # (B, T, T)
    scores, last = joint.masked_fill(~valid, -1.0).max(dim=2)
    found = torch.stack((clip.expand_as(last), last + 1), dim=2) / clips.unsqueeze(2)
    return rank(found.to(scores.dtype), scores, number=number, decay=hard(nms_iou))


def nearest_clips(windows: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return first and last clip of the span of whole clips that has the largest IoU with each window.

    Shape: windows (B, K, 2) in fractions, mask (B, T) bool, True = real -> (B, K), (B, K) int64

    >>> nearest_clips(torch.tensor([[[0.3, 0.8]]]), torch.tensor([[True, True, True, True, False]]))
    (tensor([[1]]), tensor([[2]]))
    """
    steps = mask.shape[1]
    clip = torch.arange(steps, device=mask.device)
    every = torch.cartesian_prod(clip, clip + 1) / mask.sum(dim=1)[:, None, None, None]  # (B, 1, T * T, 2) in fractions
    best = spans.iou(every, windows.clamp(0, 1).unsqueeze(2)).argmax(dim=2)  # 0 for reversed spans
    return best // steps, best % steps


def extended(first: Tensor, last: Tensor, mask: Tensor, extension: float) -> Tensor:
    """Return the clips of all windows, each longer by a rounded share of its length at either side.

    Shape: first and last (B, K) int64, mask (B, T) bool, True = real -> (B, T) bool
    """
    more = (extension * (last - first + 1)).round()
    clip = torch.arange(mask.shape[1], device=mask.device)
    inside = (clip >= (first - more).unsqueeze(2)) & (clip <= (last + more).unsqueeze(2))
    return inside.any(dim=1) & mask
