"""Fingerprint of a feature pack, to check that two copies are the same."""

from __future__ import annotations

import hashlib
from contextlib import suppress

import numpy as np

from cpnet.data.features.packed import PackedFeatures
from cpnet.data.features.source import FeatureSource
from cpnet.data.moment import normalise_id
from cpnet.errors import DataError

SAMPLED_VIDEOS = 64


def fingerprint(source: FeatureSource) -> str:
    """Hash the ids and shapes of all videos, and the first, middle and last row of some videos.

    The fingerprint does not depend on the layout, the spelling of ids, or whether values have 16 or 32 bits. It does
    not detect changes in other rows. A packed store has the fingerprint of its pack. Videos that cannot be read are
    left out.
    """
    if isinstance(source, PackedFeatures):
        return source.fingerprint
    names = sorted((normalise_id(name), name) for name in source.ids())
    digest = hashlib.sha256()
    for identity, name in names:
        with suppress(DataError):  # damaged; a corpus may not need it
            digest.update(f"{identity}\0{source.length(name)}\0{source.dim}\n".encode(errors="surrogateescape"))
    step = max(1, len(names) // SAMPLED_VIDEOS)
    for _, name in names[::step]:
        with suppress(DataError), np.errstate(over="ignore", invalid="ignore"):
            rows = source.stored(name)
            digest.update(np.ascontiguousarray(rows[[0, len(rows) // 2, -1]], dtype="<f2").tobytes())
    return digest.hexdigest()[:16]
