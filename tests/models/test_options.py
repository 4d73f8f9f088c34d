"""Wrong options of every model: the error names the key and the value."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch

from cpnet.models import CPNet
from cpnet.options import (
    ABLROptions,
    CAMOptions,
    CPNetOptions,
    CPNetPlusOptions,
    EncoderOptions,
    LGIOptions,
    SnAGOptions,
    TMLGAOptions,
    TwoDTANOptions,
    VSLNetOptions,
)

# Each class has a key that it inherits, for its parent's checks.
WRONG: dict[type, list[tuple[str, Any]]] = {
    EncoderOptions: [*(("encoder.kernel_size", size) for size in (-3, 0, 4)), ("encoder.conv_layers", -1)],
    CAMOptions: [("cam.diagonal", "middle")],
    CPNetOptions: [
        *(("pyramid_levels", levels) for levels in (-1, 0, 9, 99)),
        *(("hidden_dim", width) for width in (-8, 0, 1, 12)),  # not 12 of 8 heads
        *(("dropout", p) for p in (-0.1, 1.0, 1.5, math.nan)),
        *(("max_length", length) for length in (-1, 0)),
        *((key, "middle") for key in ("position", "fusion", "downsample", "upsample", "order")),
    ],
    CPNetPlusOptions: [("dropout", 1.0), ("radius", -1.0), ("without", ["cam"]), ("patch", 0)],
    VSLNetOptions: [
        *(("hidden_dim", 1), ("position", "middle"), ("max_length", 0), ("extension", -0.1)),
        *(("highlight_weight", math.nan), ("predictions", 0), ("nms_iou", 1.5)),
    ],
    LGIOptions: [
        *(("dropout", 1.0), ("activation", "tanh"), ("kernel_size", 4), ("hidden_dim", 9), ("num_heads", 3)),
        *(("phrases", 0), ("max_length", 0), ("global_blocks", -1), ("distinct", 1.5)),
    ],
    TwoDTANOptions: [
        *(("dropout", 1.0), ("rows", 0), ("moments", "mean"), ("lstm_layers", 0), ("kernel_size", 4)),
        *(("conv_layers", 0), ("min_iou", 1.0), ("nms_iou", 1.1), ("predictions", 0)),
    ],
    TMLGAOptions: [("dropout", 1.0), ("hidden_dim", 7), ("label_width", 0.0), ("label_width", math.inf)],
    SnAGOptions: [
        *(("dropout", 1.0), ("hidden_dim", 7), ("text_dim", 3), ("text_dim", 0), ("num_heads", 0), ("window", 4)),
        *(("levels", 0), ("text_layers", -1), ("drop_path", 1.0), ("label_smoothing", -0.1), ("positives", 0)),
        *(("predictions", 0), ("range_overlap", -0.5), ("voting_iou", 1.5)),
    ],
    ABLROptions: [
        *(("hidden_dim", 1), ("dropout", 1.0), ("bins", 0), ("regression_dim", 0)),
        *(("attention_weight", -1.0), ("regression_weight", math.inf)),
    ],
}
CASES = [(options, *case) for options, cases in WRONG.items() for case in cases]


@pytest.mark.parametrize(("options", "key", "value"), CASES)
def test_a_wrong_value_is_refused_with_its_key(options: type, key: str, value: Any) -> None:
    said = re.escape(str(value).strip("[]"))
    with pytest.raises(ValueError, match=rf"model\.{re.escape(key)}\b.*got .*{said}"):
        options(**{key.split(".")[-1]: value})


@pytest.mark.parametrize("heads", [-1, 0, 3])
def test_heads_that_do_not_divide_the_width_are_refused(heads: int) -> None:
    with pytest.raises(ValueError, match=rf"model\.encoder\.num_heads\b.*got {heads} and 512"):
        CPNetOptions(encoder=EncoderOptions(num_heads=heads))


def test_features_without_columns_are_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.video_dim\b.*got 0"):
        CPNet(0, torch.zeros(4, 5), CPNetOptions())
