"""Frozen word vectors with one learned vector for all unknown words."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpnet.batch import UNKNOWN


class WordEmbedding(nn.Module):
    """Look up words in a frozen table (GloVe); row 0 is padding, row 1 the learned vector of unknown words.

    Shape: (B, L) int64 -> (B, L, W)

    Raises:
        ValueError: the table lacks the first two rows

    >>> words = WordEmbedding(torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0]]))
    >>> words(torch.tensor([[2, 0]])).tolist()
    [[[3.0, 4.0], [0.0, 0.0]]]
    """

    vectors: Tensor

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        if vectors.ndim != 2 or len(vectors) < 2:
            shape = tuple(vectors.shape)
            raise ValueError(f"word_vectors must be (2 + words, W), with padding and unknown first; got {shape}")
        # Not in state_dict: a checkpoint stores them with its vocabulary, which may gain words.
        self.register_buffer("vectors", vectors, persistent=False)
        self.unknown = nn.Parameter(torch.zeros(vectors.shape[1], dtype=vectors.dtype))

    def forward(self, query: Tensor) -> Tensor:
        """Look up each word; only the vector of unknown words receives gradients."""
        is_unknown = (query == UNKNOWN).unsqueeze(-1)
        return torch.where(is_unknown, self.unknown, F.embedding(query, self.vectors))
