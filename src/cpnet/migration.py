"""From older formats of checkpoints to today's."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

FORMAT = 2
# Names of weights in format 1, and what they are called now
RENAMED = {
    r"\bdepthwise\.convolution\.weight$": "depthwise.weight",
    r"\b(attention|feedforward)_norm\.": r"\1.norm.",
    r"\bfeedforward\.(weight|bias)$": r"feedforward.linear.\1",
    r"\bpyramid\.(top|join)\.": r"pyramid.top_down.\1.",
}


def migrate(content: dict[str, Any]) -> dict[str, Any]:
    """Give a checkpoint in today's format; one that has it comes back as it is.

    The state of an optimiser is not migrated: an older checkpoint can be evaluated, not gone on with.

    Args:
        content: a checkpoint of format 1 to ``FORMAT``
    """
    if content["cpnet"]["format"] == FORMAT:
        return content
    kept = {key: value for key, value in content.items() if key not in ("optimizer_states", "loops", "callbacks")}
    weights = dict(_renamed(name, weight) for name, weight in content["state_dict"].items())
    return kept | {"state_dict": weights, "cpnet": content["cpnet"] | {"format": FORMAT}}


def _renamed(name: str, weight: Tensor) -> tuple[str, Tensor]:
    now = name
    for pattern, replacement in RENAMED.items():
        now = re.sub(pattern, replacement, now)
    if now.endswith("depthwise.weight") and now != name:  # (D, 1, 1, K) before, (K, D) now
        weight = weight.flatten(1).T.contiguous()
    return now, weight
