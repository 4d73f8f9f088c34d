"""Video features: one reader per layout, all opened by ``open_features``."""

from cpnet.data.features.feature_pack import FeaturePack, open_features, split_by_features
from cpnet.data.features.packed import PackedFeatures
from cpnet.data.features.source import FeatureSource

__all__ = [
    "FeaturePack",
    "FeatureSource",
    "PackedFeatures",
    "open_features",
    "split_by_features",
]
