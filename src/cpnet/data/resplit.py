"""Split a corpus by the distribution of its moments, so that one test split is out of distribution."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cpnet.data.annotations import hold_out
from cpnet.data.corpora.writers import write_jsonl
from cpnet.data.moment import Moment, normalise_id
from cpnet.errors import DataError

Floats = NDArray[np.float64]
BINS = 20  # of a video
OUT = 0.2  # share of the pairs that is out of distribution
FEWEST = 8  # videos in distribution, an eighth of which are held out twice

MEASURES: Mapping[str, Callable[[Floats], Floats]] = {  # of the mean window of a pair, in fractions of the video
    "length": lambda windows: windows[:, 1] - windows[:, 0],
    "position": lambda windows: windows.mean(axis=1),
}


def measure(moments: Sequence[Moment], by: str) -> Floats:
    """Return the length or the position (the centre) of each pair's true window, the mean over several windows.

    Shape: (M,) in fractions of the video
    """
    windows = np.array([np.mean(each.windows_sec, axis=0) / each.duration_sec for each in moments])
    return MEASURES[by](windows)


def resplit(splits: Mapping[str, Sequence[Moment]], *, by: str, seed: int) -> dict[str, list[Moment]]:
    """Return train, val, test_iid and test_ood of the pairs of all splits that have true windows; videos stay whole.

    The share of all moments whose length (or position) falls into the same twentieth of the video says how common a
    moment is. The videos whose moments are the least common on average, with a fifth of the pairs, are ``test_ood``.
    Of the other videos, chosen by the seed alone, an eighth each is ``test_iid`` and ``val``, and the rest ``train``.

    Charades-CD and ActivityNet-CD (Yuan et al. 2021, "A Closer Look at Temporal Sentence Grounding in Videos") choose
    the fifth of the moments with the lowest density over start and end instead.

    Raises:
        DataError: there are too few videos
    """
    moments = _pool(splits)
    value = np.clip(measure(moments, by), 0, 1) if moments else np.zeros(0)
    places = np.minimum((value * BINS).astype(int), BINS - 1)
    common = np.bincount(places, minlength=BINS)[places]
    of_videos: defaultdict[str, list[int]] = defaultdict(list)
    for moment, number in zip(moments, common.tolist(), strict=True):
        of_videos[normalise_id(moment.video)].append(number)
    out, pairs = set[str](), 0
    for video in sorted(of_videos, key=lambda video: (np.mean(of_videos[video]), video)):
        if pairs >= OUT * len(moments):
            break
        out.add(video)
        pairs += len(of_videos[video])
    if len(of_videos) - len(out) < FEWEST:
        raise DataError(
            f"too few videos with true windows for four splits: of {len(of_videos)}, {len(out)} are out of "
            f"distribution, and the other splits need {FEWEST}; add videos"
        )
    ood = [moment for moment in moments if normalise_id(moment.video) in out]
    rest = [moment for moment in moments if normalise_id(moment.video) not in out]
    rest, iid = hold_out(rest, fraction=1 / 8, seed=seed)
    train, val = hold_out(rest, fraction=1 / 7, seed=seed)
    return {"train": train, "val": val, "test_iid": iid, "test_ood": ood}


def write(folder: Path, splits: Mapping[str, Sequence[Moment]], *, name: str, yaml: str) -> None:
    """Write ``SPLIT.jsonl`` and ``dataset/NAME.yaml`` into a new folder, which appears when it is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        fresh = Path(temporary) / "fresh"
        (fresh / "dataset").mkdir(parents=True)
        write_jsonl(fresh, splits)
        (fresh / "dataset" / f"{name}.yaml").write_text(yaml, encoding="utf-8")
        fresh.rename(folder)


def _pool(splits: Mapping[str, Sequence[Moment]]) -> list[Moment]:
    """Return the pairs that have true windows; if splits share qids, all become SPLIT:QID."""
    qids = [moment.qid for moment in chain.from_iterable(splits.values())]
    unique = len({*qids}) == len(qids)
    return [
        moment if unique else replace(moment, qid=f"{split}:{moment.qid}")
        for split, moments in splits.items()
        for moment in moments
        if moment.windows_sec
    ]
