"""LGI: Local-Global Interactions (Mun, Cho and Han, CVPR 2020).

A query becomes a sequence of phrases, each an attention over its words that depends on the phrase before it. Each
phrase is fused with every clip and seen in its neighbourhood by convolutions; the sum of all phrases is then related
over the whole video by self-attention, and a temporal attention pools the clips, from which the span is regressed.

Departs from the paper:
    - Word vectors are frozen, with a learned vector for unknown words; the public code learns them from random ones.
      It cuts the queries of Charades-STA at 10 words; here ``dataset.max_words`` cuts all queries.
    - Padded clips are zeros for the convolutions and are excluded from the statistics of the batch normalisation.
    - Decoding swaps reversed spans and limits them to the video. The public code evaluates them as regressed.
    - The true clips are those of ``spans.clip_target``; of several true windows, the nearest one is regressed.
    - No layer embeds the sum of the phrases: the public code has one, whose output it does not use.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cpnet import spans
from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.models.layers.attention import attention, attentive_pool
from cpnet.models.layers.convolution import TimeConv1d
from cpnet.models.layers.dropout import Dropout
from cpnet.models.layers.embedding import WordEmbedding
from cpnet.models.layers.masking import masked_softmax, zero_padding
from cpnet.models.layers.recurrent import Bidirectional
from cpnet.models.layers.span_losses import attention_loss, regression_loss
from cpnet.options import LGIOptions


@dataclass(frozen=True, kw_only=True)
class LGIOutput(GroundingOutput):
    """Adds ``phrase_attention`` (B, N, L), the attention of each of N phrases over the words."""

    phrase_attention: Tensor


class LGI(nn.Module):
    """Regress the span of a query from semantic phrases and their local and global contexts in the video.

    Args:
        video_dim: V
        word_vectors: (2 + words, W), see :class:`~cpnet.models.layers.embedding.WordEmbedding`
        options: see :class:`~cpnet.options.LGIOptions`

    Shape: a :class:`~cpnet.batch.GroundingBatch`, also one whose pairs share videos -> an :class:`LGIOutput`, N = 1
    """

    shares_videos = True

    def __init__(self, video_dim: int, word_vectors: Tensor, options: LGIOptions) -> None:
        super().__init__()
        width, dropout = options.hidden_dim, options.dropout
        self.distinct = options.distinct
        self.words = WordEmbedding(word_vectors)
        self.query_encoder = Bidirectional("lstm", word_vectors.shape[1], width // 2, layers=2, dropout=dropout)
        self.video_encoder = VideoEncoder(video_dim, options)
        self.phrases = SequentialQueryAttention(width, options.phrases)
        self.interactions = LocalGlobalInteractions(options)
        self.regression = AttentionRegression(width, activation=options.activation)

    def forward(self, batch: GroundingBatch) -> LGIOutput:
        """Predict a span for every pair."""
        words, sentence = self.query_encoder(self.words(batch.query), batch.query_mask)
        phrases, phrase_attention = self.phrases(sentence, words, batch.query_mask)
        video = batch.of_pairs(self.video_encoder(batch.video, batch.video_mask))
        clips = self.interactions(video, batch.clip_mask, phrases)
        span, log_attention = self.regression(clips, batch.clip_mask)
        ranked = span.clamp(0, 1).sort(dim=-1).values.unsqueeze(1)
        return LGIOutput(span=span, ranked=ranked, log_attention=log_attention, phrase_attention=phrase_attention)

    def loss(self, output: LGIOutput, batch: GroundingBatch) -> dict[str, Tensor]:
        """Return the scalar ``loss`` and its terms: ``regression``, ``attention`` and ``distinct``."""
        assert output.log_attention is not None
        regression = regression_loss(output.span, batch.windows)
        attended = attention_loss(output.log_attention, spans.clip_target(batch.windows, batch.clip_mask))
        distinct = distinct_loss(output.phrase_attention, target=self.distinct)
        loss = regression + attended + distinct
        return {"loss": loss, "regression": regression, "attention": attended, "distinct": distinct}


def distinct_loss(phrase_attention: Tensor, *, target: float) -> Tensor:
    """Compute ``||A A^T - target I||^2``, which keeps the phrases from attending to the same words.

    Shape: phrase_attention (B, N, L) -> scalar, mean over B
    """
    product = phrase_attention @ phrase_attention.transpose(1, 2)
    identity = torch.eye(product.shape[1], dtype=product.dtype, device=product.device)
    return (product - target * identity).square().sum(dim=(1, 2)).mean()


class VideoEncoder(nn.Module):
    """Embed each clip, and add a learned embedding of its position; clips after the last position share it.

    Shape: video (B, T, V), mask (B, T) bool, True = real -> (B, T, D), 0 where padded
    """

    def __init__(self, video_dim: int, options: LGIOptions) -> None:
        super().__init__()
        self.embedding = nn.Sequential(nn.Linear(video_dim, options.hidden_dim), nn.ReLU(), Dropout(options.dropout))
        self.positions = nn.Parameter(torch.randn(options.max_length, options.hidden_dim))
        self.dropout = Dropout(options.dropout)

    def forward(self, video: Tensor, mask: Tensor) -> Tensor:
        """Encode the clips of each video."""
        step = torch.arange(video.shape[1], device=video.device).clamp_max(len(self.positions) - 1)
        positions = self.dropout(self.positions[step].relu())
        return zero_padding(self.embedding(video) + positions, mask)


class SequentialQueryAttention(nn.Module):
    """Attend to the words of one phrase after the other (Eq. 4-7).

    Shape: sentence (B, D), words (B, L, D), mask (B, L) bool, True = real -> phrases (B, N, D), attention (B, N, L)
    """

    def __init__(self, width: int, phrases: int) -> None:
        super().__init__()
        self.sentences = nn.ModuleList(nn.Linear(width, width) for _ in range(phrases))  # W_q of each phrase
        self.guide = nn.Linear(2 * width, width)  # W_g
        self.of_guide, self.of_word = (nn.Linear(width, width // 2) for _ in range(2))
        self.score = nn.Linear(width // 2, 1)

    def forward(self, sentence: Tensor, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the phrases and their attention."""
        phrase, keys = torch.zeros_like(sentence), self.of_word(words)
        phrases, weights = list[Tensor](), list[Tensor]()
        for layer in self.sentences:
            guide = self.guide(torch.cat((layer(sentence), phrase), dim=1)).relu()  # Eq. (4)
            logits = self.score((self.of_guide(guide).unsqueeze(1) + keys).tanh()).squeeze(2)  # Eq. (5)
            weight = masked_softmax(logits, mask, dim=1).to(words.dtype)  # Eq. (6)
            phrase = (weight.unsqueeze(1) @ words).squeeze(1)  # Eq. (7)
            phrases.append(phrase)
            weights.append(weight)
        return torch.stack(phrases, dim=1), torch.stack(weights, dim=1)


