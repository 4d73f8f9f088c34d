"""ABLR: attention-based location regression (Yuan, Mei, Zhu: "To Find Where You Talk", AAAI 2019).

Video and query attend to each other in turn: the query finds clips, these find words, and these find clips again. The
last attention is trained to cover the moment, and its weights alone are enough to regress the span.

Departs from the paper:

- GloVe vectors are frozen, except that of unknown words, and the LSTMs have no peepholes, which its code has.
- Its code applies a ReLU to the span in training too, where an output below 0 has no gradient; here decoding clips it.
- The regression reads the attention of ``bins`` equal parts of the video, so that a video may have any number of clips;
  with ``bins`` clips these are the clips.
- Both losses are means over the pairs. Its code adds up the regression loss of a batch; the preset weighs it by the
  batch size.
- Its code passes C3D's 4,096 values through a linear layer to 500 first, starts the biases of forget gates at 1, rounds
  predictions down to whole clips, and leaves reversed ones as they are.
- Of the paper's two variants only the better one is here: the regression from the attention weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cpnet import spans
from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.models.layers.attention import attentive_pool
from cpnet.models.layers.dropout import Dropout
from cpnet.models.layers.embedding import WordEmbedding
from cpnet.models.layers.masking import masked_mean
from cpnet.models.layers.recurrent import Bidirectional
from cpnet.models.layers.span_losses import attention_loss, regression_loss
from cpnet.options import ABLROptions


class ABLR(nn.Module):
    """Encode both sequences, let them attend to each other in three steps, and regress the span.

    Args:
        video_dim: V
        word_vectors: (2 + words, W) frozen vectors; row 0 is padding, row 1 is replaced by a learned vector
        options: see :class:`~cpnet.options.ABLROptions`

    Shape: a :class:`~cpnet.batch.GroundingBatch` -> a :class:`~cpnet.batch.GroundingOutput` with N = 1
    """

    shares_videos = True  # encodes each video of a batch once

    def __init__(self, video_dim: int, word_vectors: Tensor, options: ABLROptions) -> None:
        super().__init__()
        self.options = options
        self.words = WordEmbedding(word_vectors)
        self.video_encoder = ContextEncoder(video_dim, options)
        self.query_encoder = ContextEncoder(word_vectors.shape[1], options)
        self.video_attention = GuidedAttention(options.hidden_dim)
        self.query_attention = GuidedAttention(options.hidden_dim)
        self.regression = LocationRegression(options)

    def forward(self, batch: GroundingBatch) -> GroundingOutput:
        """Predict a span for every pair."""
        video_mask, query_mask = batch.clip_mask, batch.query_mask
        video = batch.of_pairs(self.video_encoder(batch.video, batch.video_mask))
        query = self.query_encoder(self.words(batch.query), query_mask)

        clips, _ = self.video_attention(video, video_mask, masked_mean(query, query_mask))
        words, _ = self.query_attention(query, query_mask, clips)
        _, log_attention = self.video_attention(video, video_mask, words)

        span = self.regression(log_attention, video_mask).to(log_attention.dtype)
        decoded = span.clamp(0, 1).sort(dim=1).values
        return GroundingOutput(span=span, ranked=decoded.unsqueeze(1), log_attention=log_attention)

    def loss(self, output: GroundingOutput, batch: GroundingBatch) -> dict[str, Tensor]:
        """Return the scalar ``loss`` and its unweighted terms ``attention`` and ``regression``."""
        assert output.log_attention is not None
        attention = attention_loss(output.log_attention, spans.clip_target(batch.windows, batch.clip_mask))
        regression = regression_loss(output.span, batch.windows)
        loss = self.options.attention_weight * attention + self.options.regression_weight * regression
        return {"loss": loss, "attention": attention, "regression": regression}


class ContextEncoder(nn.Module):
    """A bidirectional LSTM, and a layer that joins its directions ("Contextual Incorporated Feature Encoding").

    Shape: x (B, T, input_dim), mask (B, T) bool, True = real -> (B, T, D)
    """

    def __init__(self, input_dim: int, options: ABLROptions) -> None:
        super().__init__()
        self.lstm = Bidirectional("lstm", input_dim, options.hidden_dim)
        self.dropout = Dropout(options.dropout)
        self.join = nn.Linear(2 * options.hidden_dim, options.hidden_dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Encode each sequence."""
        steps, _ = self.lstm(x, mask)
        joined: Tensor = self.join(self.dropout(steps)).relu()
        return joined


class GuidedAttention(nn.Module):
    """Attend to the steps ``z`` of a sequence, guided by a vector ``g`` ("Multi-Modal Co-Attention Interaction").

    ``h_t = tanh(U_z z_t + U_g g + b_a)``, ``a = softmax(u_a . h_t)``, and the result is ``sum_t a_t z_t``.

    Shape: z (B, T, D), mask (B, T) bool, True = real, g (B, D) -> (B, D), log a (B, T) float32 or wider
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.step = nn.Linear(width, width)  # U_z, b_a
        self.guide = nn.Linear(width, width, bias=False)  # U_g
        self.score = nn.Linear(width, 1, bias=False)  # u_a

    def forward(self, z: Tensor, mask: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Return the attended vector and the log of the attention."""
        hidden = (self.step(z) + self.guide(g).unsqueeze(1)).tanh()
        return attentive_pool(z, self.score(hidden).squeeze(-1), mask)


class LocationRegression(nn.Module):
    """Regress the span from the attention ("Attention Based Coordinates Prediction").

    As in the paper's code, its two layers have no activation between them.

    Shape: log_attention (B, T), mask (B, T) bool, True = real -> (B, 2)
    """

    def __init__(self, options: ABLROptions) -> None:
        super().__init__()
        self.bins = options.bins
        self.layers = nn.Sequential(nn.Linear(self.bins, options.regression_dim), nn.Linear(options.regression_dim, 2))

    def forward(self, log_attention: Tensor, mask: Tensor) -> Tensor:
        """Return the raw span."""
        span: Tensor = self.layers(attention_of_bins(log_attention.exp(), mask, self.bins))
        return span


def attention_of_bins(attention: Tensor, mask: Tensor, bins: int) -> Tensor:
    """Return the attention that falls into equal parts of each video; a clip's attention is spread evenly over it.

    Shape: attention (B, T), mask (B, T) bool, True = real -> (B, bins)

    >>> attention_of_bins(torch.tensor([[0.25, 0.75, 0.0]]), torch.tensor([[True, True, False]]), 4).tolist()
    [[0.125, 0.125, 0.375, 0.375]]
    """
    edges = torch.arange(bins + 1, device=mask.device) * mask.sum(dim=1, keepdim=True) / bins  # (B, bins + 1), in clips
    clip = torch.arange(mask.shape[1], device=mask.device)
    before = (edges.unsqueeze(2) - clip).clamp(0, 1)  # share of each clip before each edge
    return (before.diff(dim=1).to(attention.dtype) @ attention.unsqueeze(2)).squeeze(2)
