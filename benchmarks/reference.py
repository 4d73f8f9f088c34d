"""CPNet written from the equations, without regard for speed: the reference of tests and benchmarks.

Every convolution is an ``nn.Conv1d``, pointwise ones too; every attention is a softmax of a product; Eq. 7 is two
triangular products; Eq. 2 is a trilinear form in three terms. :func:`weights_of` converts the weights of ``CPNet``.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpnet.batch import UNKNOWN, GroundingBatch, GroundingOutput
from cpnet.models import CPNet
from cpnet.models.cpnet.encoder import sinusoidal_positions

LOWEST = -1e9


class ConvBlock(nn.Module):
    """[LayerNorm, depthwise convolution, pointwise convolution, ReLU, dropout, + input]."""

    def __init__(self, width: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.depthwise = nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2, groups=width, bias=False)
        self.pointwise = nn.Conv1d(width, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Add to each step a function of its neighbours."""
        y = (self.norm(x) * mask.unsqueeze(-1)).transpose(1, 2)
        y = F.relu(self.pointwise(self.depthwise(y)))
        answer: Tensor = x + self.dropout(y.transpose(1, 2))
        return answer


class SelfAttention(nn.Module):
    """Softmax of queries times keys, for each head."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_key_value = nn.Linear(width, 3 * width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Mix the steps."""
        batch, steps, width = x.shape
        q, k, v = (
            part.reshape(batch, steps, self.num_heads, -1).transpose(1, 2)
            for part in self.query_key_value(x).chunk(3, dim=-1)
        )
        logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        weights = logits.masked_fill(~mask[:, None, None, :], LOWEST).softmax(dim=-1)
        answer: Tensor = (weights.to(v.dtype) @ v).transpose(1, 2).reshape(batch, steps, width)
        return answer


