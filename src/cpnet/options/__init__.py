"""Options of all objects, with types and defaults.

Each dataclass is the schema of a configuration group, and usually also the argument of a constructor, so that a default
is written once. Imports only the standard library.
"""

from __future__ import annotations

from cpnet.options.checks import MISSING, check_choice
from cpnet.options.data import (
    DatasetOptions,
    FeatureOptions,
    RenderedOptions,
    SamplingOptions,
    SourceOptions,
    SyntheticOptions,
    WordOptions,
)
from cpnet.options.models import (
    ABLROptions,
    CAMOptions,
    ContextualOptions,
    CPNetOptions,
    CPNetPlusOptions,
    EncoderOptions,
    EncodingOptions,
    LGIOptions,
    NetworkOptions,
    SnAGOptions,
    TMLGAOptions,
    TwoDTANOptions,
    VSLNetOptions,
)
from cpnet.options.training import (
    AdamOptions,
    LossOptions,
    MetricsOptions,
    OptimizerOptions,
    SchedulerOptions,
    TrainerOptions,
)

__all__ = [
    "MISSING",
    "ABLROptions",
    "AdamOptions",
    "CAMOptions",
    "CPNetOptions",
    "CPNetPlusOptions",
    "ContextualOptions",
    "DatasetOptions",
    "EncoderOptions",
    "EncodingOptions",
    "FeatureOptions",
    "LGIOptions",
    "LossOptions",
    "MetricsOptions",
    "NetworkOptions",
    "OptimizerOptions",
    "RenderedOptions",
    "SamplingOptions",
    "SchedulerOptions",
    "SnAGOptions",
    "SourceOptions",
    "SyntheticOptions",
    "TMLGAOptions",
    "TrainerOptions",
    "TwoDTANOptions",
    "VSLNetOptions",
    "WordOptions",
    "check_choice",
]
