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
    cosine, count = np.array(curve) / 10, len(curve)
    video = torch.tensor(np.stack([cosine, np.sqrt(1 - cosine**2)], axis=1), dtype=torch.float32)
    zeros, one = torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 1, dtype=torch.bool)
    batch = GroundingBatch(
        video=torch.cat([video, torch.ones(2, 2)])[None],
        video_mask=torch.arange(count + 2)[None] < count,
        **dict.fromkeys(("query", "windows", "windows_sec", "duration_sec"), zeros),
        query_mask=one,
        index=zeros[0],
    )
    output = ZeroShot(torch.tensor([[1.0, 0.0]]), number=3)(batch)
    z = (cosine - cosine.mean()) / cosine.std() if len({*curve}) > 1 else np.zeros(count)
    np.testing.assert_allclose(output.log_attention[0].exp(), [*np.exp(z) / np.exp(z).sum(), 0, 0], atol=1e-4)
    heights, places = z - z.max() / 2, (output.ranked[0] * count).round().int().tolist()
    for rank, ((first, behind), score) in enumerate(zip(places, output.scores[0].tolist(), strict=True)):
        best = max(heights[i:j].sum() for i in range(count) for j in range(i + 1, count + 1))
        if best > 1e-3:
            assert np.isclose(heights[first:behind].sum(), best, atol=1e-3)
            assert np.isclose(score, min(cosine[i:j].mean() for i, j in places[: rank + 1]), atol=1e-4)
        elif best < -1e-3:
            assert ([first, behind], score) == (places[0], -np.inf)
        heights[first:behind] = -1e6
    assert len({*curve}) > 1 or places[0] == [0, count]