class FeatureEncoder(nn.Module):
    """Positions, convolutions, self-attention, feed-forward layer."""

    def __init__(self, width: int, dropout: float, kernel_size: int = 15, layers: int = 4, num_heads: int = 8) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(ConvBlock(width, kernel_size, dropout) for _ in range(layers))
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, num_heads)
        self.feedforward_norm = nn.LayerNorm(width)
        self.feedforward = nn.Conv1d(width, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Encode each sequence."""
        x = x + sinusoidal_positions(x.shape[1], x.shape[2]).to(x)
        for block in self.convolutions:
            x = block(x, mask)
        x = x + self.dropout(self.attention(self.attention_norm(x), mask))
        answer: Tensor = x + self.dropout(self.feedforward(self.feedforward_norm(x).transpose(1, 2)).transpose(1, 2))
        return answer


class CoAttention(nn.Module):
    """Eq. 2-3, with the folded fusion."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.video_weight = nn.Linear(width, 1, bias=False)
        self.query_weight = nn.Linear(width, 1, bias=False)
        self.product_weight = nn.Parameter(torch.empty(width).uniform_(-(width**-0.5), width**-0.5))
        self.fuse = nn.Conv1d(4 * width, width, 1)

    def forward(self, v: Tensor, video_mask: Tensor, q: Tensor, query_mask: Tensor) -> Tensor:
        """Fuse the words into every clip."""
        s = self.video_weight(v) + self.query_weight(q).transpose(1, 2)
        s = s + (v * self.product_weight) @ q.transpose(1, 2)
        s_q = s.masked_fill(~query_mask[:, None, :], LOWEST).softmax(dim=2).to(v.dtype)
        s_v = s.masked_fill(~video_mask[:, :, None], LOWEST).softmax(dim=1).to(v.dtype)
        c_qv = s_q @ q
        c_vv = s_q @ (s_v.transpose(1, 2) @ v)
        answer: Tensor = self.fuse(torch.cat((v, c_qv, v * c_qv, v * c_vv), dim=-1).transpose(1, 2)).transpose(1, 2)
        return answer


class ContextAwareModule(nn.Module):
    """Eq. 4-8, both triangles with the diagonal."""

    def __init__(self, width: int, scale: bool) -> None:
        super().__init__()
        self.theta, self.phi, self.g = (nn.Conv1d(width, width, 1) for _ in range(3))
        self.convolution = nn.Conv1d(width, width, 3, padding=1)
        self.scale = width**-0.5 if scale else 1.0

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Add to each clip its context."""
        channels = x.transpose(1, 2)
        f = self.scale * (self.theta(channels).transpose(1, 2) @ self.phi(channels))
        m = torch.softmax(f.masked_fill(~mask[:, None, :], LOWEST), dim=2)
        g = self.g(channels).transpose(1, 2)
        gathered = m.triu().to(g.dtype) @ g + m.tril().to(g.dtype) @ g
        convolved = self.convolution((gathered * mask.unsqueeze(-1)).transpose(1, 2))
        answer: Tensor = convolved.transpose(1, 2) + x
        return answer


class ContextualPyramid(nn.Module):
    """Eq. 9-10, with max pooling and nearest neighbours."""

    def __init__(self, width: int, levels: int, scale: bool) -> None:
        super().__init__()
        self.cams = nn.ModuleList(ContextAwareModule(width, scale) for _ in range(levels))
        self.top = nn.Conv1d(width, width, 1)
        self.join = nn.Conv1d(levels * width, width, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Climb, descend, and join."""
        pyramid: list[Tensor] = []
        level, level_mask, steps = x, mask, x.shape[1]
        for p, cam in enumerate(self.cams):
            if p > 0:
                masked = level.masked_fill(~level_mask.unsqueeze(-1), LOWEST).transpose(1, 2)
                level = F.max_pool1d(masked, 2, ceil_mode=True).transpose(1, 2)
                level_mask = F.max_pool1d(level_mask.float().unsqueeze(1), 2, ceil_mode=True).squeeze(1) > 0
                level = level * level_mask.unsqueeze(-1)
            level = cam(level, level_mask)
            pyramid.append(level)
        pyramid[-1] = self.top(pyramid[-1].transpose(1, 2)).transpose(1, 2)
        for p in range(len(pyramid) - 1, 0, -1):
            finer = pyramid[p - 1]
            pyramid[p - 1] = finer + pyramid[p].repeat_interleave(2, dim=1)[:, : finer.shape[1]]
        spread = [level.repeat_interleave(2**p, dim=1)[:, :steps] for p, level in enumerate(pyramid)]
        answer: Tensor = self.join(torch.cat(spread, dim=-1).transpose(1, 2)).transpose(1, 2)
        return answer


class Reference(nn.Module):
    """The whole model, Figure 2 and Eq. 11-13, with the defaults of :class:`~cpnet.models.CPNet`."""

    def __init__(
        self, *, video_dim: int, word_vectors: Tensor, width: int = 512, dropout: float = 0.2, scale: bool = False
    ) -> None:
        super().__init__()
        self.register_buffer("vectors", word_vectors, persistent=False)
        self.unknown = nn.Parameter(torch.zeros(word_vectors.shape[1]))
        self.dropout = nn.Dropout(dropout)
        self.video_projection = nn.Conv1d(video_dim, width, 1)
        self.query_projection = nn.Conv1d(word_vectors.shape[1], width, 1)
        self.encoder = FeatureEncoder(width, dropout)
        self.coattention = CoAttention(width)
        self.fusion_encoder = FeatureEncoder(width, dropout)
        self.pyramid = ContextualPyramid(width, 3, scale)
        self.hidden = nn.Conv1d(width, width // 2, 1)
        self.score = nn.Conv1d(width // 2, 1, 1, bias=False)
        self.regression = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 2))

    def forward(self, batch: GroundingBatch) -> GroundingOutput:
        """Predict a span for every pair."""
        assert isinstance(self.vectors, Tensor)
        words = F.embedding(batch.query, self.vectors)
        words = torch.where((batch.query == UNKNOWN).unsqueeze(-1), self.unknown, words)
        v = self.video_projection(self.dropout(batch.video).transpose(1, 2)).transpose(1, 2)
        q = self.query_projection(self.dropout(words).transpose(1, 2)).transpose(1, 2)
        v, q = self.encoder(v, batch.video_mask), self.encoder(q, batch.query_mask)
        z = self.coattention(v, batch.video_mask, q, batch.query_mask)
        z = self.pyramid(self.fusion_encoder(z, batch.video_mask), batch.video_mask)
        logits = self.score(self.hidden(z.transpose(1, 2)).tanh()).squeeze(1)
        log_attention = logits.masked_fill(~batch.video_mask, LOWEST).float().log_softmax(dim=1)
        pooled = (log_attention.exp().unsqueeze(1).to(z.dtype) @ z).squeeze(1)
        span = self.regression(pooled).float().sigmoid()
        return GroundingOutput(span=span, ranked=span.sort(dim=-1).values.unsqueeze(1), log_attention=log_attention)


def weights_of(model: CPNet, reference: Reference) -> dict[str, Tensor]:
    """Return the weights of a model in the shapes of the reference."""
    renamed = {
        "words.unknown": "unknown",
        "video_projection.1": "video_projection",
        "query_projection.1": "query_projection",
        "regression.hidden": "hidden",
        "regression.score": "score",
        "regression.regression": "regression",
        "attention.norm": "attention_norm",
        "feedforward.norm": "feedforward_norm",
        "feedforward.linear": "feedforward",
        "top_down.": "",
        "convolution.convolution": "convolution",
    }
    shapes = {name: value.shape for name, value in reference.state_dict().items()}
    weights = {}
    for name, value in model.state_dict().items():
        for old, new in renamed.items():
            name = name.replace(old, new)
        weights[name] = (value.t() if "depthwise" in name else value).reshape(shapes[name])
    return weights
