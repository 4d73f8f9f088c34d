"""Oracle: a batch worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from corpora import moment
from cpnet.data.collate import Pairs, collate
from cpnet.data.features.placement import PlacedFeatures, VideoRows
from cpnet.data.sampling import MeanPool, Pick

CLIPS, WIDTH = 3, 2


class Ladder(PlacedFeatures):
    """Row r of video v is [100 v + r, 1]; video v has v + 1 rows."""

    def __init__(self, videos: int, dtype: torch.dtype = torch.float32) -> None:
        self.counts = torch.arange(1, videos + 1)
        self.starts = self.counts.cumsum(0) - self.counts
        rows = [[100.0 * video + row, 1.0] for video in range(videos) for row in range(video + 1)]
        self.rows = torch.tensor([*rows, [0.0, 0.0]], dtype=dtype)
        self.fetched: list[int] = []

    def fetch(self, videos: Tensor) -> VideoRows:
        self.fetched += videos.tolist()
        return VideoRows(table=self.rows, starts=self.starts[videos], counts=self.counts[videos])


def pairs_of(
    queries: list[list[int]],
    videos: list[int],
    windows_sec: list[list[tuple[float, float]]] | None = None,
    durations_sec: list[float] | None = None,
) -> Pairs:
    windows_sec = windows_sec or [[(1.0, 4.0)]] * len(queries)
    durations_sec = durations_sec or [10.0] * len(queries)
    moments = [
        moment(str(number), "v", *windows, duration_sec=duration_sec)
        for number, (windows, duration_sec) in enumerate(zip(windows_sec, durations_sec, strict=True))
    ]
    return Pairs.of(moments, queries=queries, videos=videos)


def test_every_field_of_a_batch_by_hand() -> None:
    pairs = pairs_of(
        [[5], [9] * 7, [4, 1, 6], [2, 2]],
        [1, 3, 2, 0],
        [[(2.5, 7.5)], [(0.0, 1.0)], [(0.0, 1.0), (3.0, 4.0)], [(6.0, 9.0)]],
        [10.0, 1.0, 4.0, 6.5],
    )
    batch = collate(pairs, torch.tensor([0, 2, 3]), features=Ladder(4), sampling=Pick(clips=CLIPS))
    assert len(batch) == 3
    assert batch.video.tolist() == [
        [[100, 1], [101, 1], [0, 0]],
        [[200, 1], [201, 1], [202, 1]],
        [[0, 1], [0, 0], [0, 0]],
    ]
    assert batch.video_mask.tolist() == [[True, True, False], [True, True, True], [True, False, False]]
    assert batch.query.tolist() == [[5, 0, 0], [4, 1, 6], [2, 2, 0]]
    assert batch.query_mask.tolist() == [[True, False, False], [True, True, True], [True, True, False]]
    # A pair with fewer windows repeats its first.
    assert batch.windows_sec.tolist() == [[[2.5, 7.5]] * 2, [[0.0, 1.0], [3.0, 4.0]], [[6.0, 9.0]] * 2]
    assert batch.duration_sec.tolist() == [10.0, 4.0, 6.5]
    assert batch.index.tolist() == [0, 2, 3]
    assert batch.video_index is None
    # The last one ends after its video: cut in fractions, as annotated in seconds.
    expected = [*[0.25, 0.75] * 2, *(0.0, 0.25, 0.75, 1.0), *[6 / 6.5, 1.0] * 2]
    assert batch.windows.flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_types_of_a_batch(dtype: torch.dtype) -> None:
    batch = collate(pairs_of([[3]], [0]), torch.tensor([0]), features=Ladder(1, dtype), sampling=Pick(clips=CLIPS))
    assert (batch.video.dtype, batch.windows.dtype) == (dtype, torch.float32)
    assert (batch.windows_sec.dtype, batch.duration_sec.dtype) == (torch.float64, torch.float64)
    assert (batch.video_mask.dtype, batch.query_mask.dtype) == (torch.bool, torch.bool)
    assert (batch.query.dtype, batch.index.dtype) == (torch.int64, torch.int64)


def test_shared_video_is_fetched_and_held_once() -> None:
    pairs, features = pairs_of([[1], [2], [3], [4]], [2, 0, 2, 2]), Ladder(3)
    batch = collate(pairs, torch.arange(4), features=features, sampling=MeanPool(clips=1), share_videos=True)
    assert features.fetched == [0, 2]
    assert batch.video[..., 0].tolist() == [[0], [201]]
    assert batch.video_index is not None
    assert batch.video_index.tolist() == [1, 0, 1, 1]
    assert len(batch) == 4
    assert batch.per_pair().video[..., 0].tolist() == [[201], [0], [201], [201]]
    assert batch.per_pair().video_mask.shape == (4, 1)
