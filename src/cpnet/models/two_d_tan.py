"""2D-TAN: 2D Temporal Adjacent Networks for moment localization (Zhang et al., AAAI 2020).

Every moment of a grid is a cell of a map of starts and ends, which convolutions read with its neighbours. The score of
a cell learns how much its moment overlaps the true one.

Departs from the paper: the word vectors are frozen GloVe with one learned vector for all unknown words. Rows of
features are divided by their norm only with ``dataset.features.normalise=true``. The learning rate is constant; theirs
falls when the validation loss does not. Moments that are not on the map are never ranked; theirs come last.
Paper silent: at edges and holes of the map a convolution is divided by the number of cells that it reads, as in the
authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpnet import spans
from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.models.layers.dropout import Dropout
from cpnet.models.layers.embedding import WordEmbedding
from cpnet.models.layers.ranking import hard, rank
from cpnet.models.layers.recurrent import run
from cpnet.options import TwoDTANOptions

DENSE = 16  # lengths, in rows of the map, up to which all moments are scored ("2D Temporal Feature Map")


@dataclass(frozen=True, kw_only=True)
class TwoDTANOutput(GroundingOutput):
    """Output with the score of every moment of the map.

    Shape:
        - logits: (B, M) in the order of :func:`grid`
    """

    logits: Tensor


class TwoDTAN(nn.Module):
    """Score the moments of a map, and rank the best by non-maximum suppression.

    Args:
        video_dim: V
        word_vectors: (2 + words, W) frozen vectors, see :class:`~cpnet.models.layers.embedding.WordEmbedding`
        options: see :class:`~cpnet.options.TwoDTANOptions`

    Shape: a :class:`~cpnet.batch.GroundingBatch`, also one whose pairs share videos -> a :class:`TwoDTANOutput`
    """

    shares_videos = True  # computes the features of a video's moments once
    moments: Tensor  # (M, 2) in fractions
    cells: Tensor  # (M,) places in the flat map

    def __init__(self, video_dim: int, word_vectors: Tensor, options: TwoDTANOptions) -> None:
        super().__init__()
        width, self.options = options.hidden_dim, options
        self.words = WordEmbedding(word_vectors)
        self.dropout = Dropout(options.dropout)
        self.video_projection = nn.Linear(video_dim, width)
        self.query_encoder = nn.LSTM(word_vectors.shape[1], width, options.lstm_layers, batch_first=True)
        self.query_projection = nn.Linear(width, width)
        self.features = MomentFeatures(width, rows=options.rows, kind=options.moments)
        self.moment_projection = nn.Linear(width, width)
        first, last = (torch.tensor(each) for each in zip(*grid(options.rows), strict=True))
        self.register_buffer("moments", torch.stack((first, last + 1), dim=1) / options.rows, persistent=False)
        self.register_buffer("cells", first * options.rows + last, persistent=False)
        mask = torch.zeros(options.rows**2).index_fill(0, self.cells, 1.0).view(1, 1, options.rows, options.rows)
        self.convolutions = nn.Sequential()
        for layer in range(options.conv_layers):
            convolution = MapConvolution(width, mask, layer=layer, options=options)
            self.convolutions.append(convolution)
            mask = convolution.share.sign()
        self.score = nn.Linear(width, 1)

    def forward(self, batch: GroundingBatch) -> TwoDTANOutput:
        """Score and rank the moments of each pair."""
        clips = self.video_projection(self.dropout(batch.video)).relu()
        moments = self.features(pool(clips, batch.video_mask, rows=self.options.rows))
        moments = batch.of_pairs(self.moment_projection(moments))  # (B, M, D)
        query = self.query(batch.query, batch.query_mask)
        logits = self.logits(F.normalize(query[:, None] * moments, dim=2))
        options, moments = self.options, self.moments.to(logits.dtype).expand(logits.shape[0], -1, -1)
        ranked, scores = rank(moments, logits.sigmoid(), number=options.predictions, decay=hard(options.nms_iou))
        return TwoDTANOutput(span=ranked[:, 0], ranked=ranked, scores=scores, logits=logits)

    def query(self, query: Tensor, mask: Tensor) -> Tensor:
        """Return the projected state of the LSTM after the last real word. Shape: (B, L), (B, L) bool -> (B, D)"""
        states = run(self.query_encoder, self.dropout(self.words(query)))
        last = (mask.sum(dim=1) - 1)[:, None, None].expand(-1, 1, states.shape[2])
        projected: Tensor = self.query_projection(states.gather(1, last).squeeze(1))
        return projected

    def logits(self, fused: Tensor) -> Tensor:
        """Convolve the map of moments, and score its cells, in float32 or wider. Shape: (B, M, D) -> (B, M)"""
        rows, width = self.options.rows, fused.shape[2]
        image = fused.new_zeros(fused.shape[0], rows**2, width).index_copy(1, self.cells, fused)
        image = image.view(-1, rows, rows, width).permute(0, 3, 1, 2)  # (B, D, rows, rows), channels last in memory
        logits: Tensor = self.score(self.convolutions(image).permute(0, 2, 3, 1)).flatten(1)
        return logits.index_select(1, self.cells).to(torch.promote_types(logits.dtype, torch.float32))

    def loss(self, output: TwoDTANOutput, batch: GroundingBatch) -> dict[str, Tensor]:
        """Return the binary cross entropy of every moment against its scaled IoU (2D-TAN, "Loss Function").

        Of several true windows, the one with the largest IoU counts.
        """
        low, high = self.options.min_iou, self.options.max_iou
        overlap = spans.iou(self.moments, batch.windows[:, :, None]).amax(dim=1)  # (B, M)
        target = ((overlap - low) / (high - low)).clamp(0, 1).to(output.logits.dtype)
        return {"loss": F.binary_cross_entropy_with_logits(output.logits, target)}


def lengths(rows: int) -> list[tuple[int, int]]:
    """Return the length and the stride of each group of moments, in rows of the map.

    All moments up to 16 rows; of longer ones every second start and length up to 32 rows, every fourth up to 64, and so
    on ("2D Temporal Feature Map").

    >>> lengths(20)[-3:]
    [(16, 1), (18, 2), (20, 2)]
    """
    found, length, stride = list[tuple[int, int]](), 1, 1
    while length <= rows:
        found.append((length, stride))
        stride *= 2 if length == DENSE * stride else 1
        length += stride
    return found


def grid(rows: int) -> list[tuple[int, int]]:
    """Return the first and the last row of each moment, the shortest moments first.

    >>> grid(2)
    [(0, 0), (1, 1), (0, 1)]
    """
    return [(a, a + length - 1) for length, stride in lengths(rows) for a in range(0, rows - length + 1, stride)]


def pool(clips: Tensor, mask: Tensor, *, rows: int) -> Tensor:
    """Average the real clips of each video over ``rows`` equal parts of it; a part may contain fractions of clips.

    Shape: clips (B, T, D), mask (B, T) bool, True = real -> (B, rows, D)
    """
    real = mask.sum(dim=1)[:, None, None]
    row, clip = (torch.arange(each, device=mask.device) for each in (rows, mask.shape[1]))
    row, clip = row[:, None] * real, clip * rows  # starts of both in units of a clip / rows: exact integers
    shared = (torch.minimum(row + real, clip + rows) - torch.maximum(row, clip)).clamp_min(0)  # (B, rows, T)
    return (shared / real).to(clips.dtype) @ clips


class MomentFeatures(nn.Module):
    """Compute the features of each moment from those of the rows that it covers.

    Args:
        width: D
        rows: number of rows of the map
        kind: ``pool`` takes the maximum of the rows, ``conv`` stacks convolutions, one a length

    Shape: (B, rows, D) -> (B, M, D) in the order of :func:`grid`
    """

    def __init__(self, width: int, *, rows: int, kind: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        stride = 1
        for length, wider in lengths(rows):  # each layer joins two moments, or three where the stride doubles
            size, step = (1, 1) if length == 1 else (2, 1) if wider == stride else (3, 2)
            pooling = kind == "pool"
            self.layers.append(nn.MaxPool1d(size, step) if pooling else nn.Conv1d(width, width, size, step))
            stride = wider

    def forward(self, rows: Tensor) -> Tensor:
        """Compute the moments of each length from those of the length before."""
        found, x = list[Tensor](), rows.transpose(1, 2)
        for layer in self.layers:
            x = layer(x)
            found.append(x)
        return torch.cat(found, dim=2).transpose(1, 2)


class MapConvolution(nn.Module):
    """Convolve a map, apply ReLU, and divide by the number of the kernel's cells that hold a moment or were reached.

    Cells around the moments become more layer by layer, also beyond the edges of the map. The map has a margin for
    those that influence a moment at the end: it grows over the first half of the layers and shrinks over the second.

    Args:
        width: D
        mask: 1 for cells that hold a moment or were reached by the layers before
        layer: number of layers before this one
        options: kernel size and number of layers

    Shape: (B, D, S, S) -> (B, D, S', S')
    """

    share: Tensor

    def __init__(self, width: int, mask: Tensor, *, layer: int, options: TwoDTANOptions) -> None:
        super().__init__()
        size, layers = options.kernel_size, options.conv_layers
        growth = min(layer + 1, layers - layer - 1) - min(layer, layers - layer)  # 1, 0 or -1
        self.convolution = nn.Conv2d(width, width, size, padding=(1 + growth) * (size // 2))
        read = F.conv2d(mask, torch.ones(1, 1, size, size), padding=self.convolution.padding)
        self.register_buffer("share", torch.where(read > 0, 1 / read, 0.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve the map."""
        convolved: Tensor = self.convolution(x)
        return convolved.relu() * self.share.to(convolved.dtype)