class LocalGlobalInteractions(nn.Module):
    """Fuse each phrase with the clips, add local context to each, sum the phrases, and add global context.

    Shape: video (B, T, D), mask (B, T) bool, True = real, phrases (B, N, D) -> (B, T, D)
    """

    def __init__(self, options: LGIOptions) -> None:
        super().__init__()
        width = options.hidden_dim
        self.fusions = nn.ModuleList(Fusion(width) for _ in range(options.phrases))
        self.local = nn.ModuleList(ResidualConvolutions(width, options.kernel_size) for _ in range(options.phrases))
        self.score = attentive_score(width)
        self.relations = nn.ModuleList(NonLocalBlock(width, options.num_heads) for _ in range(options.global_blocks))

    def forward(self, video: Tensor, mask: Tensor, phrases: Tensor) -> Tensor:
        """Return the clips in the light of all phrases."""
        weight = self.score(phrases).softmax(dim=1).to(video.dtype)  # (B, N, 1)
        x = torch.zeros_like(video)
        for n, (fuse, local) in enumerate(zip(self.fusions, self.local, strict=True)):
            x = x + weight[:, n : n + 1] * local(fuse(video, phrases[:, n : n + 1]), mask)
        for relate in self.relations:
            x = relate(x, mask)
        return x


class Fusion(nn.Module):
    """Hadamard product of clips (B, T, D) and a phrase (B, 1, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_video, self.of_phrase, self.product = (nn.Linear(width, width) for _ in range(3))

    def forward(self, video: Tensor, phrase: Tensor) -> Tensor:
        """Fuse the phrase into every clip."""
        fused: Tensor = self.product(self.of_video(video).relu() * self.of_phrase(phrase).relu())
        return fused.relu()


class ResidualConvolutions(nn.Module):
    """[convolution, batch norm, ReLU, convolution, batch norm, + input, ReLU].

    Shape: x (B, T, D), mask (B, T) bool, True = real -> (B, T, D)
    """

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__()
        self.first, self.second = (TimeConv1d(width, kernel_size, bias=False) for _ in range(2))
        self.first_norm, self.second_norm = (RealBatchNorm(width) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Add to each clip a function of its real neighbours."""
        hidden = self.first_norm(self.first(x, mask), mask).relu()
        hidden = self.second_norm(self.second(hidden, mask), mask)
        return torch.relu(x + hidden)


class RealBatchNorm(nn.BatchNorm1d):
    """Batch normalisation by the statistics of the real time steps, of x (B, T, D) and mask (B, T)."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """Normalise each channel; a batch of a single step is left as it is, because it has no variance."""
        if not self.training:
            return super().forward(x.flatten(0, 1)).view_as(x)
        real = x[mask]
        normalised = torch.zeros_like(x)
        normalised[mask] = super().forward(real) if len(real) > 1 else real
        return normalised


class NonLocalBlock(nn.Module):
    """[multi-head self-attention among the real clips, + input], without an output projection.

    Shape: x (B, T, D), mask (B, T) bool, True = real -> (B, T, D)
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_key_value = nn.Linear(width, 3 * width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Add to each clip the heads' weighted means of the real clips."""
        q, k, v = self.query_key_value(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return x + attention(q, k, v, mask[:, None, None, :]).transpose(1, 2).flatten(2)


class AttentionRegression(nn.Module):
    """Pool the clips by attention, and regress (start, end) (Eq. 13-15).

    Shape: x (B, T, D), mask (B, T) bool, True = real -> span (B, 2), log of the attention (B, T), float32 or wider
    """

    def __init__(self, width: int, *, activation: str) -> None:
        super().__init__()
        self.score = attentive_score(width)
        self.embedding = nn.Linear(width, width)
        self.regression = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))
        self.activation = nn.ReLU() if activation == "relu" else nn.Sigmoid()

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the spans and the attention."""
        pooled, log_attention = attentive_pool(x, self.score(x).squeeze(2), mask)  # Eq. (13-14)
        span = self.regression(self.embedding(pooled)).to(log_attention.dtype)
        return self.activation(span), log_attention  # Eq. (15)


def attentive_score(width: int) -> nn.Sequential:
    """Return the layers that score each step of a sequence for an attention over it."""
    return nn.Sequential(nn.Linear(width, width // 2, bias=False), nn.Tanh(), nn.Linear(width // 2, 1, bias=False))
