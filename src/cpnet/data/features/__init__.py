"""Video features: one reader a layout, behind ``open_features``."""

from cpnet.data.features.folder import FolderFeatures, WindowFeatures
from cpnet.data.features.hdf5 import Hdf5Features
from cpnet.data.features.joined import JoinedFeatures
from cpnet.data.features.opening import check_coverage, is_gone, open_features, open_store
from cpnet.data.features.packed import PackedFeatures
from cpnet.data.features.source import FeatureSource

__all__ = [
    "FeatureSource",
    "FolderFeatures",
    "Hdf5Features",
    "JoinedFeatures",
    "PackedFeatures",
    "WindowFeatures",
    "check_coverage",
    "is_gone",
    "open_features",
    "open_store",
]
