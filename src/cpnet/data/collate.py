"""From samples to a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cpnet.batch import GroundingBatch
from cpnet.data.dataset import Sample


def collate(samples: Sequence[Sample]) -> GroundingBatch:
    """Stack samples, with queries padded to the longest of them."""
    moments = [sample.moment for sample in samples]
    span_sec = torch.tensor([(m.start_sec, m.end_sec) for m in moments], dtype=torch.float64)
    duration_sec = torch.tensor([m.duration_sec for m in moments], dtype=torch.float64)
    video = torch.from_numpy(np.stack([sample.video for sample in samples]))
    query = pad_sequence([torch.tensor(sample.query) for sample in samples], batch_first=True)
    return GroundingBatch(
        video=video,
        video_mask=_first(torch.tensor([sample.real for sample in samples]), video.shape[1]),
        query=query,
        query_mask=_first(torch.tensor([len(sample.query) for sample in samples]), query.shape[1]),
        span=(span_sec / duration_sec[:, None]).clamp(0, 1).float(),
        span_sec=span_sec,
        duration_sec=duration_sec,
        index=torch.tensor([sample.index for sample in samples]),
    )


def _first(counts: Tensor, size: int) -> Tensor:
    """Mask (B, size) that is True on the first ``counts`` places."""
    return torch.arange(size) < counts[:, None]
