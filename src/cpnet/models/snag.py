"""SnAG (Mu, Mo and Li, "SnAG: Scalable and Accurate Video Grounding", CVPR 2024).

A transformer encodes the video, without the query, into a pyramid of levels; cross-attention then fuses the query into
every point of every level (late fusion, Sec. 3.2). Each point has a score and its distances to the start and end of the
moment; soft-NMS ranks the spans.

Departs from the paper:
    - frozen GloVe with one learned vector for all unknown words, which its code sets to 0;
    - beyond the training length the sinusoids continue, where its code stretches them;
    - weight decay applies to biases and norms too;
    - a batch has single pairs instead of videos with up to four queries each (Sec. 3.3);
    - spans with low scores stay, so that every pair has N predictions if it has N points;
    - of a video with more than T rows, sampling=linear skips rows between clips; its code averages interpolated ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpnet import spans as algebra
from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.models.layers.convolution import Convolutions, DepthwiseConv1d, TimeConv1d
from cpnet.models.layers.dense_losses import distance_iou_loss, focal_loss
from cpnet.models.layers.embedding import WordEmbedding
from cpnet.models.layers.masking import mask_logits
from cpnet.models.layers.ranking import rank, soft, vote
from cpnet.models.layers.transformer import Attention, Branch, EncoderLayer, add_positions, feed_forward, halve
from cpnet.options import SnAGOptions

SHORTEST = 0.1  # clips; shorter spans rank behind all others
MOMENTUM = 0.9  # of the mean number of positive points


@dataclass(frozen=True, kw_only=True)
class SnAGOutput(GroundingOutput):
    """Output of SnAG at S points: those of all levels, and a padded one after each level.

    Shape: logits (B, S) of all points, offsets (B, S, 2) of start and end from each, in strides of its level, mask
        (B, S) bool, True = real
    """

    logits: Tensor
    offsets: Tensor
    mask: Tensor


class SnAG(nn.Module):
    """Score every point of a video pyramid, and regress a span from it.

    Args:
        video_dim: V
        word_vectors: (2 + words, W), see :class:`~cpnet.models.layers.embedding.WordEmbedding`
        options: see :class:`~cpnet.options.SnAGOptions`

    Shape: a :class:`~cpnet.batch.GroundingBatch`, also one whose pairs share videos -> :class:`SnAGOutput`
    """

    shares_videos = True
    positives: Tensor

    def __init__(self, video_dim: int, word_vectors: Tensor, options: SnAGOptions) -> None:
        super().__init__()
        self.options, width = options, options.hidden_dim
        self.words = WordEmbedding(word_vectors)
        self.text = TextEncoder(word_vectors.shape[1], options)
        self.video = VideoEncoder(video_dim, options)
        self.fusion = nn.ModuleList(FusionLayer(options) for _ in range(options.fusion_layers))
        self.fused_norm = nn.LayerNorm(width)
        self.score = Head(width, 1, layers=options.head_layers)
        self.distance = Head(width, 2, layers=options.head_layers)
        self.level_scale = nn.Parameter(torch.ones(options.levels))
        self.register_buffer("positives", torch.tensor(float(options.positives)))  # positive points a batch, mean
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, batch: GroundingBatch) -> SnAGOutput:
        """Predict a score and a span at every point, and rank the spans."""
        x, mask = map(batch.of_pairs, self.video(batch.video, batch.video_mask))
        query, query_mask = self.text(self.words(batch.query), batch.query_mask)
        for layer in self.fusion:
            x = layer(x, mask, query, query_mask)
        x = self.fused_norm(x)
        position, level = points(batch.video.shape[1], self.options.levels, x.device)
        logits = self.score(x, mask).squeeze(2)
        distances = (self.distance(x, mask) * self.level_scale[level, None]).relu()  # to start and end, in strides
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        offsets = distances.to(logits) * logits.new_tensor([-1.0, 1.0])
        clips = batch.clip_mask.sum(dim=1)[:, None, None]
        spans = (position[:, None] + offsets * 2.0 ** level[:, None] + 0.5) / clips  # (B, S, 2)
        best, ranked, scores = self.decode(spans.detach(), logits.detach(), mask, clips)
        return SnAGOutput(span=best, ranked=ranked, scores=scores, logits=logits, offsets=offsets, mask=mask)

    def decode(self, spans: Tensor, logits: Tensor, mask: Tensor, clips: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rank the spans by soft-NMS, and average each with those that nearly equal it.

        Shape: spans (B, S, 2), logits and mask (B, S), clips (B, 1, 1) -> best (B, 2), ranked (B, N, 2), scores (B, N)
        """
        long = algebra.length(spans) * clips.squeeze(2) > SHORTEST
        scores = (logits.sigmoid() * long).masked_fill(~mask, -1.0)
        found, ranks = rank(spans, scores, number=self.options.predictions, decay=soft(self.options.nms_sigma))
        return found[:, 0], vote(found, spans, scores, least=self.options.voting_iou).clamp(0, 1), ranks

    def loss(self, output: SnAGOutput, batch: GroundingBatch) -> dict[str, Tensor]:
        """Return the focal loss of all points, and the DIoU loss of the positive ones (Sec. 3.3).

        Both are divided by the running mean of the number of positive points a batch, which training updates.
        """
        options = self.options
        position, level = points(batch.video.shape[1], options.levels, output.logits.device)
        windows = batch.windows * batch.clip_mask.sum(dim=1)[:, None, None] - 0.5  # in clips; a clip's centre is whole
        positive, offsets = targets(position, level, windows.to(output.logits.dtype), options)  # (B, S, K)
        positive = positive & output.mask[:, :, None]
        label, smoothing = positive.any(dim=2), options.label_smoothing
        soft_label = label * (1 - smoothing) + smoothing / 2
        count = self.positives.clone()  # changes in place below
        score = focal_loss(output.logits, soft_label).where(output.mask, 0).sum() / count
        apart = distance_iou_loss(output.offsets[:, :, None], offsets)
        regression = mask_logits(-apart, positive).amax(dim=2).neg().where(label, 0).sum() / count
        if self.training:
            self.positives.lerp_(label.sum().clamp_min(1).to(self.positives), 1 - MOMENTUM)
        return {"loss": score + regression, "score": score, "regression": regression}


