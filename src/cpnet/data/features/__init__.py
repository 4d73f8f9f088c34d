"""Video features: one reader a layout, behind ``open_features``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cpnet.data.features.hdf5 import Hdf5Features, Layout
from cpnet.data.features.npy import NpyFeatures, describe_folder
from cpnet.data.features.source import FeatureSource, quote
from cpnet.data.moment import DataError

__all__ = ["FeatureSource", "Hdf5Features", "NpyFeatures", "check_coverage", "open_features"]

HDF5_LAYOUTS: dict[str, Layout] = {"hdf5": "hdf5", "hdf5_flat": "hdf5_flat", "hdf5_group": "hdf5_group"}
LAYOUTS = ("auto", *HDF5_LAYOUTS, "npy")


def open_features(
    *, path: str | Path, layout: str = "auto", key: str | None = None, dim: int | None = None
) -> FeatureSource:
    """Open a feature pack.

    Args:
        path: an HDF5 file or a folder
        layout: ``hdf5`` (flat or group, as the file is), ``hdf5_flat``, ``hdf5_group``, ``npy``, or ``auto`` (npy for a
            folder, hdf5 for a file)
        key: name of the dataset inside each group of ``hdf5_group``; None where each group holds exactly one
        dim: the width V that the pack must have; None takes the width of the first video

    Raises:
        DataError: the path does not exist, or does not hold what layout, key and dim say.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise DataError(f"there is no feature pack at {path}; set dataset.features.path to the file or folder")
    if layout not in LAYOUTS:
        raise DataError(
            f"dataset.features.layout={layout} is none of {', '.join(LAYOUTS)}; {path} is "
            + (f"a folder of {describe_folder(path)}" if path.is_dir() else "a file")
        )
    if layout == "auto":
        layout = "npy" if path.is_dir() else "hdf5"
    if layout in HDF5_LAYOUTS:
        return Hdf5Features(path=path, layout=HDF5_LAYOUTS[layout], key=key, dim=dim)
    if key is not None:
        raise DataError(f"{path} is a folder of arrays, which have no inner {key!r}; set dataset.features.key=null")
    return NpyFeatures(path=path, dim=dim)


def check_coverage(source: FeatureSource, *, split: str, videos: Iterable[str]) -> None:
    """Make sure that every video of a split has features.

    Raises:
        DataError: some have none; tells how many, of how many, and the first ten.
    """
    distinct = list(dict.fromkeys(videos))
    missing = source.missing(distinct)
    if missing:
        raise DataError(
            f"{len(missing)} of {len(distinct)} videos of split {split} have no features in {source.path}: "
            f"{quote(missing)} (its {len(source)} ids look like {quote(list(source.ids())[:1])}); "
            "set dataset.features.path=... to a pack that has them all"
        )
