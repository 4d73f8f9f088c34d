"""A name for what a pack holds, so that two people can tell whether theirs is the same."""

from __future__ import annotations

import hashlib

import numpy as np

from cpnet.data.features.source import FeatureSource
from cpnet.data.identity import normalise_id

SAMPLED_VIDEOS = 64


def fingerprint(source: FeatureSource) -> str:
    """Hash over the ids and shapes of all videos and the first, middle and last row of some.

    It does not hang on the layout, on the spelling of ids, or on whether the values are stored in 16 or 32 bits. Not
    every row is read: what differs in other rows of other videos alone goes unseen.

    Raises:
        DataError: a video cannot be read.
    """
    names = sorted((normalise_id(name), name) for name in source.ids())
    digest = hashlib.sha256()
    for identity, name in names:
        digest.update(f"{identity}\0{source.length(name)}\0{source.dim}\n".encode(errors="surrogateescape"))
    step = max(1, len(names) // SAMPLED_VIDEOS)
    for _, name in names[::step]:
        rows = source.stored(name)
        with np.errstate(over="ignore", invalid="ignore"):
            digest.update(np.ascontiguousarray(rows[[0, len(rows) // 2, -1]], dtype="<f2").tobytes())
    return digest.hexdigest()[:16]
