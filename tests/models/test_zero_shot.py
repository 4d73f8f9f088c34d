from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpnet.batch import GroundingBatch
from cpnet.models import ZeroShot


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=20))
def test_stretches_have_the_largest_sums_above_half_of_the_peak(curve: list[int]) -> None:
    """A video whose cosines to the sentence are the curve / 10, against a search over all stretches."""
    cosine = np.array(curve) / 10
    video = torch.tensor(np.stack([cosine, np.sqrt(1 - cosine**2)], axis=1), dtype=torch.float32)
    batch = GroundingBatch(
        video=torch.cat([video, torch.ones(2, 2)])[None],
        video_mask=torch.arange(len(curve) + 2)[None] < len(curve),
        query=torch.zeros(1, 1, dtype=torch.int64),
        query_mask=torch.ones(1, 1, dtype=torch.bool),
        **dict.fromkeys(("windows", "windows_sec", "duration_sec"), torch.zeros(1)),
        index=torch.zeros(1, dtype=torch.int64),
    )
    output = ZeroShot(torch.tensor([[1.0, 0.0]]), number=3)(batch)
    z = (cosine - cosine.mean()) / max(cosine.std(), 1e-9) if len({*curve}) > 1 else np.zeros(len(curve))
    attention = np.exp(z) / np.exp(z).sum()
    np.testing.assert_allclose(output.log_attention[0].exp(), [*attention, 0, 0], atol=1e-4)
    heights, places = z - z.max() / 2, (output.ranked[0] * len(curve)).round().int().tolist()
    for rank, ((first, behind), score) in enumerate(zip(places, output.scores[0].tolist(), strict=True)):
        stretches = [(i, j) for i in range(len(curve)) for j in range(i + 1, len(curve) + 1)]
        best = max(heights[i:j].sum() for i, j in stretches)
        if best > 1e-3:
            assert np.isclose(heights[first:behind].sum(), best, atol=1e-3)
            earlier = [cosine[i:j].mean() for i, j in places[: rank + 1]]
            assert np.isclose(score, min(earlier), atol=1e-4)
        elif best < -1e-3 or rank == 0:
            assert (first, behind) == ((0, len(curve)) if rank == 0 else tuple(places[0]))
            assert rank == 0 or score == -np.inf
        heights[first:behind] = -1e6