def points(steps: int, levels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return position, in clips, and level of every point of the joined levels of T steps.

    Shape: -> (S,), (S,) int64

    >>> [each.tolist() for each in points(3, 2, torch.device("cpu"))]
    [[0, 1, 2, 0, 0, 2, 0], [0, 0, 0, 0, 1, 1, 1]]
    """
    places = [torch.arange(steps, device=device)[None]]
    for _ in range(levels - 1):
        places.append(halve(places[-1]))  # as the encoder does, so that torch.export sees equal sizes
    places = [F.pad(place[0], (0, 1)) for place in places]
    return torch.cat(places), torch.cat([torch.full_like(place, level) for level, place in enumerate(places)])


def targets(position: Tensor, level: Tensor, windows: Tensor, options: SnAGOptions) -> tuple[Tensor, Tensor]:
    """Return which points are positive for which window, and the offsets of its start and end from them, in strides.

    A positive point lies inside the window, near its centre, and the farther end is within the range of its level.

    Shape: position and level (S,), windows (B, K, 2) in clips -> (B, S, K) bool, (B, S, K, 2)
    """
    stride, place = 2.0 ** level[:, None], position[:, None]
    start, end = windows[:, None].unbind(dim=3)  # (B, 1, K)
    offsets = torch.stack((start - place, end - place), dim=3)  # (B, S, K, 2)
    centre, radius = (start + end) / 2, options.centre_radius * stride
    inside = (start < place) & (place < end) & ((place - centre).abs() < radius)
    longest = options.regression_range * stride  # of the level
    shortest = longest / 2 * options.range_overlap * (level[:, None] > 0)
    farthest = offsets.abs().amax(dim=3)  # of a point inside
    in_range = (farthest >= shortest) & ((farthest < longest) | (level[:, None] == options.levels - 1))
    return inside & in_range, offsets / stride[..., None]


class TextEncoder(nn.Module):
    """A learned token before the words, positions, and transformer layers.

    Shape: x (B, L, W), mask (B, L) bool, True = real -> (B, 1 + L, E), (B, 1 + L)
    """

    def __init__(self, word_dim: int, options: SnAGOptions) -> None:
        super().__init__()
        width = options.text_dim
        self.projection = nn.Linear(word_dim, width)
        self.token = nn.Parameter(nn.init.trunc_normal_(torch.empty(width), std=0.02))
        self.layers = nn.ModuleList(encoder_layer(width, options) for _ in range(options.text_layers))

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode each query."""
        x = add_positions(self.projection(x))
        x, mask = torch.cat((self.token.to(x).expand(x.shape[0], 1, -1), x), dim=1), F.pad(mask, (1, 0), value=True)
        for layer in self.layers:
            x, mask = layer(x, mask)
        return x, mask


class VideoEncoder(nn.Module):
    """Convolutions, positions, and transformer layers with local attention, which halve the steps from level to level.

    All levels stand in one sequence, each followed by a padded step that separates it from the next for convolutions.

    Shape: x (B, T, V), mask (B, T) bool, True = real -> (B, S, D), (B, S)
    """

    def __init__(self, video_dim: int, options: SnAGOptions) -> None:
        super().__init__()
        self.projection = nn.Linear(video_dim, options.hidden_dim)
        self.convolutions = Convolutions(options.hidden_dim, layers=options.embedding_layers)
        self.levels, width = options.levels, options.hidden_dim
        strides = [1] * (options.stem_layers + 1) + [2] * (options.levels - 1)
        self.layers = nn.ModuleList(encoder_layer(width, options, stride=each) for each in strides)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode each video."""
        x = add_positions(self.convolutions(self.projection(x), mask))
        levels, masks = list[Tensor](), list[Tensor]()
        for layer in self.layers:
            x, mask = layer(x, mask)
            levels.append(F.pad(x, (0, 0, 0, 1)))
            masks.append(F.pad(mask, (0, 1)))
        return torch.cat(levels[-self.levels :], dim=1), torch.cat(masks[-self.levels :], dim=1)


def encoder_layer(width: int, options: SnAGOptions, *, stride: int = 0) -> EncoderLayer:
    """Return a layer of text (stride 0) or video."""
    window, dropout, drop_path = options.window if stride else 0, options.dropout, options.drop_path
    return EncoderLayer(width, options.num_heads, stride=stride, window=window, dropout=dropout, drop_path=drop_path)


class FusionLayer(nn.Module):
    """Scale and shift each point by its attention to the words, after layer norm with ``options.normalise`` (Sec. 3.2).

    Shape: x (B, S, D), mask (B, S), words (B, L, E), word_mask (B, L); masks bool, True = real -> (B, S, D)
    """

    def __init__(self, options: SnAGOptions) -> None:
        super().__init__()
        width, text, dropout = options.hidden_dim, options.text_dim, options.dropout
        self.normalise = options.normalise
        self.video_norm, self.text_norm, self.query_norm = nn.LayerNorm(width), nn.LayerNorm(text), nn.LayerNorm(width)
        self.convolution = DepthwiseConv1d(width, 3)
        self.attention = Attention(width, options.num_heads, key_width=text, out_width=2 * width, dropout=dropout)
        self.feed_forward, self.feed_forward_norm = feed_forward(width, dropout=dropout), nn.LayerNorm(width)
        self.branch = Branch(width, drop_path=options.drop_path)

    def forward(self, x: Tensor, mask: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        """Fuse the words into every point."""
        words = self.text_norm(words)
        q = self.query_norm(self.convolution(self.video_norm(x), mask))
        scale, shift = self.attention(q, words, words, word_mask).chunk(2, dim=2)
        x = (F.layer_norm(x, x.shape[2:]) if self.normalise else x) * scale + shift
        fused: Tensor = x + self.branch(self.feed_forward(self.feed_forward_norm(x)))
        return fused


class Head(nn.Module):
    """Convolutions to ``out`` numbers a point. Shape: x (B, S, D), mask (B, S) bool, True = real -> (B, S, out)."""

    def __init__(self, width: int, out: int, *, layers: int) -> None:
        super().__init__()
        self.convolutions = Convolutions(width, layers=layers)
        self.last = TimeConv1d(width, 3, out_width=out)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Predict."""
        predicted: Tensor = self.last(self.convolutions(x, mask), mask)
        return predicted
